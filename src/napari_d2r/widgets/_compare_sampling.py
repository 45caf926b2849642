"""Slices and profiles of several stacks on one grid of world positions, read as needed.

A position is a world coordinate (z, y, x), in nm where the layers have units of length. The
grid is as fine as the finest stack along each axis; a coarser stack is interpolated linearly
onto it, phase-exact (measured slices return as they are), or shown in its own voxels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from napari_d2r.volumes import SUPPORTED_DTYPES, ArrayLike, to_dtype

Plane = Literal["XY", "XZ", "YZ"]
PLANES: tuple[Plane, ...] = ("XY", "XZ", "YZ")
Point = tuple[float, float, float]
# Of each plane: the axis across it, the axis that runs down the screen, and to the right.
AXES: dict[Plane, tuple[int, int, int]] = {"XY": (0, 1, 2), "XZ": (1, 0, 2), "YZ": (2, 0, 1)}
_SAME = 1e-4  # voxels: below this, two positions are one; scales are often rounded


@dataclass(frozen=True, slots=True)
class Axis:
    """Positions ``origin + step * k`` for whole k from ``first`` to ``last``."""

    origin: float
    step: float
    first: int
    last: int

    def position(self, index: float) -> float:
        """Where a grid index lies."""
        return self.origin + self.step * index

    def index(self, position: float) -> int:
        """The grid index nearest to a position, never outside."""
        return min(max(round((position - self.origin) / self.step), self.first), self.last)

    @property
    def low(self) -> float:
        """The edge of the first voxel."""
        return self.position(self.first) - self.step / 2

    @property
    def high(self) -> float:
        """The edge of the last voxel."""
        return self.position(self.last) + self.step / 2


Grid = tuple[Axis, Axis, Axis]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """A layer as it is sampled: its array, voxel edges and first voxel in world units.

    ``is_linear`` asks for linear interpolation between voxels; else the nearest is taken.
    """

    name: str
    data: ArrayLike
    step: Point
    origin: Point
    is_linear: bool

    def reach(self, axis: int, grid: Axis) -> range:
        """The grid indices that the stack covers along an axis.

        Interpolation ends at the last voxel; voxels shown as they are end at their edge.
        """
        margin = grid.step / 2 if self.is_linear else self.step[axis] / 2
        low = self.origin[axis] - margin - grid.origin
        high = low + 2 * margin + (self.data.shape[axis] - 1) * self.step[axis]
        return range(math.ceil(low / grid.step - _SAME), math.floor(high / grid.step + _SAME) + 1)

    def voxels(self, axis: int, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """World positions in voxels of this stack, clipped to it."""
        places = (positions - self.origin[axis]) / self.step[axis]
        whole = np.rint(places)
        places = np.where(np.abs(places - whole) < _SAME, whole, places)
        return np.clip(places, 0, self.data.shape[axis] - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Part of a plane, (rows, columns), and the grid indices of both."""

    values: NDArray[Any]
    rows: range
    columns: range


def common_grid(stacks: Sequence[Stack]) -> Grid:
    """The finest sampling among the stacks along each axis, as long as all of them together.

    Where all have the same gaps along z, and one is to be interpolated, z is as fine as x and y,
    by a whole number of steps, so that measured slices stay on the grid.
    """
    axes = []
    for axis in range(3):
        finest = min(stacks, key=lambda stack: stack.step[axis])
        step, origin = finest.step[axis], finest.origin[axis]
        if axis == 0 and all(stack.step[0] < 1.01 * step for stack in stacks):
            lateral = min(min(stack.step[1:]) for stack in stacks)
            if any(stack.is_linear for stack in stacks) and step > 1.01 * lateral:
                step /= math.ceil(step / lateral - 0.01)
        line = Axis(origin, step, 0, 0)
        reaches = [stack.reach(axis, line) for stack in stacks]
        first = min((reach.start for reach in reaches if reach), default=0)
        last = max((reach.stop - 1 for reach in reaches if reach), default=0)
        axes.append(Axis(origin, step, first, last))
    return axes[0], axes[1], axes[2]


