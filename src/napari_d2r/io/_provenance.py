"""What this package writes beside the voxels: an object of JSON under one name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["PROVENANCE", "provenance_in", "provenance_in_text", "provenance_text"]

PROVENANCE = "napari_d2r"
"""Its name: among the attributes of a zarr group, in a TIFF description, in layer.metadata."""


def provenance_in(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under our name; empty where nothing does, or something else."""
    found = attributes.get(PROVENANCE)
    return found if isinstance(found, dict) else {}


def provenance_text(provenance: Mapping[str, object]) -> str:
    """For formats that keep no more than a text; only ASCII, for TIFF knows no other."""
    return json.dumps({PROVENANCE: dict(provenance)}, indent=1)


def provenance_in_text(text: object) -> dict[str, Any]:
    """What `provenance_text` wrote; empty for the texts of other programs."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return provenance_in(found) if isinstance(found, dict) else {}
