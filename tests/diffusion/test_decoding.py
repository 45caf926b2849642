"""From noise to slices: the true noise leads to the truth, by any steps, with and without eta."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from napari_d2r.diffusion import PreservingSchedule, decode, decoding_times

SCHEDULE = PreservingSchedule()
TRUTH = torch.linspace(-1, 1, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5)


def true_noise(x: Tensor, t: Tensor) -> Tensor:
    signal = torch.tensor(SCHEDULE.alpha_bar)[t.long()][:, None, None, None].to(x)
    return (x - signal.sqrt() * TRUTH) / (1 - signal).sqrt()


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_the_true_noise_leads_to_the_truth(steps, eta):
    drawn = []

    def noise(step: int, shape: tuple[int, ...]) -> Tensor:
        drawn.append(step)
        return torch.randn(shape, generator=torch.Generator().manual_seed(step))

    times = decoding_times(SCHEDULE, steps)
    states = list(decode(true_noise, TRUTH, times, SCHEDULE, noise, eta=eta, clamp=(-1.5, 1.5)))
    assert len(states) == steps
    torch.testing.assert_close(states[-1], TRUTH, rtol=0, atol=2e-4)
    assert drawn == (list(range(steps)) if eta else [0])


def test_states_have_the_spread_of_their_times():
    """Of many pixels that are 0: fresh noise makes up for what a step takes away."""
    zeros = torch.zeros(1, 1, 200, 200)
    times = decoding_times(SCHEDULE, 10)

    def noise(step: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(step))

    def predicted(x: Tensor, t: Tensor) -> Tensor:
        return x / (1 - SCHEDULE.alpha_bar[int(t[0])]) ** 0.5

    for eta in (0.0, 1.0):
        states = decode(predicted, zeros, times, SCHEDULE, noise, eta=eta, clamp=(-1, 1))
        for time, x in zip(times[1:], states, strict=True):
            expected = (1 - SCHEDULE.alpha_bar[time]) ** 0.5
            assert x.std().item() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 200, 999, 1000])
def test_times_fall_to_zero_from_half_a_step_below_the_last(steps):
    times = decoding_times(SCHEDULE, steps)
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (1000 - 1000 // (2 * steps), 0)
    assert all(a > b for a, b in pairwise(times))
