"""Brightness along the stack: a slow drift, and flicker from slice to slice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.inspection._findings import Finding

__all__ = ["TrendWatch"]

_THIN = 256  # pixels per side that grey values are taken from, at most
_LEVELS = (0.1, 0.5, 0.9)  # dark, middle and bright ones
_MIN_SLICES = 8
# Shares of the contrast. Of seven real volumes, as they are and thinned along Z, none drifts by
# more than 0.16 or flickers by more than 0.03, but for sections whose staining does: by 0.07.
_DRIFT, _FLICKER = 0.2, 0.05
_QUARTER = 0.75


@dataclass(slots=True)
class TrendWatch:
    """Takes the grey values of every slice, and tells what they do together.

    Tissue changes the share of dark and of bright voxels; a detector, or staining, moves both.
    Only what dark, middle and bright grey values have in common counts.
    """

    _levels: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, plane: NDArray[Any]) -> None:
        """Look at a slice (Y, X), without bar and borders."""
        step = max(1, -(-max(plane.shape) // _THIN))
        self._levels.append(np.quantile(plane[::step, ::step], _LEVELS))

    def findings(self) -> list[Finding]:
        """Kinds ``drift`` and ``flicker``."""
        if len(self._levels) < _MIN_SLICES:
            return []
        levels = np.array(self._levels, np.float64)
        contrast = float(np.median(levels[:, -1] - levels[:, 0]))
        if contrast <= 0:
            return []
        found = []
        drift = float(np.ptp(_in_common(_smooth(levels))))
        off = _in_common(levels[1:-1] - (levels[:-2] + levels[2:]) / 2)
        flicker = float(np.quantile(np.abs(off), _QUARTER))
        if drift > max(_DRIFT * contrast, 3 * flicker):  # flicker wanders a little
            found.append(
                Finding(
                    "drift",
                    "note",
                    f"Along the stack brightness drifts by {drift:.3g} grey values, "
                    f"{100 * drift / contrast:.0f} % of the contrast; even it out before you "
                    "segment by grey values. New slices follow those around them.",
                )
            )
        if flicker > _FLICKER * contrast:
            found.append(
                Finding(
                    "flicker",
                    "warning",
                    f"Brightness flickers: a quarter of the slices differ from the mean of their "
                    f"neighbours by {flicker:.3g} grey values or more, "
                    f"{100 * flicker / contrast:.0f} % of the contrast; even it out, or the result "
                    "shows bands along Z.",
                )
            )
        return found


def _smooth(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running medians over a fifth of the stack: single slices do not count."""
    reach = max(2, len(levels) // 10)
    windows = [levels[max(0, k - reach) : k + reach + 1] for k in range(len(levels))]
    medians: NDArray[np.float64] = np.array([np.median(window, axis=0) for window in windows])
    return medians - np.median(medians, axis=0)


def _in_common(moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """(Z, levels) -> (Z,): the least move where all levels move one way, else 0."""
    alike = np.abs(np.sign(moved).sum(1)) == moved.shape[1]
    least: NDArray[np.float64] = np.abs(moved).min(1) * np.sign(moved[:, 0]) * alike
    return least
