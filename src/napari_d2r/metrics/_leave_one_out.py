"""What a prediction is worth where no reference exists: measured slices, left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.volumes import interpolate_axial


@dataclass(frozen=True, slots=True)
class GainOverLinear:
    """Errors on measured slices that the prediction had not seen.

    The gap is twice the usual one, so both PSNRs are lower than between measured
    slices; their difference is what carries over.

    Parameters
    ----------
    slices
        Which measured slices were left out.
    mse, mse_linear
        Mean squared error of each, for the prediction and for linear interpolation.
    data_range
        Grey levels between black and white.
    """

    slices: tuple[int, ...]
    mse: tuple[float, ...]
    mse_linear: tuple[float, ...]
    data_range: float

    @property
    def psnr_db(self) -> float:
        """PSNR of the prediction, from the mean of the squared errors of all slices."""
        return self._psnr(self.mse)

    @property
    def psnr_linear_db(self) -> float:
        """PSNR of linear interpolation, likewise."""
        return self._psnr(self.mse_linear)

    @property
    def gain_db(self) -> float:
        """Decibels above linear; 0 where both are perfect."""
        if self.psnr_db == self.psnr_linear_db:
            return 0.0
        return self.psnr_db - self.psnr_linear_db

    @property
    def num_better(self) -> int:
        """In how many slices the prediction is closer than linear."""
        return sum(a < b for a, b in zip(self.mse, self.mse_linear, strict=True))

    def psnr_by_slice(self) -> list[tuple[int, float, float]]:
        """Slice, PSNR of the prediction and PSNR of linear; infinite where nothing differs."""
        return [
            (index, self._psnr((mse,)), self._psnr((linear,)))
            for index, mse, linear in zip(self.slices, self.mse, self.mse_linear, strict=True)
        ]

    def of_slices_from(self, first: int) -> GainOverLinear:
        """The same, its slices counted in a stack of which this one begins at ``first``."""
        return replace(self, slices=tuple(index + first for index in self.slices))

    def sentence(self) -> str:
        """The finding in one line."""
        return (
            f"Leaving out measured slices: {self.psnr_db:.2f} dB against "
            f"{self.psnr_linear_db:.2f} dB for linear interpolation "
            f"(gain {self.gain_db:+.2f} dB over {len(self.slices)} slices)."
        )

    def _psnr(self, errors: tuple[float, ...]) -> float:
        error = float(np.mean(errors))
        return 10 * math.log10(self.data_range**2 / error) if error > 0 else math.inf


def gain_over_linear(
    measured: NDArray[Any],
    predicted: NDArray[Any],
    left_out: Sequence[int],
    *,
    data_range: float,
) -> GainOverLinear:
    """Compare predictions of left-out slices with linear interpolation.

    Parameters
    ----------
    measured
        (N, Y, X), all measured slices.
    predicted
        (M, Y, X), what the method makes of the slices ``left_out`` from their neighbours.
    left_out
        M indices into ``measured``, each with a neighbour on either side.
    data_range
        Grey levels between black and white.

    Raises
    ------
    InputError
        When shapes do not fit or a slice has only one neighbour.
    """
    if predicted.shape != (len(left_out), *measured.shape[1:]) or not len(left_out):
        raise InputError(
            f"Leaving out {len(left_out)} of the slices {measured.shape} needs a prediction of "
            f"shape {(len(left_out), *measured.shape[1:])}, not {predicted.shape}."
        )
    if min(left_out) < 1 or max(left_out) > len(measured) - 2:
        raise InputError("The first and the last measured slice cannot be left out.")
    true = measured[list(left_out)]
    return GainOverLinear(
        tuple(left_out),
        _mean_squared_errors(true, predicted),
        _mean_squared_errors(true, linear_between_neighbours(measured, left_out)),
        data_range,
    )


def linear_between_neighbours(measured: NDArray[Any], left_out: Sequence[int]) -> NDArray[Any]:
    """(M, Y, X): slices ``left_out`` as linear interpolation of the ones before and after."""
    half = np.array([0.5])
    return np.stack([interpolate_axial(measured[k - 1 : k + 2 : 2], half)[0] for k in left_out])


def _mean_squared_errors(true: NDArray[Any], guess: NDArray[Any]) -> tuple[float, ...]:
    pairs = zip(true, guess, strict=True)
    return tuple(float(np.mean(np.square(a.astype(np.float64) - b))) for a, b in pairs)
