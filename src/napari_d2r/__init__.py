"""Axial super-resolution of volume microscopy with D2R.

Importing this package loads neither torch nor Qt; the functions below do when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_d2r.api import audit, bench, benchmark, evaluate, fsc, gain, super_resolve, train
    from napari_d2r.errors import D2RError, InputError
    from napari_d2r.io import open_volume
    from napari_d2r.jobs import SuperResolveJob, TrainJob, load_preset
    from napari_d2r.samples import phantom_sample
    from napari_d2r.volumes import Degradation, Volume, VoxelSize

_HOMES = {
    "D2RError": "errors",
    "Degradation": "volumes",
    "InputError": "errors",
    "SuperResolveJob": "jobs",
    "TrainJob": "jobs",
    "Volume": "volumes",
    "VoxelSize": "volumes",
    "audit": "api",
    "bench": "api",
    "benchmark": "api",
    "evaluate": "api",
    "fsc": "api",
    "gain": "api",
    "load_preset": "jobs",
    "open_volume": "io",
    "phantom_sample": "samples",
    "super_resolve": "api",
    "train": "api",
}

__all__ = [
    "D2RError",
    "Degradation",
    "InputError",
    "SuperResolveJob",
    "TrainJob",
    "Volume",
    "VoxelSize",
    "audit",
    "bench",
    "benchmark",
    "evaluate",
    "fsc",
    "gain",
    "load_preset",
    "open_volume",
    "phantom_sample",
    "super_resolve",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
