"""Parts of slices at their edges that hold no image, as alignment leaves them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.inspection._findings import Finding, Label, listed

__all__ = ["MaskWatch"]

_LEAST = 0.005  # of the slice, at one of its sides
_MIN_LINES = 16  # rows or columns that a straight edge is told by
_SHARE = 0.25  # of a side, that it runs along at least
_STRAIGHT = 0.5  # pixels that it stands off a line, root mean square; one drawn in pixels 0.3


@dataclass(slots=True)
class MaskWatch:
    """Takes slice after slice, and keeps how much of each is masked at its sides.

    A mask is of the least grey value that the type can store, of the greatest, or of zero, and
    its edge is straight; a dark ground ends raggedly.
    """

    _shares: dict[int, float] = field(default_factory=dict)

    def add(self, index: int, plane: NDArray[Any]) -> list[float]:
        """Look at slice ``index`` of shape (Y, X), without bar and borders that are in all.

        Returns the grey values that mask it.
        """
        found = []
        for value in _values(plane):
            share = sum(_masked(side, value) for side in _sides(plane)) / plane.size
            if share > _LEAST:
                self._shares[index] = max(share, self._shares.get(index, 0.0))
                found.append(value)
        return found

    def findings(self, label: Label) -> list[Finding]:
        """Kind ``masked``."""
        if not self._shares:
            return []
        names = listed([label(at) for at in self._shares])
        most = 100 * max(self._shares.values())
        verb = "holds" if len(self._shares) == 1 else "hold"
        return [
            Finding(
                "masked",
                "warning",
                f"{names} {verb} no image at an edge (up to {most:.2g} % of the slice), as "
                "alignment leaves it; crop to what all slices show, or the result is worse up to "
                "16 pixels beside it.",
                tuple(self._shares),
            )
        ]


def _values(plane: NDArray[Any]) -> tuple[float, ...]:
    if plane.dtype.kind == "f":
        return (0.0,)
    limits = np.iinfo(plane.dtype)
    return tuple(sorted({limits.min, 0, limits.max}))


def _sides(plane: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """The slice as seen from each side: lines that lead inwards."""
    return plane, plane[:, ::-1], plane.T, plane.T[:, ::-1]


def _masked(lines: NDArray[Any], value: float) -> int:
    """Pixels that lie before the image in lines that lead inwards, if their end is straight.

    Lines without any image are not counted: another side sees them.
    """
    least = max(_MIN_LINES, _SHARE * len(lines))
    if len(_longest_run(lines[:, 0] == value)) < least:  # as in most slices: soon told
        return 0
    runs = (lines != value).argmax(1)
    edge = _longest_run(runs > 0)
    if len(edge) < least:
        return 0
    off = runs[edge] - np.polyval(np.polyfit(edge, runs[edge], 1), edge)
    return int(runs[edge].sum()) if off.std() <= _STRAIGHT else 0


def _longest_run(wanted: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Where the longest row of entries that are true lies."""
    at = np.flatnonzero(wanted)
    return max(np.split(at, np.flatnonzero(np.diff(at) > 1) + 1), key=len)
