"""How slices were measured: as points, as means over a gap, or through a blur.

A measured slice ``j`` is a weighted mean of slices one lateral voxel apart, around a centre
that no weight is nearer to than its mirror image. Where that centre stands is the phase of
the degradation: get it wrong, and every comparison is one of shifted volumes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.volumes._axial import AxialGrid, to_dtype

DegradationKind = Literal["slice", "block", "gaussian"]
_REACH = 4  # standard deviations at which a Gaussian is cut: 6e-5 of its weight lies beyond


@dataclass(frozen=True, slots=True)
class Degradation:
    """What lies between the volume and the slices that were measured of it.

    Parameters
    ----------
    kind
        ``slice``: every r-th slice of the volume. ``block``: the mean of r slices.
        ``gaussian``: every r-th slice after a Gaussian blur along Z.
    sigma
        Standard deviation of that blur in lateral voxels; counts for ``gaussian`` alone.
    spread
        How well ``sigma`` is known, at least 1: within ``sigma / spread`` to ``sigma * spread``.
    """

    kind: DegradationKind = "slice"
    sigma: float = 4.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(DegradationKind):
            raise InputError(
                f"Slices are one of {', '.join(get_args(DegradationKind))}, not {self.kind!r}."
            )
        if not (0 < self.sigma < math.inf and 1 <= self.spread < math.inf):
            raise InputError(
                f"A blur needs a sigma above 0 and a spread of at least 1, not {self.sigma:g} "
                f"and {self.spread:g}."
            )

    @property
    def is_sampling(self) -> bool:
        """Whether a measured slice is a slice of the volume itself, to be copied as it is."""
        return self.kind == "slice"

    def __str__(self) -> str:
        if self.kind == "gaussian":
            blind = f" (within a factor of {self.spread:g})" if self.spread > 1 else ""
            return f"blurred along Z, sigma {self.sigma:g} lateral voxels{blind}"
        return "means over a gap" if self.kind == "block" else "point samples"

    @property
    def widest(self) -> Degradation:
        """The strongest blur that ``spread`` allows."""
        return replace(self, sigma=self.sigma * self.spread, spread=1.0)

    def drawn(self, rng: np.random.Generator) -> Degradation:
        """One of those that ``spread`` allows, evenly in log sigma; itself where it is known."""
        if self.kind != "gaussian" or self.spread == 1:
            return self
        sigma = self.sigma * self.spread ** rng.uniform(-1, 1)
        return replace(self, sigma=float(sigma), spread=1.0)

    def kernel(self, factor: float) -> NDArray[np.float64]:
        """Weights (K,) of neighbouring slices, symmetric, with sum 1.

        A block of a width that is not whole has an odd number of weights, smaller ends.
        """
        if self.kind == "slice":
            return np.ones(1)
        if self.kind == "gaussian":
            reach = math.ceil(_REACH * self.sigma)
            weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / self.sigma) ** 2)
        elif factor == round(factor):
            weights = np.ones(round(factor))
        else:
            inner = 2 * math.ceil((factor - 1) / 2) - 1
            weights = np.pad(np.ones(inner), 1, constant_values=(factor - inner) / 2)
        normalised: NDArray[np.float64] = weights / weights.sum()
        return normalised

    def phase(self, factor: float) -> float:
        """Output index at which measured slice 0 is centred; slice j stands ``j * factor`` on."""
        return (factor - 1) / 2 if self.kind == "block" else 0.0

    def first(self, factor: int) -> int:
        """The slice of the volume at which a result begins: the first one not before slice 0."""
        return math.ceil(self.phase(factor))

    def grid(self, num_slices: int, factor: float) -> AxialGrid:
        """Where output slices stand, so that they are slices of the volume for a whole factor."""
        phase = self.phase(factor) if factor == round(factor) else 0.0
        return AxialGrid(num_slices, factor, math.ceil(phase) - phase, self.is_sampling)

    def windows(self, num_slices: int, factor: int) -> list[tuple[slice, NDArray[np.float64]]]:
        """For each measured slice, which of ``num_slices`` it sums, and their weights.

        At the ends of the volume the weights that are left are raised to a sum of 1.

        Raises
        ------
        InputError
            When not even one slice can be measured.
        """
        kernel = self.kernel(factor)
        begins = np.arange(0, num_slices, factor) + round(
            self.phase(factor) - (len(kernel) - 1) / 2
        )
        if self.kind == "block":
            begins = begins[begins + factor <= num_slices]
        if len(begins) == 0:
            raise InputError(f"{num_slices} slices are too few for blocks of {factor}.")
        windows = []
        for begin in begins.tolist():
            low, high = max(begin, 0), min(begin + len(kernel), num_slices)
            weights = kernel[low - begin : high - begin]
            windows.append((slice(low, high), weights / weights.sum()))
        return windows

    def matrix(self, num_slices: int, factor: int) -> NDArray[np.float64]:
        """The operator A (M, N) of y = A x, from N slices to the M measured of them."""
        windows = self.windows(num_slices, factor)
        matrix = np.zeros((len(windows), num_slices))
        for row, (part, weights) in zip(matrix, windows, strict=True):
            row[part] = weights
        return matrix

    def simulate(self, volume: NDArray[Any], factor: int) -> NDArray[Any]:
        """The slices that would be measured of a volume (Z, Y, X), in its dtype."""
        windows = self.windows(len(volume), factor)
        return np.stack([weighted_mean(volume[part], weights) for part, weights in windows])


def weighted_mean(slices: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[Any]:
    """(K, Y, X) and (K,) -> (Y, X) in the dtype of the slices; a single one as it is."""
    if len(slices) == 1:
        only: NDArray[Any] = slices[0]
        return only
    return to_dtype(np.tensordot(weights, slices.astype(np.float64), axes=1), slices.dtype)
