"""Where a volume stands along Z with respect to another, in fractions of a voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.optimize import minimize_scalar

from napari_d2r.errors import InputError

# Lags examined on either side, and the width of the Gaussian that finds the peak among
# them. At 1.0 whole lags undersample it (0.006 voxel on unblurred FIB-SEM), at 1.2 that
# error is below 0.002, and wider ones let chance likeness between slices in.
_MAX_LAG = 12
_PEAK_SIGMA = 1.2
# Structures broader than this many pixels are removed from every slice: they are few, so
# by chance they look more like the slice above or the slice below a measured one.
_LATERAL_HIGH_PASS = 7
# More lateral pixels than this per edge add seconds, not accuracy.
_MAX_EDGE = 512
_MIN_SLICES = 7


def axial_shift(reference: NDArray[Any], test: NDArray[Any]) -> float:
    """Shift of ``test`` along Z against ``reference``, in voxels.

    Positive where the content of ``test`` stands at larger z:
    ``test[z] = reference[z - shift]``. The cross-correlation of the z-differences of both
    volumes is summed at whole lags, and the peak of that sequence, convolved with a
    Gaussian, is its position between lags. A blur that is symmetric in z does not move it.

    Parameters
    ----------
    reference, test
        (Z, Y, X), one shape, at least 7 slices.

    Returns
    -------
    float
        Within 6 voxels of zero for stacks of 25 slices or more, within a quarter of the
        stack for shorter ones. On 250 slices of FIB-SEM good to 0.002 for shifts up to
        2, and to 0.007 for a volume blurred along Z with sigma = 3 voxels as well. Content
        interpolated over gaps of r slices is partly guessed and the estimate scatters:
        up to 0.01 for linear interpolation with r up to 12.

    Raises
    ------
    InputError
        When the shapes differ, slices are too few, or a volume does not vary along Z.
    """
    if reference.shape != test.shape or reference.ndim != 3 or len(reference) < _MIN_SLICES:
        raise InputError(
            f"Registration needs two volumes of one shape and at least {_MIN_SLICES} slices; "
            f"these have {reference.shape} and {test.shape}."
        )
    a, b = _axial_differences(reference), _axial_differences(test)
    if not a.any() or not b.any():
        raise InputError(
            "A volume that does not vary along Z cannot be registered; check that it was written."
        )
    max_lag = min(_MAX_LAG, len(a) // 2)
    lags = np.arange(-max_lag, max_lag + 1)
    correlation = np.array([_correlate(a, b, int(lag), max_lag) for lag in lags])

    def fall(position: float) -> float:
        return -float(np.exp(-np.square(lags - position) / (2 * _PEAK_SIGMA**2)) @ correlation)

    candidates = np.arange(-max_lag / 2, max_lag / 2 + 0.05, 0.1)
    coarse = float(min(candidates, key=fall))
    fine = minimize_scalar(
        fall, bounds=(coarse - 0.1, coarse + 0.1), method="bounded", options={"xatol": 1e-5}
    )
    return -float(fine.x)


def _axial_differences(volume: NDArray[Any]) -> NDArray[np.float32]:
    """(Z - 1, pixels): each slice less the one before, fine lateral detail only."""
    starts = [max(0, length - _MAX_EDGE) // 2 for length in volume.shape[1:]]
    y, x = (slice(start, start + _MAX_EDGE) for start in starts)
    slices = volume[:, y, x].astype(np.float32)
    steps = slices[1:] - slices[:-1]
    for step in steps:
        step -= uniform_filter(step, _LATERAL_HIGH_PASS)
    return np.asarray(steps.reshape(len(steps), -1))


def _correlate(a: NDArray[np.float32], b: NDArray[np.float32], lag: int, max_lag: int) -> float:
    """Sum of ``b[z] a[z + lag]`` over pairs whose midpoint lies in one fixed range.

    Were the range fixed for ``b`` instead, the slices that enter and leave at the ends
    would tilt the correlation and move its peak by about 0.01.
    """
    z = np.arange(max(0, -lag), min(len(b), len(b) - lag))
    midpoint = z + lag / 2
    # Odd lags have midpoints between slices: the outermost ones count half.
    weight = np.minimum(midpoint - max_lag / 2 + 0.5, len(b) - 0.5 - max_lag / 2 - midpoint)
    weight = np.clip(weight, 0, 1)
    pairs = ((w, b[k] @ a[k + lag]) for k, w in zip(z, weight, strict=True) if w > 0)
    return float(sum(w * product for w, product in pairs) / weight.sum())
