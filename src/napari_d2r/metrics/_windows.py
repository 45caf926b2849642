"""Local means, variances and covariance of two images under the Gaussian window of SSIM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

SIGMA = 1.5  # of the window, in pixels
RADIUS = 5  # where it is cut off: 11 x 11 pixels
K1, K2 = 0.01, 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Of two images, at every pixel whose window lies inside: (Y - 10, X - 10) each."""

    mean_a: NDArray[np.float64]
    mean_b: NDArray[np.float64]
    variance_a: NDArray[np.float64]
    variance_b: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def of(cls, a: NDArray[np.float64], b: NDArray[np.float64]) -> Moments:
        """Moments of two images (Y, X) of at least 11 x 11 pixels."""
        mean_a, mean_b = _weighted(a), _weighted(b)
        return cls(
            mean_a,
            mean_b,
            _weighted(a * a) - mean_a**2,
            _weighted(b * b) - mean_b**2,
            _weighted(a * b) - mean_a * mean_b,
        )

    def luminance(self, data_range: float) -> NDArray[np.float64]:
        """The first factor of SSIM at every pixel: do the means agree."""
        c1 = (K1 * data_range) ** 2
        product = 2 * self.mean_a * self.mean_b
        return np.asarray((product + c1) / (self.mean_a**2 + self.mean_b**2 + c1))

    def structure(self, data_range: float) -> NDArray[np.float64]:
        """The second factor: do contrast and structure agree."""
        c2 = (K2 * data_range) ** 2
        total = self.variance_a + self.variance_b
        return np.asarray((2 * self.covariance + c2) / (total + c2))

    def ssim(self, data_range: float) -> float:
        """The mean over pixels of both factors together."""
        return float((self.luminance(data_range) * self.structure(data_range)).mean())


def _weighted(values: NDArray[Any]) -> NDArray[np.float64]:
    for axis in (0, 1):
        values = gaussian_filter1d(values, SIGMA, axis=axis, radius=RADIUS)
    return np.asarray(values[RADIUS:-RADIUS, RADIUS:-RADIUS])