def sample_plane(
    stack: Stack, grid: Grid, plane: Plane, at: int, rows: range, columns: range
) -> Picture | None:
    """Read one plane at a grid index, at the rows and columns asked for.

    Returns
    -------
    Picture or None
        Cut to what the stack covers, in its dtype; None where it covers nothing of it.
    """
    across, down, right = AXES[plane]
    wanted = {across: range(at, at + 1), down: rows, right: columns}
    inside = [_within(wanted[axis], stack.reach(axis, grid[axis])) for axis in range(3)]
    if not all(inside):
        return None
    places = [
        stack.voxels(axis, grid[axis].origin + grid[axis].step * np.asarray(inside[axis], float))
        for axis in range(3)
    ]
    if not stack.is_linear:
        places = [np.ceil(place - 0.5) for place in places]  # ties go to the lower voxel
    values, starts = _read(stack, places)
    for axis in range(3):
        values = _along(values, places[axis] - starts[axis], axis)
    return Picture(values.squeeze(across), inside[down], inside[right])


def sample_points(stack: Stack, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at world points (N, 3), NaN outside the stack.

    Linear between voxels in x and y; along z too, unless the stack is shown as it is.
    """
    places = [stack.voxels(axis, points[:, axis]) for axis in range(3)]
    inside = np.ones(len(points), bool)
    for axis in range(3):
        margin = 0.5 * stack.step[axis] + _SAME
        last = stack.origin[axis] + (stack.data.shape[axis] - 1) * stack.step[axis]
        inside &= points[:, axis] >= stack.origin[axis] - margin
        inside &= points[:, axis] <= last + margin
    result = np.full(len(points), np.nan)
    if inside.any():
        places = [place[inside] for place in places]
        if not stack.is_linear:
            places[0] = np.ceil(places[0] - 0.5)
        values, starts = _read(stack, places)
        local = [place - start for place, start in zip(places, starts, strict=True)]
        result[inside] = map_coordinates(values.astype(np.float64), local, order=1, mode="nearest")
    return result


def line_points(start: Point, stop: Point, spacing: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Evenly spaced points of a line, at most ``spacing`` apart.

    Returns
    -------
    distances
        (N,), from 0 to the length of the line.
    points
        (N, 3).
    """
    length = math.dist(start, stop)
    num = max(2, math.ceil(length / spacing - _SAME) + 1)
    along = np.linspace(0, 1, num)[:, None]
    return along[:, 0] * length, np.asarray(start) * (1 - along) + np.asarray(stop) * along


def _within(wanted: range, reach: range) -> range:
    begin = max(0, -(-(reach.start - wanted.start) // wanted.step))
    end = max(begin, -(-(reach.stop - wanted.start) // wanted.step))
    return wanted[begin:end]


def _read(stack: Stack, places: Sequence[NDArray[np.float64]]) -> tuple[NDArray[Any], list[int]]:
    """The smallest box that holds the places, and where it begins."""
    starts = [math.floor(place.min()) for place in places]
    stops = [math.ceil(place.max()) + 1 for place in places]
    box = tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True))
    values = np.asarray(stack.data[box])
    if values.dtype.name not in SUPPORTED_DTYPES:
        values = values.astype(np.float32)
    return values, starts


def _along(values: NDArray[Any], places: NDArray[np.float64], axis: int) -> NDArray[Any]:
    whole = places.astype(int)
    if np.array_equal(whole, places):
        if np.array_equal(whole, np.arange(values.shape[axis])):
            return values
        return np.take(values, whole, axis)
    return _interpolated(values, places, axis)


def _interpolated(values: NDArray[Any], places: NDArray[np.float64], axis: int) -> NDArray[Any]:
    """What `interpolate_axial` gives, in a few long steps that let the GUI thread run."""
    lower = np.clip(np.floor(places).astype(int), 0, max(values.shape[axis] - 2, 0))
    upper = np.minimum(lower + 1, values.shape[axis] - 1)
    along = [1] * values.ndim
    along[axis] = len(places)
    weight = (places - lower).reshape(along)
    first, second = np.take(values, lower, axis), np.take(values, upper, axis)
    with np.errstate(invalid="ignore"):  # infinite voxels
        between = to_dtype(first * (1 - weight) + second * weight, values.dtype)
    return np.where(weight == 0, first, np.where(weight == 1, second, between))
