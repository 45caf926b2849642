"""Stripes along x or y, as milling and scanning leave them, by the power on an axis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_d2r.inspection._findings import Finding, Label, listed

__all__ = ["StripeWatch"]

_EDGE, _MIN_EDGE = 256, 96  # of the square in the middle of a slice, in its own pixels
_BANDS = (slice(8, 32), slice(32, None))  # periods across the square; slower ones are shading
# Times that the power on an axis may exceed that beside it, in the median of all slices and in a
# single one. Seven real volumes stay below 1.3 and 2.5.
_USUAL, _SINGLE = 1.8, 4.0
_FAINTEST = 1e-9


@dataclass(slots=True)
class StripeWatch:
    """Takes slice after slice, and keeps how far rows and columns differ as wholes."""

    _excess: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def add(self, index: int, plane: NDArray[Any]) -> None:
        """Look at slice ``index`` of shape (Y, X), without bar and borders."""
        if min(plane.shape) < _MIN_EDGE:
            return
        self._excess[index] = _excess(_middle(plane))

    def findings(self, label: Label) -> list[Finding]:
        """Kind ``stripes``, for either direction."""
        if not self._excess:
            return []
        slices, found = np.array(list(self._excess)), []
        excess = np.stack(list(self._excess.values()))  # (slices, directions, bands)
        for along, (name, lines) in enumerate((("y", "columns"), ("x", "rows"))):
            usual = np.median(excess[:, along], axis=0).max()
            single = slices[excess[:, along].max(1) > _SINGLE].tolist()
            if usual > _USUAL:
                who, single = "Slices are", []
            elif single:
                who = listed([label(at) for at in single]) + (" is" if len(single) == 1 else " are")
            else:
                continue
            found.append(
                Finding(
                    "stripes",
                    "warning",
                    f"{who} striped along {name}: whole {lines} are brighter or darker than their "
                    "neighbours; remove the stripes first, or they are taken for tissue.",
                    tuple(single),
                )
            )
        return found


def _middle(plane: NDArray[Any]) -> NDArray[np.float32]:
    y, x = ((length - min(length, _EDGE)) // 2 for length in plane.shape)
    return plane[y : y + _EDGE, x : x + _EDGE].astype(np.float32)


def _excess(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power of stripes along y, and along x, over that of what is nearly as straight: (2, bands).

    Stripes along y change with x alone: their spectrum lies on the axis of x, within the main
    lobe of the window. Compared are geometric means over the frequencies of a band.
    """
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    power = np.abs(fft.fft2((image - image.mean()) * window)) ** 2 + _FAINTEST

    def ratios(lines: NDArray[np.float64]) -> list[float]:
        half = lines[:, : lines.shape[1] // 2]
        logs = np.log(half[[0, 1, -1]].mean(0)) - np.log(half[[3, 4, 5, 6, -3, -4, -5, -6]].mean(0))
        return [float(np.exp(logs[band].mean())) for band in _BANDS]

    return np.array([ratios(power), ratios(power.T)])
