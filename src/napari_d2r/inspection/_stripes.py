"""Stripes along x or y, as milling and scanning leave them, by the power on an axis.

A straight edge along x or y has power there too, but at one place: it is in few of the windows
that a slice is cut into across it. Stripes are in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_d2r.inspection._findings import Finding, Label, listed

__all__ = ["StripeWatch"]

_EDGE, _MIN_EDGE = 256, 96  # of the square in the middle of a slice, in its own pixels
_WINDOWS = 4  # side by side across the stripes; others lie half over two of them
_FEW = 0.25  # of the windows may be without stripes; two edges are in four of the seven
_BANDS = (slice(2, 8), slice(8, None))  # periods across a window; slower ones are shading
# Times that the power on an axis may exceed that beside it, in the median of all slices and in a
# single one. Seven real volumes stay below 1.3 and 2.
_USUAL, _SINGLE = 1.8, 3.0
_FAINTEST = 0.01  # of the contrast of a slice: what is flat has no stripes


@dataclass(slots=True)
class StripeWatch:
    """Takes slice after slice, and keeps how far rows and columns differ as wholes."""

    _excess: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def add(self, index: int, plane: NDArray[Any]) -> None:
        """Look at slice ``index`` of shape (Y, X), without bar and borders."""
        middle = _middle(plane)
        if min(middle.shape) < _MIN_EDGE or np.ptp(middle) == 0:
            return
        self._excess[index] = _excess(middle)

    def findings(self, label: Label) -> list[Finding]:
        """Kind ``stripes``, for either direction."""
        if not self._excess:
            return []
        slices, found = np.array(list(self._excess)), []
        excess = np.stack(list(self._excess.values()))  # (slices, directions, windows, bands)
        for along, (name, lines) in enumerate((("y", "columns"), ("x", "rows"))):
            usual = np.quantile(np.median(excess[:, along], axis=0), _FEW, axis=0).max()
            nearly_all = np.quantile(excess[:, along], _FEW, axis=1)
            single = slices[nearly_all.max(1) > _SINGLE].tolist()
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
    """Power of stripes along y, and along x, over that of what is nearly as straight.

    (2, windows, bands), see `_along_y`.
    """
    return np.stack([_along_y(image), _along_y(image.T)])


def _along_y(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """In each window across x and each band, (windows, bands).

    Stripes along y change with x alone: their spectrum lies on the axis of x, within the main
    lobe of the Hann window. Compared are geometric means over the frequencies of a band.
    """
    height, width = image.shape[0], image.shape[1] // _WINDOWS
    starts = range(0, image.shape[1] - width + 1, width // 2)
    parts = _flattened(np.stack([image[:, x : x + width] for x in starts]))
    hann = np.outer(np.hanning(height + 1)[:-1], np.hanning(width + 1)[:-1])
    floor = (_FAINTEST * image.std()) ** 2 * (hann**2).sum()
    power = np.abs(fft.fft(fft.rfft(parts * hann), axis=1)) ** 2 + floor  # (windows, y, x)
    on, beside = power[:, [0, 1, -1]].mean(1), power[:, [3, 4, 5, 6, -3, -4, -5, -6]].mean(1)
    logs = np.log(on[:, : width // 2]) - np.log(beside[:, : width // 2])
    ratios: NDArray[np.float64] = np.exp(np.stack([logs[:, band].mean(1) for band in _BANDS], 1))
    return ratios


def _flattened(parts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without mean and slope along x, since a slope is shading."""
    x = np.arange(parts.shape[2], dtype=np.float32)
    x -= x.mean()
    parts = parts - parts.mean(axis=(1, 2), keepdims=True)
    slopes = parts.mean(axis=1) @ x / (x @ x)
    flat: NDArray[np.float32] = parts - slopes[:, None, None] * x
    return flat
