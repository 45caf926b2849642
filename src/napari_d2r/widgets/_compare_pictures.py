"""What was read of each stack, and as what image it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF

from napari_d2r.widgets._compare_colours import difference_image, grey_image
from napari_d2r.widgets._compare_pane import Shown
from napari_d2r.widgets._compare_sampling import AXES, PLANES, Grid, Picture, Plane

Mode = Literal["side by side", "blink", "split", "difference"]
MODES: tuple[Mode, ...] = ("side by side", "blink", "split", "difference")
Limits = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Display:
    """How the stacks of a scene are shown; the numbers are places in the scene."""

    mode: Mode = "side by side"
    planes: tuple[Plane, ...] = PLANES
    first: int = 0
    second: int = 1
    blinking: int = 0  # the one on screen
    split: float = 0.5
    difference_limit: float = 1.0
    limits: tuple[Limits, ...] = ()

    def stacks(self, num: int) -> tuple[int, ...]:
        """What must be read."""
        if self.mode in ("split", "difference"):
            return tuple(dict.fromkeys((self.first, self.second)))
        return tuple(range(num))

    def columns(self, num: int) -> int:
        """Panes per plane."""
        return num if self.mode == "side by side" else 1


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture that is needed: part of one plane of one stack, in grid indices."""

    stack: int
    plane: Plane
    at: int
    rows: range
    columns: range


class Pictures:
    """The latest picture of every plane of every stack."""

    def __init__(self) -> None:
        self._read: dict[tuple[int, Plane], tuple[Cell, Picture | None]] = {}
        self._shown: dict[tuple[int, Plane], tuple[Picture, Limits, Shown]] = {}

    def put(self, cell: Cell, picture: Picture | None) -> None:
        """Keep a picture instead of the one before; None where a stack does not reach."""
        self._read[cell.stack, cell.plane] = cell, picture

    def has(self, cell: Cell) -> bool:
        """Whether exactly this was read."""
        found = self._read.get((cell.stack, cell.plane))
        return found is not None and found[0] == cell

    def is_read(self, stack: int, plane: Plane) -> bool:
        """Whether anything of a plane was read."""
        return (stack, plane) in self._read

    def forget(self) -> None:
        """Have everything read again; what is on screen stays until then."""
        self._read = {
            key: (replace(cell, at=-(10**9)), picture)
            for key, (cell, picture) in self._read.items()
        }

    def of(self, stack: int, plane: Plane) -> Picture | None:
        """What is on screen of one stack."""
        found = self._read.get((stack, plane))
        return found[1] if found else None

    def difference(self, pair: tuple[int, int], plane: Plane) -> Picture | None:
        """First minus second, where both are, as float32."""
        one, two = (self._read.get((stack, plane)) for stack in pair)
        if one is None or two is None:
            return None
        (cell, first), (other, second) = one, two
        if first is None or second is None:
            return None
        if replace(cell, stack=0) != replace(other, stack=0):
            return None  # one of them is of another place, and will follow
        rows, columns = _common(first.rows, second.rows), _common(first.columns, second.columns)
        if not rows or not columns:
            return None
        return Picture(_cut(first, rows, columns) - _cut(second, rows, columns), rows, columns)

    def difference_span(self, pair: tuple[int, int], planes: Sequence[Plane]) -> float | None:
        """What 99.5 % of the differences in some planes keep to."""
        found = [self.difference(pair, plane) for plane in planes]
        values = [np.abs(each.values).ravel() for each in found if each is not None]
        return float(np.nanpercentile(np.concatenate(values), 99.5)) if values else None

    def as_grey(self, stack: int, plane: Plane, grid: Grid, limits: Limits) -> Shown | None:
        """One stack in grey; the image is made once."""
        picture = self.of(stack, plane)
        if picture is None:
            return None
        kept = self._shown.get((stack, plane))
        if kept is None or kept[0] is not picture or kept[1] != limits:
            shown = Shown(grey_image(picture.values, limits), _where(plane, grid, picture))
            kept = self._shown[stack, plane] = picture, limits, shown
        return kept[2]

    def as_difference(
        self, pair: tuple[int, int], plane: Plane, grid: Grid, limit: float
    ) -> tuple[Shown, ...]:
        """The difference of two stacks in colours, if both are there."""
        picture = self.difference(pair, plane)
        if picture is None:
            return ()
        image = difference_image(picture.values, limit)
        return (Shown(image, _where(plane, grid, picture)),)


def _where(plane: Plane, grid: Grid, picture: Picture) -> QRectF:
    """A voxel reaches half a step beyond its position; a thinned one stands for its stride."""
    _, down, right = AXES[plane]
    (left, width), (top, height) = (
        (axis.position(places[0] - 0.5), axis.step * len(places) * places.step)
        for axis, places in ((grid[right], picture.columns), (grid[down], picture.rows))
    )
    return QRectF(left, top, width, height)


def _common(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop), one.step)


def _cut(picture: Picture, rows: range, columns: range) -> NDArray[np.float32]:
    row, column = picture.rows.index(rows[0]), picture.columns.index(columns[0])
    part = picture.values[row : row + len(rows), column : column + len(columns)]
    values: NDArray[np.float32] = part.astype(np.float32)
    return values
