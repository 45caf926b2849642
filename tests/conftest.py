"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real volumes, or a skip where this machine has none.

    ``NAPARI_D2R_DATA`` names it; without that it is looked for beside the repository.
    """
    folder = Path(os.environ.get("NAPARI_D2R_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real volumes at {folder}; set NAPARI_D2R_DATA to their folder")
    return folder
