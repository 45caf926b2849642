"""Inserted XY slices one by one and block by block: by depth in the gap, and how sure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from napari_d2r.errors import InputError

_BLOCK = 64  # voxels along each edge of a sub-cube, roughly
_RESAMPLES, _SEED = 2000, 0
_ssim_map: Callable[..., Any] = structural_similarity  # scikit-image ships no types for it


@dataclass(frozen=True, slots=True)
class Interval:
    """A number, and where it would lie for 95 % of volumes made of the same sub-cubes."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class DepthScores:
    """Of the inserted slices at one depth in the gap: mean PSNR and SSIM over slices."""

    psnr_db: float
    ssim: float
    num_slices: int


@dataclass(frozen=True, slots=True, eq=False)
class InsertedScores:
    """Errors of inserted XY slices, slice by slice and block by block.

    Parameters
    ----------
    factor
        Every ``factor``-th slice was measured, from slice 0 on.
    slices
        (S,) the inserted slices.
    mse, ssim
        (S, rows, columns) mean squared error in grey levels squared, and mean SSIM (uniform
        7 x 7 window), of the blocks of each slice.
    data_range
        Grey levels between black and white.
    """

    factor: int
    slices: NDArray[np.intp]
    mse: NDArray[np.float64]
    ssim: NDArray[np.float64]
    data_range: float

    @property
    def num_gaps(self) -> int:
        """Gaps between measured slices."""
        return int(self.slices[-1]) // self.factor + 1

    @property
    def psnr_by_slice(self) -> NDArray[np.float64]:
        """(S,) PSNR of each inserted slice in dB; infinite where nothing differs."""
        with np.errstate(divide="ignore"):
            return np.asarray(10 * np.log10(self.data_range**2 / self.mse.mean(axis=(1, 2))))

    def at_depth(self, depth: int) -> DepthScores | None:
        """Scores at ``depth`` slices behind a measured one, first and last gap apart."""
        gap = self.slices // self.factor
        inner = (gap > 0) & (gap < self.num_gaps - 1)
        return self._of(inner & (self.slices % self.factor == depth))

    def in_end_gaps(self) -> DepthScores | None:
        """Scores of the first and the last gap, all depths, which lack an outer neighbour."""
        gap = self.slices // self.factor
        return self._of((gap == 0) | (gap == self.num_gaps - 1))

    def _of(self, chosen: NDArray[np.bool_]) -> DepthScores | None:
        if not chosen.any():
            return None
        psnr = self.psnr_by_slice[chosen]
        finite = psnr[np.isfinite(psnr)]
        mean = float(finite.mean()) if len(finite) else math.inf
        return DepthScores(mean, float(self.ssim[chosen].mean()), int(chosen.sum()))

    def cubes(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(C,) means over sub-cubes of about 64 voxels per edge, whole gaps along Z."""
        count = min(self.num_gaps, _num_blocks(self.num_gaps * self.factor))
        groups = np.array_split(np.arange(self.num_gaps), count)
        gap = self.slices // self.factor
        means = [values[np.isin(gap, group)].mean(axis=0).ravel() for group in groups]
        return np.concatenate(means)


def inserted_slices(num_slices: int, factor: int) -> NDArray[np.intp]:
    """Which of the slices 0 .. num_slices - 1 are no multiple of ``factor``."""
    return np.flatnonzero(np.arange(num_slices) % factor)


def score_inserted(
    reference: NDArray[Any], test: NDArray[Any], *, factor: int, data_range: float
) -> InsertedScores:
    """Compare the inserted XY slices of two volumes, from one measured slice to another.

    Parameters
    ----------
    reference, test
        (Z, Y, X), one shape, slices at least 14 x 14 pixels; 0 and Z - 1 are measured.
    factor
        Every ``factor``-th slice was measured.
    data_range
        Grey levels between black and white.

    Raises
    ------
    InputError
        When shapes differ or slices are too small.
    """
    if reference.shape != test.shape or min(reference.shape[1:]) < 14:
        raise InputError(
            f"Inserted slices are compared in volumes of one shape with slices of at least 14 x 14 "
            f"pixels; these have {reference.shape} and {test.shape}."
        )
    slices = inserted_slices(len(reference), factor)
    errors, similarities = [], []
    for z in slices:
        a, b = reference[z].astype(np.float64), test[z].astype(np.float64)
        errors.append(_block_means(np.square(a - b)))
        _, similar = _ssim_map(a, b, data_range=data_range, full=True)
        # Beyond 3 pixels from the border windows are whole: what the mean SSIM is of.
        similarities.append(_block_means(similar[3:-3, 3:-3]))
    return InsertedScores(factor, slices, np.stack(errors), np.stack(similarities), data_range)


def bootstrap(statistic: Callable[..., NDArray[np.float64]], *cubes: NDArray[Any]) -> Interval:
    """95 % percentile bootstrap over sub-cubes, drawn 2000 times from a fixed seed.

    Parameters
    ----------
    statistic
        From the means of each of ``cubes``, arrays of one shape, to the number asked for.
    cubes
        (C,) each: one value per sub-cube; several are drawn together, so that a difference of
        two methods is that on the same places.

    References
    ----------
    Efron, Tibshirani, "An introduction to the bootstrap" (1993), chapter 13.
    """
    count = len(cubes[0])
    drawn = np.random.default_rng(_SEED).integers(0, count, (_RESAMPLES, count))
    values = statistic(*(values[drawn].mean(axis=1) for values in cubes))
    low, high = np.quantile(values, [0.025, 0.975])
    whole = statistic(*(np.atleast_1d(values.mean()) for values in cubes))
    return Interval(float(whole[0]), float(low), float(high))


def psnr_interval(scores: InsertedScores) -> Interval:
    """PSNR in dB of all inserted voxels together."""
    cubes = scores.cubes(scores.mse)
    return bootstrap(lambda mse: _decibels(scores.data_range**2, mse), cubes)


def ssim_interval(scores: InsertedScores) -> Interval:
    """Mean SSIM of inserted slices."""
    return bootstrap(lambda ssim: ssim, scores.cubes(scores.ssim))


def gain_interval(scores: InsertedScores, baseline: InsertedScores) -> Interval:
    """Decibels above a baseline, drawn in pairs: all inserted voxels together."""
    pair = scores.cubes(scores.mse), baseline.cubes(baseline.mse)
    return bootstrap(lambda mse, other: _decibels(other, mse), *pair)


def _decibels(above: Any, below: NDArray[np.float64]) -> NDArray[np.float64]:
    smallest = np.finfo(np.float64).tiny  # an exact copy reads as thousands of dB, not as NaN
    parts = (np.log10(np.maximum(values, smallest)) for values in (above, below))
    return np.asarray(10 * np.subtract(*parts))


def _num_blocks(length: int) -> int:
    return max(2, round(length / _BLOCK))


def _block_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = (_cuts(length) for length in values.shape)
    sums = np.add.reduceat(np.add.reduceat(values, rows[:-1], axis=0), columns[:-1], axis=1)
    return np.asarray(sums / np.outer(np.diff(rows), np.diff(columns)))


def _cuts(length: int) -> Sequence[int]:
    count = _num_blocks(length)
    return [length * k // count for k in range(count + 1)]
