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

    A mask is of the least grey value that the type can store, or of the greatest, and its edge
    is straight; a dark ground ends raggedly.
    """

    _shares: dict[int, float] = field(default_factory=dict)

    def add(self, index: int, plane: NDArray[Any]) -> None:
        """Look at slice ``index`` of shape (Y, X), without bar and borders that are in all."""
        for value in _values(plane):
            is_value = plane == value
            share = sum(_masked(side) for side in _sides(is_value)) / plane.size
            if share > _LEAST:
                self._shares[index] = max(share, self._shares.get(index, 0.0))

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
    return (0, limits.max) if limits.min < 0 else (limits.min, limits.max)


def _sides(is_value: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
    """The slice as seen from each side: lines that lead inwards."""
    return is_value, is_value[:, ::-1], is_value.T, is_value.T[:, ::-1]


def _masked(lines: NDArray[np.bool_]) -> int:
    """Pixels that lie before the image in lines that lead inwards, if their end is straight.

    Lines without any image are not counted: another side sees them.
    """
    runs = (~lines).argmax(1)
    at = np.flatnonzero(runs)
    edge = max(np.split(at, np.flatnonzero(np.diff(at) > 1) + 1), key=len)
    if len(edge) < max(_MIN_LINES, _SHARE * len(lines)):
        return 0
    off = runs[edge] - np.polyval(np.polyfit(edge, runs[edge], 1), edge)
    return int(runs[edge].sum()) if off.std() <= _STRAIGHT else 0
