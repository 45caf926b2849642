"""What stands still in every slice: a data bar, and borders that hold no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.inspection._findings import Finding

__all__ = ["Frame", "find_frame"]

_MIN_SAMPLE = 4  # slices; fewer prove nothing about what stands still
_MAX_COLUMNS = 2048  # wider slices are thinned out for the rows
_BAR_STILL, _IMAGE_STILL = 0.6, 0.2  # share of a row that never changes: in a bar, in an image
_MAX_BAR = 0.35  # of the height


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows and columns around the image, counted inwards from each edge.

    Parameters
    ----------
    shape
        (Y, X) of a slice.
    bar_top, bar_bottom
        Rows taken by a data bar.
    top, bottom, left, right
        Rows and columns of one grey value, in every slice, inside the data bar.
    value
        That grey value, or None without a border.
    """

    shape: tuple[int, int]
    bar_top: int = 0
    bar_bottom: int = 0
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    value: float | None = None

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns that hold the image."""
        height, width = self.shape
        return (
            slice(self.bar_top + self.top, height - self.bar_bottom - self.bottom),
            slice(self.left, width - self.right),
        )

    def findings(self) -> list[Finding]:
        """Kinds ``data-bar`` and ``border``."""
        height, _ = self.shape
        found = []
        for rows, where, first in (
            (self.bar_top, "top", 0),
            (self.bar_bottom, "bottom", height - self.bar_bottom),
        ):
            if rows:
                found.append(
                    Finding(
                        "data-bar",
                        "warning",
                        f"A data bar fills rows {first} to {first + rows - 1} at the {where} of "
                        "every slice; crop it off, or it is taken for tissue.",
                    )
                )
        sides = [
            f"{count} {word}{'s' * (count > 1)} {where}"
            for count, word, where in (
                (self.top, "row", "at the top"),
                (self.bottom, "row", "at the bottom"),
                (self.left, "column", "on the left"),
                (self.right, "column", "on the right"),
            )
            if count
        ]
        if sides:
            found.append(
                Finding(
                    "border",
                    "warning",
                    f"An empty border of grey value {self.value:g} surrounds the image in every "
                    f"slice ({', '.join(sides)}); crop it off, or it is taken for tissue.",
                )
            )
        return found


def find_frame(planes: Sequence[NDArray[Any]]) -> Frame:
    """Find the data bar and the borders in slices taken from all over the stack.

    Parameters
    ----------
    planes
        Some (Y, X) slices, alike in shape. Up to two of them may be out of line (empty,
        or without the bar).
    """
    height, width = planes[0].shape
    plain = Frame((height, width))
    if len(planes) < _MIN_SAMPLE or min(height, width) < 8:
        return plain
    thin = np.stack([plane[:, :: max(1, width // _MAX_COLUMNS)] for plane in planes])
    still, values = _still(thin)
    share = still.mean(1)
    middle = slice(height // 4, max(height // 4 + 1, 3 * height // 4))
    if np.median(share[middle]) > _IMAGE_STILL:
        return _borders(plain, planes)  # a dark background stands still as well as a bar
    limit = int(_MAX_BAR * height)
    rows = [_run(share[::step], limit) for step in (1, -1)]
    top = rows[0] if _is_bar(values[: rows[0]], still[: rows[0]]) else 0
    bottom = rows[1] if _is_bar(values[height - rows[1] :], still[height - rows[1] :]) else 0
    return _borders(Frame((height, width), top, bottom), planes)


def _still(stack: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Where all slices but two at either end of the grey scale agree, and on which value."""
    spare = min(2, (len(stack) - 2) // 3)
    ordered = np.sort(stack, axis=0)
    return ordered[spare] == ordered[-1 - spare], ordered[len(stack) // 2]


def _run(share: NDArray[Any], limit: int) -> int:
    """How many rows from the edge on stand still; 0 if that does not end where a bar would."""
    moving = np.flatnonzero(share < _BAR_STILL)
    rows = int(moving[0]) if len(moving) else len(share)
    return rows if rows <= limit else 0


def _is_bar(values: NDArray[Any], still: NDArray[np.bool_]) -> bool:
    """Whether rows hold writing, rather than one grey value alone."""
    kept = values[still]
    return bool(kept.size) and bool(kept.min() != kept.max())


def _borders(frame: Frame, planes: Sequence[NDArray[Any]]) -> Frame:
    """Add the rows and columns that are of one grey value in every slice."""
    height, width = frame.shape
    inner = [plane[frame.bar_top : height - frame.bar_bottom] for plane in planes]
    inner = [plane for plane in inner if plane.min() != plane.max()]
    if len(inner) < _MIN_SAMPLE:
        return frame
    for value in np.unique([plane[at] for plane in inner for at in ((0, 0), (-1, -1))]):
        filled = np.sum([plane == value for plane in inner], axis=0) >= len(inner) - 1
        rows, columns = filled.all(1), filled.all(0)
        top, bottom, left, right = map(_leading, (rows, rows[::-1], columns, columns[::-1]))
        if top + bottom + left + right and top + bottom < len(rows) and left + right < width:
            return replace(
                frame, top=top, bottom=bottom, left=left, right=right, value=float(value)
            )
    return frame


def _leading(flags: NDArray[np.bool_]) -> int:
    """How many flags are set before the first that is not."""
    unset = np.flatnonzero(~flags)
    return int(unset[0]) if len(unset) else len(flags)
