"""The variance-preserving process: known tables, known moments, and there and back again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_d2r.diffusion import (
    PreservingSchedule,
    add_noise,
    clean_from_noise,
    encode,
    falling_times,
    spread_of_step,
    step_to,
    times_like,
)
from napari_d2r.errors import InputError

SCHEDULE = PreservingSchedule()


def gaussian_noise(variance: float):
    """The exact noise predictor of slices drawn from N(0, variance)."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        signal = torch.tensor(SCHEDULE.alpha_bar, dtype=x.dtype)[t.long()][:, None, None, None]
        return (1 - signal).sqrt() / (signal * variance + 1 - signal) * x

    return predict


def decode(predict, x: Tensor, times: tuple[int, ...], eta: float = 0.0) -> Tensor:
    for start, stop in pairwise(times):
        noise = predict(x, times_like(start, x))
        x0 = clean_from_noise(x, start, noise, SCHEDULE)
        spread = spread_of_step(start, stop, SCHEDULE, eta)
        x = step_to(x0, noise, stop, SCHEDULE, spread, torch.randn_like(x))
    return x


def test_the_cosine_falls_from_one_to_nearly_nothing() -> None:
    table = SCHEDULE.alpha_bar
    assert table[0] == 1
    assert (np.diff(table) < 0).all()
    assert table[500] == pytest.approx(np.cos((0.508 / 1.008) * np.pi / 2) ** 2, abs=1e-4)
    assert 0 < table[-1] < 1e-5
    assert (1 - table[1:] / table[:-1]).max() <= 0.999 + 1e-12
    with pytest.raises(InputError, match="num_steps >= 1"):
        PreservingSchedule(0)


def test_noisy_slices_have_the_moments_of_the_process() -> None:
    torch.manual_seed(0)
    x0, t = torch.full((2, 1, 200, 200), 0.5), torch.tensor([100, 700])
    x = add_noise(x0, t, torch.randn_like(x0), SCHEDULE)
    for one, time in zip(x, t, strict=True):
        signal = SCHEDULE.alpha_bar[time]
        assert float(one.mean()) == pytest.approx(0.5 * signal**0.5, abs=0.02)
        assert float(one.std()) == pytest.approx((1 - signal) ** 0.5, abs=0.02)


def test_one_step_is_the_posterior_of_ddpm() -> None:
    """Ho et al. 2020, eq. 7: mean and variance of x_{t-1} given x_t and x_0."""
    x0, x = torch.tensor(0.3), torch.tensor(-0.8)
    for t in (2, 400, 999):
        now, before = (float(SCHEDULE.alpha_bar[u]) for u in (t, t - 1))
        beta = 1 - now / before
        mean = before**0.5 * beta / (1 - now) * x0
        mean = mean + (1 - beta) ** 0.5 * (1 - before) / (1 - now) * x
        noise = (x - now**0.5 * x0) / (1 - now) ** 0.5
        spread = spread_of_step(t, t - 1, SCHEDULE)
        assert spread**2 == pytest.approx((1 - before) / (1 - now) * beta, rel=1e-6)
        assert float(step_to(x0, noise, t - 1, SCHEDULE, spread)) == pytest.approx(
            float(mean), abs=1e-5
        )


def test_decoding_draws_from_the_distribution_that_was_learned() -> None:
    torch.manual_seed(0)
    predict, x = gaussian_noise(0.04), torch.randn(1, 1, 100, 100)
    for eta in (0.0, 1.0):
        drawn = decode(predict, x, falling_times(999, 333), eta)
        assert float(drawn.std()) == pytest.approx(0.2, rel=0.05)


def test_encoding_and_decoding_come_back_the_closer_the_more_steps() -> None:
    predict = gaussian_noise(0.25)
    x0 = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(1, 1, 8, 8)
    errors = []
    for steps in (4, 20, 100):
        down = falling_times(200, steps)
        x = encode(predict, x0, down[::-1], SCHEDULE)
        errors.append(float((decode(predict, x, down) - x0).abs().max()))
    assert errors[2] < errors[1] < errors[0] < 0.2
    assert errors[2] < 0.01


def test_times_fall_to_zero_without_a_repeat() -> None:
    assert falling_times(200, 50)[:3] == (200, 196, 192)
    assert falling_times(3, 10) == (3, 2, 1, 0)
    assert falling_times(1000, 7)[-1] == 0
