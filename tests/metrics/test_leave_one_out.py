"""The gain over linear, where slices are simple enough to compute by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_d2r.errors import InputError
from napari_d2r.metrics import gain_over_linear


def test_the_gain_of_halved_errors_is_six_decibels() -> None:
    # z squared: linear between neighbours is 1 too high everywhere.
    z = np.arange(8.0)
    measured = np.broadcast_to(10 * z[:, None, None] ** 2, (8, 3, 4))
    left_out = [2, 3, 5]
    gain = gain_over_linear(measured, measured[left_out] + 5, left_out, data_range=100)
    assert gain.mse_linear == pytest.approx((100, 100, 100))
    assert gain.mse == pytest.approx((25, 25, 25))
    assert gain.psnr_linear_db == pytest.approx(20)
    assert gain.gain_db == pytest.approx(20 * math.log10(2))
    assert gain.sentence() == (
        "Leaving out measured slices: 26.02 dB against 20.00 dB for linear interpolation "
        "(gain +6.02 dB over 3 slices)."
    )


def test_errors_are_averaged_before_the_logarithm() -> None:
    measured = np.zeros((5, 2, 2))
    predicted = np.stack([np.full((2, 2), 1.0), np.full((2, 2), 3.0)])
    gain = gain_over_linear(measured, predicted, [1, 3], data_range=10)
    assert gain.psnr_db == pytest.approx(10 * math.log10(100 / 5))


def test_integers_neither_wrap_nor_keep_half_levels() -> None:
    measured = np.zeros((3, 2, 2), np.uint8)
    measured[0], measured[1], measured[2] = 250, 255, 255
    gain = gain_over_linear(measured, measured[[1]] - 5, [1], data_range=255)
    assert gain.mse_linear == pytest.approx((9,))  # 252.5 is stored as 252
    assert gain.mse == pytest.approx((25,))


def test_two_perfect_predictions_gain_nothing() -> None:
    measured = np.full((4, 2, 2), 7, np.uint8)
    assert gain_over_linear(measured, measured[[1]], [1], data_range=255).gain_db == 0


def test_slices_at_the_ends_and_wrong_shapes_are_refused() -> None:
    measured = np.zeros((4, 2, 2))
    with pytest.raises(InputError, match="first and the last"):
        gain_over_linear(measured, measured[[0]], [0], data_range=1)
    with pytest.raises(InputError, match="first and the last"):
        gain_over_linear(measured, measured[[3]], [3], data_range=1)
    with pytest.raises(InputError, match=r"\(1, 2, 2\), not \(2, 2, 2\)"):
        gain_over_linear(measured, measured[:2], [1], data_range=1)
