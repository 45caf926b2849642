"""Scanning Fourier ring correlation: where a slice holds detail that is not there.

Every inserted XY slice is scanned by patches of 64 x 64 pixels that overlap by half. A patch is
told by the frequency at which its FRC with the reference first falls below 0.5. One that falls at
a lower frequency than others agrees with the reference in coarse detail only: it is blurred, out
of place, or made up. How low is low comes from the data: a patch is listed below the frequency
under which 5 % of the patches of linear interpolation lie. Linear invents nothing, so a method that
lists fewer patches than linear is closer to the truth where it is hardest to tell, and one that
lists patches which linear does not makes errors of its own.

After Kc, Zeng, Soni, Badano, "sFRC for assessing hallucinations in medical image restoration",
arXiv 2603.04673 (2026), whose threshold is fixed by hand for each task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_d2r.errors import InputError
from napari_d2r.metrics._inserted import inserted_slices

PATCH, STRIDE = 64, 32
LISTED_OF_LINEAR = 0.05
_LEVEL = 0.5
_RINGS = PATCH // 2


@dataclass(frozen=True, slots=True, eq=False)
class PatchScan:
    """Where patches of inserted slices stop to agree with the reference.

    Parameters
    ----------
    slices
        (S,) the inserted slices.
    crossing
        (S, rows, columns) frequency in cycles per pixel at which the FRC of each patch first
        falls below 0.5; 0.5, the Nyquist frequency, where it never does. Patch (i, j) begins at
        pixel (32 i, 32 j).
    """

    slices: NDArray[np.intp]
    crossing: NDArray[np.float64]

    def threshold(self) -> float:
        """The frequency under which 5 % of these patches lie; asked of linear's scan."""
        return float(np.quantile(self.crossing, LISTED_OF_LINEAR))

    def listed(self, threshold: float) -> NDArray[np.bool_]:
        """(S, rows, columns): the patches whose crossing lies below ``threshold``."""
        return np.asarray(self.crossing < threshold)


def scan_patches(reference: NDArray[Any], test: NDArray[Any], *, factor: int) -> PatchScan:
    """FRC of every patch of every inserted slice.

    Patches are tapered by a Hann window, rings are one pixel of the spectrum wide, and each ring
    is taken together with its two neighbours, since a ring of a patch has few pixels.

    Parameters
    ----------
    reference, test
        (Z, Y, X), one shape, at least 64 x 64 pixels; slices 0, factor, 2 factor ... measured.
    factor
        Every ``factor``-th slice was measured.

    Raises
    ------
    InputError
        When shapes differ or slices are smaller than a patch.
    """
    if reference.shape != test.shape or min(reference.shape[1:]) < PATCH:
        raise InputError(
            f"Scanning FRC compares volumes of one shape with slices of at least {PATCH} x {PATCH} "
            f"pixels; these have {reference.shape} and {test.shape}."
        )
    inserted = inserted_slices(len(reference), factor)
    rings = _ring_members()
    crossings = [_crossings(reference[z], test[z], rings) for z in inserted]
    return PatchScan(inserted, np.stack(crossings))


def _ring_members() -> NDArray[np.float32]:
    """(pixels of the half spectrum, rings): how often each pixel counts, three rings together."""
    fy, fx = fft.fftfreq(PATCH, 1 / PATCH), fft.rfftfreq(PATCH, 1 / PATCH)
    radius = np.rint(np.sqrt(np.square(fy)[:, None] + np.square(fx))).astype(int)
    twice = np.where((fx == 0) | (fx == PATCH // 2), 1.0, 2.0)  # the mirror half is left out
    centres = np.arange(1, _RINGS + 1)
    near = (np.abs(radius[..., None] - centres) <= 1) & (radius[..., None] > 0)
    return np.asarray((near * twice[:, None]).reshape(-1, _RINGS), np.float32)


def _crossings(a: NDArray[Any], b: NDArray[Any], rings: NDArray[np.float32]) -> NDArray[np.float64]:
    """(rows, columns) crossing of each patch of two slices."""
    spectra = [_patch_spectra(plane) for plane in (a, b)]
    grid = spectra[0].shape[:2]
    first, second = (s.reshape(-1, rings.shape[0]) for s in spectra)
    cross = (first.real * second.real + first.imag * second.imag) @ rings
    power = [(np.square(s.real) + np.square(s.imag)) @ rings for s in (first, second)]
    both = np.sqrt(power[0] * power[1])
    correlation = np.divide(cross, both, out=np.zeros_like(cross), where=both > 0)
    return _first_below(correlation.astype(np.float64)).reshape(grid)


def _patch_spectra(plane: NDArray[Any]) -> NDArray[np.complex64]:
    views = np.lib.stride_tricks.sliding_window_view(plane, (PATCH, PATCH))[::STRIDE, ::STRIDE]
    patches = views.astype(np.float32)
    patches -= patches.mean(axis=(-2, -1), keepdims=True)
    taper = np.hanning(PATCH).astype(np.float32)
    return np.asarray(fft.rfft2(patches * (taper[:, None] * taper)), np.complex64)


def _first_below(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(patches,) frequency of the first fall below 0.5, between rings by a straight line."""
    padded = np.concatenate([np.ones((len(correlation), 1)), correlation], axis=1)
    below = padded < _LEVEL
    after = np.where(below.any(axis=1), below.argmax(axis=1), _RINGS)
    row = np.arange(len(padded))
    c0, c1 = padded[row, after - 1], padded[row, after]
    part = np.clip((c0 - _LEVEL) / np.where(c0 > c1, c0 - c1, 1), 0, 1)
    found = (after - 1 + np.where(below.any(axis=1), part, 1)) / PATCH
    return np.asarray(found)
