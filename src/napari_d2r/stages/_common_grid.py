"""Where two volumes have voxels at the same places, and reading them there.

Volumes may start elsewhere, end elsewhere and be sampled in whole multiples of each other.
Nothing is resampled: only positions that both hold are compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.metrics import Steps
from napari_d2r.volumes import Volume, VoxelSize, interpolate_axial

# Two positions closer than this, in voxels of the finer volume, are the same.
_SAME = 0.1
_PLANES_AT_ONCE = 16
_AXES = "zyx"


@dataclass(frozen=True, slots=True)
class Placed:
    """A volume, and where the centre of its first voxel stands: (z, y, x) in nm."""

    volume: Volume
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def end(self, axis: int) -> float:
        """Where the centre of the last voxel stands."""
        return self.origin[axis] + (self.volume.shape[axis] - 1) * _edge(self.volume, axis)


@dataclass(frozen=True, slots=True)
class CommonGrid:
    """Positions that volumes share: ``origin`` and ``voxel_size`` in nm, ``shape`` (z, y, x)."""

    origin: tuple[float, float, float]
    voxel_size: VoxelSize
    shape: tuple[int, int, int]

    def within(self, source: Placed) -> CommonGrid:
        """The part along Z between the first and the last slice of a stack.

        Raises
        ------
        InputError
            When the stack's lateral voxels do not lie on the grid or do not cover it.
        """
        for axis in (1, 2):
            picks = _picks(source, self, axis)
            if picks.start < 0 or picks[-1] >= source.volume.shape[axis]:
                raise InputError(
                    f"{source.volume.name} does not cover what is compared along {_AXES[axis]}; "
                    "choose the stack that the result was made from, or none."
                )
        edge = self.voxel_size.z
        low = max(0, math.ceil((source.origin[0] - self.origin[0]) / edge - _SAME))
        high = min(self.shape[0] - 1, math.floor((source.end(0) - self.origin[0]) / edge + _SAME))
        if high < low:
            raise InputError(
                f"{source.volume.name} does not overlap what is compared along z; choose the stack "
                "that the result was made from, or none."
            )
        return self._part(0, low, high + 1 - low)

    def central(self, edge: int) -> CommonGrid:
        """The middle of the grid, at most ``edge`` voxels along each axis."""
        part = self
        for axis, length in enumerate(self.shape):
            size = min(length, edge)
            part = part._part(axis, (length - size) // 2, size)
        return part

    def _part(self, axis: int, start: int, length: int) -> CommonGrid:
        origin, shape = list(self.origin), list(self.shape)
        origin[axis] += start * list(self.voxel_size)[axis]
        shape[axis] = length
        return replace(
            self, origin=(origin[0], origin[1], origin[2]), shape=(shape[0], shape[1], shape[2])
        )


def common_grid(first: Placed, second: Placed) -> CommonGrid:
    """Positions at which both volumes have a voxel.

    Raises
    ------
    InputError
        When the volumes do not overlap, when one edge is not a whole multiple of the other,
        or when voxels of one stand between voxels of the other.
    """
    origin, edges, shape = [], [], []
    for axis, name in enumerate(_AXES):
        fine, coarse = sorted((first, second), key=lambda p: _edge(p.volume, axis))
        fine_edge, coarse_edge = _edge(fine.volume, axis), _edge(coarse.volume, axis)
        step = round(coarse_edge / fine_edge)
        names = f"{fine.volume.name} and {coarse.volume.name}"
        low = max(first.origin[axis], second.origin[axis])
        start = math.ceil(
            (low - coarse.origin[axis]) / coarse_edge - _SAME * fine_edge / coarse_edge
        )
        stop = min(first.end(axis), second.end(axis)) + _SAME * fine_edge
        count = math.floor((stop - coarse.origin[axis]) / coarse_edge) + 1 - start
        if count < 1:
            raise InputError(
                f"{names} do not overlap along {name}; check their voxel sizes and their translate."
            )
        position = coarse.origin[axis] + start * coarse_edge
        drift = abs(coarse_edge - step * fine_edge) * (count - 1)
        if drift > _SAME * fine_edge:
            raise InputError(
                f"Along {name} the voxels of {fine.volume.name} are {fine_edge:g} nm and those of "
                f"{coarse.volume.name} {coarse_edge:g} nm apart, so that they do not stand at the "
                "same places; compare volumes of one voxel size, or of whole multiples of it."
            )
        index = (position - fine.origin[axis]) / fine_edge
        if abs(index - round(index)) > _SAME:
            raise InputError(
                f"Along {name} the voxels of {names} stand "
                f"{abs(index - round(index)) * fine_edge:.3g} nm beside each other; check their "
                "translate, or resample one of them."
            )
        origin.append(position)
        edges.append(coarse_edge)
        shape.append(count)
    return CommonGrid(
        (origin[0], origin[1], origin[2]), VoxelSize(*edges), (shape[0], shape[1], shape[2])
    )


def read_on(grid: CommonGrid, placed: Placed) -> Steps[NDArray[Any]]:
    """The voxels of a volume at the positions of a grid that it shares."""
    z, y, x = (_picks(placed, grid, axis) for axis in range(3))
    return (yield from _read(placed.volume, z, y, x))


def read_linear_on(grid: CommonGrid, source: Placed) -> Steps[NDArray[Any]]:
    """A stack, interpolated linearly along Z at the positions of a grid within it.

    Measured slices stay where they are, bit-exact, and everything in the stored dtype:
    aligned linear interpolation.
    """
    z = source.origin[0]
    positions = (grid.origin[0] - z + np.arange(grid.shape[0]) * grid.voxel_size.z) / _edge(
        source.volume, 0
    )
    whole = np.rint(positions)
    positions = np.where(np.abs(positions - whole) < 1e-3, whole, positions)
    positions = np.clip(positions, 0, source.volume.shape[0] - 1)
    first, last = math.floor(positions[0]), math.ceil(positions[-1])
    y, x = _picks(source, grid, 1), _picks(source, grid, 2)
    measured = yield from _read(source.volume, range(first, last + 1), y, x)
    return interpolate_axial(measured, positions - first)


def _read(volume: Volume, z: range, y: range, x: range) -> Steps[NDArray[Any]]:
    values = np.empty((len(z), len(y), len(x)), volume.dtype)
    at_once = _PLANES_AT_ONCE if z.step == 1 else 1
    for done in range(0, len(z), at_once):
        part = z[done : done + at_once]
        block = volume.read(
            slice(part[0], part[-1] + 1), slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)
        )
        values[done : done + len(part)] = block[:, :: y.step, :: x.step]
        yield done / len(z)
    return values


def _picks(placed: Placed, grid: CommonGrid, axis: int) -> range:
    """Indices of a volume along one axis that are the positions of a grid."""
    edge = _edge(placed.volume, axis)
    wanted = list(grid.voxel_size)[axis]
    start, step = (grid.origin[axis] - placed.origin[axis]) / edge, wanted / edge
    num = grid.shape[axis]
    if round(step) < 1 or abs(step - round(step)) * (num - 1) + abs(start - round(start)) > _SAME:
        raise InputError(
            f"Along {_AXES[axis]} the voxels of {placed.volume.name} do not stand where the others "
            "do; choose the stack that the result was made from, or none."
        )
    first = round(start)
    return range(first, first + num * round(step) - round(step) + 1, round(step))


def _edge(volume: Volume, axis: int) -> float:
    edges: list[float] = list(volume.voxel_size)
    return edges[axis]
