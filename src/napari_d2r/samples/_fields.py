"""Smooth random functions of physical position, the clay of the phantom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Image = NDArray[np.floating[Any]]  # (Z, Y, X) float32 throughout
Axes = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]], NDArray[np.floating[Any]]]

# Knots beyond either end of the volume: two for the support of a cubic spline, one to spare
# for the voxel of halo that the membranes need.
_MARGIN = 3


@dataclass(frozen=True, slots=True, eq=False)
class SmoothField:
    """A stationary random field of zero mean and unit variance, isotropic to the eye.

    A uniform cubic B-spline whose coefficients are white noise under a Gaussian of one
    knot: a function of position in nm, so that any voxel size samples the same structures.
    """

    coefficients: NDArray[np.float32]  # (knots along z, y, x)
    knot_nm: float

    @classmethod
    def draw(
        cls, extent_nm: tuple[float, float, float], knot_nm: float, rng: np.random.Generator
    ) -> SmoothField:
        """Draw one over ``[0, extent_nm]`` along z, y and x."""
        knots = [int(np.ceil(extent / knot_nm)) + 1 + 2 * _MARGIN for extent in extent_nm]
        # "wrap" keeps the variance the same up to the border.
        smooth = gaussian_filter(rng.standard_normal(knots), 1.0, mode="wrap")
        smooth = (smooth - smooth.mean()) / smooth.std()
        return cls(smooth.astype(np.float32), knot_nm)

    def at(self, axes: Axes) -> Image:
        """Values on the grid of three axes of positions in nm; (Z, Y, X) float32."""
        z, y, x = (self._basis(positions, n) for n, positions in enumerate(axes))
        used = np.flatnonzero(z.any(axis=0))  # a slab touches few knots along z
        values = np.matmul(y, self.coefficients[used] @ x.T)  # (knots, Y, X)
        return np.tensordot(z[:, used], values, axes=1)

    def _basis(self, positions: NDArray[np.floating[Any]], axis: int) -> NDArray[np.float32]:
        """Weight of every knot at every position: (positions, knots)."""
        knots = np.arange(self.coefficients.shape[axis])
        t = np.abs(positions[:, None] / self.knot_nm + _MARGIN - knots)
        near, far = 2 / 3 - t**2 + t**3 / 2, (2 - t) ** 3 / 6
        return np.where(t < 1, near, np.where(t < 2, far, 0)).astype(np.float32)


def distance_to_level(values: Image, voxel_nm: float) -> Image:
    """Distance in nm to where ``values`` is zero, to first order: value over slope.

    Each slope is the steeper of the two one-sided differences, so that the fold which the
    absolute value of a field has at its zero does not flatten it.
    """
    squared = np.full_like(values, 1e-12)
    for axis in range(values.ndim):
        step = np.square(np.diff(values, axis=axis))
        ahead, behind = [slice(None)] * values.ndim, [slice(None)] * values.ndim
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        steepest = np.zeros_like(values)
        steepest[tuple(behind)] = step
        steepest[tuple(ahead)] = np.maximum(steepest[tuple(ahead)], step)
        squared += steepest
    distance: Image = np.float32(voxel_nm) * values / np.sqrt(squared)
    return distance
