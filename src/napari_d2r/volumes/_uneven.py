"""Stacks whose slices stand at uneven distances: a table says where each is along Z."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.volumes._axial import AxialGrid

__all__ = ["axial_positions", "uneven_grid"]

_LEAST = 1e-6  # of the mean distance: closer slices are one slice


def axial_positions(table: Sequence[float], num_slices: int) -> NDArray[np.float64]:
    """How far each slice stands from the first, (Z,) in the unit of the table, rising.

    A table may fall instead, as where a stack was cut from the top.

    Raises
    ------
    InputError
        For a table of another length, or that does not rise or fall all the way.
    """
    z = np.asarray(table, np.float64)
    if z.shape != (num_slices,):
        raise InputError(
            f"The table has {len(z)} positions along Z and the stack {num_slices} slices; give "
            "one position for every slice."
        )
    if not np.isfinite(z).all():
        raise InputError("The table of positions along Z holds values that are not finite numbers.")
    steps = np.diff(z) * (1 if z[-1] >= z[0] else -1)
    if (steps <= _LEAST * np.abs(steps).mean()).any():
        k = int(np.argmin(steps))
        raise InputError(
            f"In the table slice {k} stands at {z[k]:g} and slice {k + 1} at {z[k + 1]:g}; "
            "positions must rise, or fall, from every slice to the next."
        )
    positions: NDArray[np.float64] = np.abs(z - z[0])
    return positions


def uneven_grid(positions: NDArray[np.float64], factor: float) -> AxialGrid:
    """A grid with even steps over slices at uneven `axial_positions`.

    It begins at the first slice, ``factor`` steps to the mean distance of slices.
    """
    num_slices = len(positions)
    step = positions[-1] / (num_slices - 1) / factor
    return AxialGrid(num_slices, factor, places=tuple((positions / step).tolist()))
