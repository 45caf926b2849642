r"""What the noise of the reference leaves to be reached.

No method can know the noise of a slice that it did not see. With a reference r = s + n, the best
guess that knows everything else is s, and its similarity with r stays below 1:

.. math::

    SSIM(s, r) \approx \mathrm{mean} \; \frac{2 \sigma_s^2 + C_2}{\sigma_s^2 + \sigma_r^2 + C_2},
    \qquad \sigma_s^2 = \max(\sigma_r^2 - \sigma_n^2, 0)

which is SSIM with the covariance of s and r and the variance of s put in for what they are on
average; the means of both agree. Variances are those of 7 x 7 windows, as in `score_plane`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from napari_d2r.errors import InputError
from napari_d2r.metrics._noise import MEDIAN_OF_NORMAL
from napari_d2r.metrics._windows import K2

_WINDOW = 7
_ORDER = 4
_GAIN = 70**0.5  # norm of the fourth difference, 1 -4 6 -4 1


def axial_noise_sigma(volume: NDArray[Any]) -> float:
    """Standard deviation of what is new in every slice: noise that no neighbour foretells.

    The median absolute fourth difference along Z, over 0.6745 and the norm of that filter. It
    removes whatever varies like a cubic polynomial over five slices, and the median is not moved
    by edges. Structure as fine as two slices counts as noise, so that it reads a little high.

    Parameters
    ----------
    volume
        (Z, Y, X), isotropic, at least 5 slices, any unit; the result is in the same.

    Raises
    ------
    InputError
        For fewer than 5 slices.
    """
    if len(volume) <= _ORDER:
        raise InputError(
            f"Noise is estimated from at least {_ORDER + 1} slices; there are {len(volume)}."
        )
    middle = len(volume) // 2
    slices = volume[max(0, middle - 32) : middle + 32].astype(np.float32)
    response = np.abs(np.diff(slices, n=_ORDER, axis=0))
    return float(np.median(response)) / MEDIAN_OF_NORMAL / _GAIN


def attainable_ssim(slices: NDArray[Any], noise_sigma: float, *, data_range: float) -> float:
    """SSIM that these slices, freed of their noise, would have with themselves as they are.

    Parameters
    ----------
    slices
        (N, Y, X) of the reference, at least 7 x 7 pixels.
    noise_sigma
        Standard deviation of their noise, in the same unit.
    data_range
        Grey levels between black and white.

    Returns
    -------
    float
        0 to 1; 1 without noise. A guess with more contrast than s may exceed it a little.
    """
    c2 = (K2 * data_range) ** 2
    edge = _WINDOW // 2
    sample = _WINDOW**2 / (_WINDOW**2 - 1)
    similarity = []
    for plane in slices:
        values = plane.astype(np.float64)
        mean = uniform_filter(values, _WINDOW)
        variance = (uniform_filter(values**2, _WINDOW) - mean**2) * sample
        inside = np.maximum(variance[edge:-edge, edge:-edge], 0)
        clean = np.maximum(inside - noise_sigma**2, 0)
        similarity.append(float(((2 * clean + c2) / (clean + inside + c2)).mean()))
    return float(np.mean(similarity))
