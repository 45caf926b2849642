"""Intervals that hold a stated share of the errors: their shape, their scale, their worth.

The half-width of an interval is a quantile of the absolute error, given what can be seen at
a voxel (how far it is from a measured slice, how steep the image is there, ...). Quantiles
commute with monotone functions, so the logarithm is modelled::

    log(w + c) = a + sum over features k of f_k(log(x_k + c)),   f_k piecewise linear

and rising, but for those that are said to be free.

Each f_k is a short table that anyone can read or plot. Fitting minimises the mean pinball
loss rho(t) = t (level - [t < 0]) of t = log(error + c) - log(w + c) (Koenker and Bassett,
Econometrica 1978), smoothed at its corner, which is convex in the tables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from napari_d2r.errors import InputError

__all__ = ["IntervalShape", "coverage", "fit_interval_shape", "interval_scale", "share_removed"]

Features = Mapping[str, NDArray[Any]]
"""What is seen at each voxel, by name: non-negative, and all of one shape."""

_FLOOR = 1e-4  # c: where noise, rounding and a logarithm of zero begin, in unit intensity
_NUM_KNOTS = 9
_TAILS = 0.005  # share of the values beyond the first knot and beyond the last
_CORNER = 0.02  # width over which the pinball loss is rounded
_RIDGE = 1e-4


@dataclass(frozen=True, slots=True)
class IntervalShape:
    """How half-widths depend on features, before they are scaled to a stack.

    Parameters
    ----------
    level
        Share of the errors that lie within, such as 0.9.
    intercept
        a, the logarithm of the half-width where every feature is at its first knot.
    curves
        By feature: knots (rising logarithms of the feature), and the height of f_k at each,
        which starts at 0. It is constant beyond the ends.
    """

    level: float
    intercept: float
    curves: dict[str, tuple[list[float], list[float]]]

    def half_width(self, features: Features) -> NDArray[np.float32]:
        """Half-widths in unit intensity, of the shape of the features.

        Raises
        ------
        KeyError
            When a feature that the shape needs is not among them.
        """
        total: Any = self.intercept
        for name, (knots, heights) in self.curves.items():
            total = total + np.interp(np.log(features[name] + _FLOOR), knots, heights)
        widths: NDArray[np.float32] = np.maximum(np.exp(total) - _FLOOR, _FLOOR).astype(np.float32)
        return widths


def fit_interval_shape(
    features: Features,
    errors: NDArray[Any],
    level: float = 0.9,
    free: Collection[str] = (),
) -> IntervalShape:
    """Learn how wide intervals must be, where the truth is known.

    Parameters
    ----------
    features
        Values (N,) by name; knots are spaced evenly in their logarithm.
    errors
        (N,) absolute errors in unit intensity.
    level
        Share of the errors that should lie within, between 0 and 1.
    free
        Features whose curve may fall as well as rise.

    Raises
    ------
    InputError
        For fewer than a thousand errors, from which no quantile is told.
    """
    if len(errors) < 1000:
        raise InputError(f"An interval cannot be learned from {len(errors)} errors; take 1000.")
    logs = {name: np.log(values + _FLOOR) for name, values in features.items()}
    knots = {name: _knots(values) for name, values in logs.items()}
    ramps = np.hstack([_ramps(logs[name], knots[name]) for name in logs])
    target = np.log(errors + _FLOOR)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        rest = target - weights[0] - ramps @ weights[1:]
        mean = np.mean((level - 1) * rest + _CORNER * np.logaddexp(0, rest / _CORNER))
        slope = level - 1 + 0.5 * (1 + np.tanh(rest / (2 * _CORNER)))
        gradient = -np.append(slope.mean(), slope @ ramps / len(target))
        gradient[1:] += 2 * _RIDGE * weights[1:]
        return float(mean + _RIDGE * np.square(weights[1:]).sum()), gradient

    start = np.append(np.quantile(target, level), np.zeros(ramps.shape[1]))
    lowest = [None if name in free else 0 for name in knots for _ in range(_NUM_KNOTS - 1)]
    bounds = [(None, None), *((low, None) for low in lowest)]
    weights = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    curves, used = {}, 1
    for name, places in knots.items():
        rises = weights[used : used + len(places) - 1]
        used += len(rises)
        heights = np.append(0, np.cumsum(rises))
        curves[name] = ([round(float(x), 4) for x in places], [round(float(y), 4) for y in heights])
    return IntervalShape(level, round(float(weights[0]), 4), curves)


def interval_scale(errors: NDArray[Any], half_widths: NDArray[Any], level: float) -> float:
    """By what half-widths must be multiplied to hold ``level`` of these errors."""
    return float(np.quantile(np.abs(errors) / half_widths, level))


def coverage(errors: NDArray[Any], half_widths: NDArray[Any]) -> float:
    """Share of the errors, 0 to 1, that lie within their half-widths."""
    return float(np.mean(np.abs(errors) <= half_widths))


def share_removed(errors: NDArray[Any], half_widths: NDArray[Any], share: float = 0.1) -> float:
    """Part of the total squared error, 0 to 1, that the ``share`` of widest intervals holds."""
    squares = np.square(errors, dtype=np.float64).ravel()
    count = round(share * squares.size)
    widest = np.argpartition(half_widths.ravel(), squares.size - count)[squares.size - count :]
    return float(squares[widest].sum() / squares.sum())


def _knots(values: NDArray[Any]) -> NDArray[np.float64]:
    low, high = np.quantile(values, [_TAILS, 1 - _TAILS])
    return np.linspace(low, max(high, low + 1e-3), _NUM_KNOTS)


def _ramps(values: NDArray[Any], knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, K - 1): how much of each stretch between knots lies below a value, 0 to 1."""
    return np.clip((values[:, None] - knots[:-1]) / np.diff(knots), 0, 1)
