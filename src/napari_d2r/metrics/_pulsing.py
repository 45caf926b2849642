"""Does a volume breathe: sharp at measured slices, soft between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

_COARSE = 2.0  # pixels: what is broader is no detail


@dataclass(frozen=True, slots=True, eq=False)
class Pulsing:
    """Detail of each XY slice over that of the reference's slice.

    Parameters
    ----------
    ratio
        (Z,) standard deviation of a slice less itself blurred by a Gaussian (sigma 2 pixels),
        over that of the reference. 1 at measured slices.
    factor
        Every ``factor``-th slice was measured, from slice 0 on.
    """

    ratio: NDArray[np.float64]
    factor: int

    @property
    def by_depth(self) -> NDArray[np.float64]:
        """(factor,) mean ratio at each depth in the gap, measured slices first."""
        depth = np.arange(len(self.ratio)) % self.factor
        return np.array([self.ratio[depth == k].mean() for k in range(self.factor)])

    @property
    def strength(self) -> float:
        """Largest departure, at any depth, from the measured slices; 0 is steady, 1 is all."""
        by_depth = self.by_depth
        return float(np.abs(by_depth / by_depth[0] - 1).max())


def pulsing(reference: NDArray[Any], test: NDArray[Any], *, factor: int) -> Pulsing:
    """Detail of every slice of ``test`` over ``reference``, (Z, Y, X) of one shape.

    Noise is detail too: a result that leaves out the noise of inserted slices pulses by as much as
    the noise weighs, which is no fault of its structures.
    """
    pairs = zip(reference, test, strict=True)
    ratio = [_detail(b) / max(_detail(a), np.finfo(np.float64).tiny) for a, b in pairs]
    return Pulsing(np.array(ratio), factor)


def _detail(plane: NDArray[Any]) -> float:
    values = plane.astype(np.float32)
    return float((values - gaussian_filter(values, _COARSE)).std())
