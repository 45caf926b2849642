"""Intervals hold the stated share of the errors, on data that did not shape them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_d2r.errors import InputError
from napari_d2r.metrics import coverage, fit_interval_shape, interval_scale, share_removed


def sample(seed: int, count: int = 40_000) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Errors whose spread rises with two features; a third tells nothing."""
    rng = np.random.default_rng(seed)
    features = {name: rng.lognormal(-3, 0.8, count) for name in ("steep", "far", "idle")}
    spread = 0.02 + 0.5 * features["steep"] ** 0.7 * features["far"] ** 0.3
    return features, np.abs(rng.normal(0, spread))


def test_the_share_holds_overall_and_for_every_decile_of_every_feature() -> None:
    shape = fit_interval_shape(*sample(0))
    features, errors = sample(1)
    widths = shape.half_width(features)
    assert coverage(errors, widths) == pytest.approx(0.9, abs=0.01)
    for values in features.values():
        decile = np.searchsorted(np.quantile(values, np.arange(1, 10) / 10), values)
        for number in range(10):
            chosen = decile == number
            assert 0.88 <= coverage(errors[chosen], widths[chosen]) <= 0.92


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_another_share(level: float) -> None:
    shape = fit_interval_shape(*sample(0), level)
    features, errors = sample(1)
    assert coverage(errors, shape.half_width(features)) == pytest.approx(level, abs=0.015)


def test_half_widths_never_fall_as_a_feature_rises() -> None:
    shape = fit_interval_shape(*sample(0))
    for name in shape.curves:
        rising = {other: np.full(200, 0.05) for other in shape.curves}
        rising[name] = np.geomspace(1e-5, 10, 200)
        assert np.all(np.diff(shape.half_width(rising)) >= 0)


def test_a_free_curve_may_fall() -> None:
    features, errors = sample(0)
    turned = {**features, "steep": 1 / features["steep"]}
    _, stiff = fit_interval_shape(turned, errors).curves["steep"]
    _, free = fit_interval_shape(turned, errors, free={"steep"}).curves["steep"]
    assert stiff[-1] == pytest.approx(0, abs=0.05)
    assert free[-1] < -1


def test_what_tells_nothing_is_left_flat() -> None:
    curves = fit_interval_shape(*sample(0)).curves
    rise = {name: heights[-1] for name, (_, heights) in curves.items()}
    assert rise["idle"] < 0.1 * rise["steep"]


def test_the_scale_carries_a_shape_to_a_noisier_stack() -> None:
    shape = fit_interval_shape(*sample(0))
    features, errors = sample(1)
    scale = interval_scale(3 * errors, shape.half_width(features), shape.level)
    assert scale == pytest.approx(3, rel=0.05)
    wider = replace(shape, intercept=shape.intercept + np.log(scale))
    assert coverage(3 * errors, wider.half_width(features)) == pytest.approx(0.9, abs=0.01)


def test_dropping_the_widest() -> None:
    errors, widths = np.array([1.0, 2, 3, 4] * 5), np.array([1.0, 2, 3, 9] * 5)
    assert share_removed(errors, widths, 0.25) == pytest.approx(16 / 30)
    assert share_removed(errors, -widths, 0.25) == pytest.approx(1 / 30)


def test_too_few_errors_are_refused() -> None:
    features, errors = sample(0, 500)
    with pytest.raises(InputError, match="500 errors"):
        fit_interval_shape(features, errors)
