"""What a result layer knows about itself, in ``layer.metadata["napari_d2r"]``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_d2r._npe2 import METADATA
from napari_d2r.jobs import Provenance

if TYPE_CHECKING:
    from napari_d2r.widgets._planner import Planned


def provenance(planned: Planned) -> Provenance:
    """What the plan says, and what only the form knows."""
    from napari_d2r.stages.super_resolve import provenance_of  # imports torch

    wish = planned.wish
    known: dict[str, Any] = {"is_rgb": bool(wish.layer.rgb)}
    if wish.box is not None:
        known["region"] = tuple((int(part.start), int(part.stop)) for part in wish.box)
    if wish.job.method == "model":
        known["model"] = wish.model_title
    return provenance_of(planned.plan).model_copy(update=known)


def is_result(layer: Any) -> bool:
    """Whether this plugin made the layer, in this session or in another."""
    made = layer.metadata.get(METADATA)
    return isinstance(made, Mapping) and "factor" in made  # what was read has a source too


def provenance_in(layer: Any) -> Provenance | None:
    """Of a layer that Super-resolve has made, in this session or in another; else None."""
    return Provenance.found_in(None if layer is None else layer.metadata.get(METADATA))


def find_source(layer: Any, layers: Iterable[Any]) -> Any:
    """The layer that one of ours was made from: by its file, else by its name; or None."""
    made = {} if layer is None else layer.metadata.get(METADATA)
    if not isinstance(made, Mapping) or not made.get("source"):
        return None
    name, path = made["source"], made.get("source_path")
    others = [other for other in layers if other != layer]
    in_file = [other for other in others if path and _file_of(other) == Path(path)]
    named = [other for other in others if name in (other.name, _file_of(other).name)]
    both = [other for other in in_file if other in named]  # of the channels of one file
    return next(iter(both or in_file or named), None)


def _file_of(layer: Any) -> Path:
    return Path(layer.source.path).absolute() if layer.source.path else Path()
