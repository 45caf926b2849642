"""Lateral slices in two directions: XZ, YZ, or the mean of both."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from napari_d2r.inference._workers import share_out
from napari_d2r.jobs import Direction

Origin = tuple[int, int, int]
# Lateral slices first, where their volume (N, J, W) begins, and 0 for XZ or 1 for YZ.
Restore = Callable[[Tensor, Origin, int], Tensor]
_AXES = {"xz": -2, "yz": -1}  # of a slab (..., J, H, W): which axis counts the slices


def in_directions(
    slab: Tensor, origin: Origin, wanted: Direction, restore: Restore, *, at_once: bool = False
) -> Tensor:
    """Restore the slices of one direction, or of both and average.

    Parameters
    ----------
    slab
        (J, H, W), or (C, J, H, W) with channels.
    origin
        Where the slab stands in its volume (z, y, x).
    restore
        From slices (N, [C,] J, W) to (N, ..., W).
    at_once
        Whether the two directions are shared out among cores; where each direction is itself,
        they are not.

    Returns
    -------
    Tensor
        (..., H, W).
    """

    def one(direction: str) -> Tensor:
        index = list(_AXES).index(direction)
        z, y, x = origin
        start = (y, z, x) if direction == "xz" else (x, z, y)
        restored = restore(slices_of(slab, index), start, index)
        return restored.movedim(0, _AXES[direction])

    directions = list(_AXES) if wanted == "mean" else [wanted]
    found = share_out(one, directions, slab.device) if at_once else [one(d) for d in directions]
    return sum(found[1:], found[0]) / len(found)


def slices_of(volume: Tensor, index: int) -> Tensor:
    """(..., J, H, W) as lateral slices (N, ..., J, W): XZ for index 0, YZ for 1."""
    return volume.movedim(list(_AXES.values())[index], 0)
