"""The isotropic volume that supervises a training, where there is one."""

from __future__ import annotations

import math
from pathlib import Path

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume, probe
from napari_d2r.volumes import Volume, centred_box, crop

__all__ = ["open_reference"]

_TOLERANCE = 0.02  # of an edge of a voxel: what instruments write is rounded


def open_reference(path: Path, stack: Volume, gap: float, max_voxels: int) -> Volume:
    """The middle of an isotropic volume with the pixels of the stack.

    Raises
    ------
    InputError
        For a volume that is not isotropic, of another pixel size or too small, and for what
        `open_volume` refuses.
    """
    if probe(path).voxel_size is None:
        raise InputError(
            f"The reference {path.name} does not say how large its voxels are; save it with its "
            "voxel size."
        )
    reference = open_volume(path)
    reference.require_single_channel()
    edges, pixel = tuple(reference.voxel_size), stack.voxel_size.lateral
    if max(edges) > (1 + _TOLERANCE) * min(edges):
        raise InputError(
            f"The reference {reference.name} has voxels of {reference.voxel_size}; what is learned "
            "from must be isotropic."
        )
    if not math.isclose(edges[2], pixel, rel_tol=_TOLERANCE):
        raise InputError(
            f"The reference {reference.name} has voxels of {edges[2]:g} nm and {stack.name} pixels "
            f"of {pixel:g} nm; resample one of them."
        )
    least = 3 * math.ceil(gap) + 1
    if min(reference.shape) < least:
        shape = " x ".join(map(str, reference.shape))
        raise InputError(
            f"The reference {reference.name} has {shape} voxels; gaps of {gap:g} need at least "
            f"{least} along each axis."
        )
    edge = max(256, math.isqrt(max_voxels // reference.shape[0]))
    z, y, x = centred_box(reference.shape, (max_voxels, edge, edge))
    return crop(reference, (z, y, x))
