"""What lateral slices look like in numbers: grey values, noise, power by period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.metrics import noise_sigma
from napari_d2r.volumes import IntensityRange, Volume, centred_box

__all__ = ["MIN_EDGE", "PERIODS", "PROBABILITIES", "Look", "decibels", "look_at"]

PROBABILITIES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
# Half octaves of spatial frequency from 1/32 to 1/2 cycles per pixel.
_BAND_EDGES = 2.0 ** -np.arange(5.0, 0.75, -0.5)
PERIODS = tuple(float(p) for p in np.round(1 / np.sqrt(_BAND_EDGES[:-1] * _BAND_EDGES[1:]), 2))
"""Centres of the bands, in pixels."""

_NUM_SLICES, _EDGE = 6, 384
MIN_EDGE = 5  # of what the filter for noise can be laid over
_FAINTEST = 1e-12


@dataclass(frozen=True, slots=True)
class Look:
    """Numbers of some slices, in unit intensity; the first axis counts the slices.

    Parameters
    ----------
    quantiles
        (N, 7): grey values at `PROBABILITIES`.
    noise_sigma
        (N,): standard deviation of white noise.
    power
        (N, 8): mean power density at `PERIODS`; NaN where a slice is too small to tell.
    """

    quantiles: NDArray[np.float64]
    noise_sigma: NDArray[np.float64]
    power: NDArray[np.float64]


def look_at(volume: Volume, intensity: IntensityRange | None = None) -> Look:
    """Measure the middle of six slices, taken evenly along Z; empty ones are left out.

    Parameters
    ----------
    volume
        At least 5 x 5 pixels laterally, without channels.
    intensity
        What maps to 0 and 1; measured where it is not given.

    Raises
    ------
    InputError
        For smaller slices, channels, and voxels that are constant or not finite.
    """
    volume.require_single_channel()
    if min(volume.shape[1:]) < MIN_EDGE:
        raise InputError(f"{volume.name} is too small to be judged: under {MIN_EDGE} pixels wide.")
    unit = intensity or IntensityRange.of(volume)
    _, y, x = centred_box(volume.shape, (1, _EDGE, _EDGE))
    picks = np.unique(np.linspace(0, volume.shape[0] - 1, _NUM_SLICES).round().astype(int))
    planes = [unit.to_unit(volume.read(slice(k, k + 1), y, x)[0]) for k in picks]
    planes = [plane for plane in planes if plane.min() != plane.max()] or planes
    return Look(
        np.stack([np.quantile(plane, PROBABILITIES) for plane in planes]),
        np.array([noise_sigma(plane) for plane in planes]),
        np.stack([_power(plane) for plane in planes]),
    )


def decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ten times the decimal logarithm; an empty slice has -120 dB."""
    result: NDArray[np.float64] = 10 * np.log10(np.maximum(power, _FAINTEST))
    return result


def _power(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    """Radially averaged power density, by band; white noise of sigma s has s^2 in each."""
    height, width = plane.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    spectrum: NDArray[Any] = np.fft.rfft2((plane - plane.mean()) * window)
    density = np.abs(spectrum) ** 2 / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    band = np.digitize(radius, _BAND_EDGES) - 1
    inside = (band >= 0) & (band < len(PERIODS))
    count = np.bincount(band[inside], minlength=len(PERIODS))
    total = np.bincount(band[inside], density[inside], minlength=len(PERIODS))
    result: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return result
