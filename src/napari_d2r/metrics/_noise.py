"""How noisy slices are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MEDIAN_OF_NORMAL = 0.6745  # median of the absolute value of a standard normal variable
_LAPLACIANS_GAIN = 6.0  # norm of the filter below: white noise comes out 6 times as strong


def noise_sigma(slices: NDArray[Any]) -> float:
    """Standard deviation of white noise, robust to structure.

    The median absolute response to the difference of two Laplacians (Immerkaer, Computer
    Vision and Image Understanding 64, 1996).

    Parameters
    ----------
    slices
        (..., Y, X), at least 3 x 3 pixels, any unit; the result is in the same.
    """
    response = np.diff(np.diff(slices, n=2, axis=-2), n=2, axis=-1)
    return float(np.median(np.abs(response))) / MEDIAN_OF_NORMAL / _LAPLACIANS_GAIN
