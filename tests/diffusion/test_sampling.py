"""Samplers: exact with an oracle, convergent on a Gaussian, faithful to measured rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_d2r.diffusion import (
    Condition,
    Denoiser,
    KnownRows,
    MeanRevertingSchedule,
    NoiseSource,
    Step,
    from_noise_head,
    last,
    sample_ddim,
    sample_dpm_solver_pp_2m,
    sample_posterior,
    sample_reverse_sde,
    time_grid,
    x0_to_noise,
)

SCHEDULE = MeanRevertingSchedule()
SHAPE = (2, 1, 9, 8)
Sampler = Callable[[Denoiser, Condition, MeanRevertingSchedule, NoiseSource], Iterator[Step]]
GRID = time_grid(SCHEDULE, 6, spacing="lambda")
SAMPLERS: dict[str, Sampler] = {
    "reverse sde": sample_reverse_sde,
    "posterior": sample_posterior,
    "ddim": partial(sample_ddim, times=GRID),
    "ddim, eta 1": partial(sample_ddim, times=GRID, eta=1.0),
    "dpm-solver++": partial(sample_dpm_solver_pp_2m, times=GRID),
}
NUM_STEPS = {"reverse sde": 100, "posterior": 100}


def noise(step: int, shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(1000 + step)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def slices(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(SHAPE, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_oracle_gives_back_the_truth(name):
    truth, mu = slices(1), slices(2)
    sample = last(SAMPLERS[name](lambda x, mu, t: truth, Condition(mu), SCHEDULE, noise))
    error = sample - truth
    if name == "reverse sde":  # leaves the noise of its last step, 0.0037, by construction
        assert float(error.std()) == pytest.approx(0.0037, rel=0.2)
        assert float(error.abs().max()) < 5 * 0.0037
    else:
        assert torch.equal(sample, truth)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_step_is_reported_and_times_reach_the_denoiser(name):
    asked: list[int] = []

    def denoise(x: Tensor, mu: Tensor, t: Tensor) -> Tensor:
        assert t.dtype == torch.int64
        assert t.shape == (len(x),)
        asked.append(int(t[0]))
        return mu

    told = [s.t for s in SAMPLERS[name](denoise, Condition(slices(3)), SCHEDULE, noise)]
    assert len(told) == NUM_STEPS.get(name, len(GRID) - 1)
    assert asked[0] == 100
    assert told[-1] == 0
    assert asked[1:] == told[:-1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_measured_rows_are_exact_and_shown_to_the_denoiser(name):
    mu, index = slices(4), torch.tensor([0, 4, 8])
    values = slices(5)[:, :, :3] * 1.5  # beyond the clamp: measured all the same
    condition = Condition(mu, known_rows=KnownRows(index, values), clamp=(0, 1))
    steps = list(SAMPLERS[name](lambda x, mu, t: 3 * x - 1, condition, SCHEDULE, noise))
    assert torch.equal(steps[-1].x[:, :, index], values)
    others = torch.tensor([1, 2, 3, 5, 6, 7])
    for step in steps:
        assert torch.equal(step.x0[:, :, index], values)
        assert 0 <= float(step.x0[:, :, others].min()) <= float(step.x0[:, :, others].max()) <= 1
    assert torch.equal(mu, slices(4))  # nothing is written into the caller's arrays


def test_start_is_the_marginal_around_the_base():
    mu, base = slices(6), slices(7)
    seen: list[Tensor] = []

    def denoise(x: Tensor, mu: Tensor, t: Tensor) -> Tensor:
        seen.append(x)
        return base

    times = time_grid(SCHEDULE, 3, start=30)
    last(sample_ddim(denoise, Condition(mu, x_base=base), SCHEDULE, noise, times))
    last(sample_posterior(denoise, Condition(mu, x_base=base), SCHEDULE, noise, start=30))
    last(sample_ddim(denoise, Condition(mu), SCHEDULE, noise, times))
    alpha, sigma = SCHEDULE.alpha[30], SCHEDULE.sigma_bar[30]
    expected = mu + alpha * (base - mu) + sigma * noise(0, SHAPE)
    assert torch.allclose(seen[0], expected, atol=1e-12)
    assert torch.allclose(seen[3], expected, atol=1e-12)
    assert torch.allclose(seen[33], mu + sigma * noise(0, SHAPE), atol=1e-12)


def test_ddim_with_eta_one_is_the_posterior():
    def denoise(x: Tensor, mu: Tensor, t: Tensor) -> Tensor:
        return (0.7 * x + 0.3 * mu).tanh()

    condition = Condition(slices(8))
    posterior = last(sample_posterior(denoise, condition, SCHEDULE, noise))
    ancestral = last(sample_ddim(denoise, condition, SCHEDULE, noise, time_grid(SCHEDULE), eta=1.0))
    assert torch.allclose(posterior, ancestral, atol=1e-10)


def test_deterministic_samplers_draw_noise_once():
    for sampler in (sample_ddim, sample_dpm_solver_pp_2m):
        drawn: list[int] = []

        def counted(step: int, shape: tuple[int, ...], drawn: list[int] = drawn) -> Tensor:
            drawn.append(step)
            return noise(step, shape)

        last(sampler(lambda x, mu, t: mu, Condition(slices(9)), SCHEDULE, counted, GRID))
        assert drawn == [0]


# A Gaussian world: x0 - mu ~ N(mean, variance), whose score and ODE are known.
MEAN, VARIANCE = 0.2, 0.01


def gaussian_denoiser(schedule: MeanRevertingSchedule) -> Denoiser:
    def denoise(x: Tensor, mu: Tensor, t: Tensor) -> Tensor:
        a, s = float(schedule.alpha[t[0]]), float(schedule.sigma_bar[t[0]])
        gain = a * VARIANCE / (a**2 * VARIANCE + s**2)
        return mu + MEAN + gain * (x - mu - a * MEAN)

    return denoise


def ode_solution(x: Tensor, mu: Tensor, u: int, t: int, schedule: MeanRevertingSchedule) -> Tensor:
    """The probability-flow ODE keeps the number of standard deviations from the mean."""
    mean = schedule.alpha * MEAN
    deviation = np.sqrt(schedule.alpha**2 * VARIANCE + schedule.sigma_bar**2)
    return mu + mean[t] + deviation[t] / deviation[u] * (x - mu - mean[u])


@pytest.mark.parametrize(("sampler", "order"), [(sample_ddim, 1), (sample_dpm_solver_pp_2m, 2)])
def test_few_step_solvers_converge_to_the_ode_at_their_order(sampler, order):
    schedule = MeanRevertingSchedule(num_steps=20_000)  # a fine grid to choose times from
    mu, u, t = slices(10), 16_000, 7_000
    start = mu + schedule.sigma_bar[u] * noise(0, SHAPE)
    truth = ode_solution(start, mu, u, t, schedule)
    errors = []
    for steps in (10, 20, 40):
        grid = np.linspace(schedule.log_snr[u], schedule.log_snr[t], steps + 1)
        times = [int(np.abs(schedule.log_snr - value).argmin()) for value in grid]
        stream = sampler(gaussian_denoiser(schedule), Condition(mu), schedule, noise, [*times, 0])
        reached = next(step.x for step in stream if step.t == t)
        errors.append(float((reached - truth).abs().mean()))
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize("sampler", [sample_reverse_sde, sample_posterior])
def test_stochastic_samplers_draw_from_the_gaussian(sampler):
    mu = torch.zeros(1, 1, 100, 100, dtype=torch.float64)
    sample = last(sampler(gaussian_denoiser(SCHEDULE), Condition(mu), SCHEDULE, noise))
    assert float(sample.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(sample.std()) == pytest.approx(VARIANCE**0.5, rel=0.05)


def test_a_noise_head_makes_the_same_denoiser_except_at_the_end():
    truth, mu, x = slices(11), slices(12), slices(13)

    def predict_noise(x: Tensor, mu: Tensor, t: Tensor) -> Tensor:
        return x0_to_noise(x, mu, t, truth, SCHEDULE)

    denoise = from_noise_head(predict_noise, SCHEDULE)
    estimate = denoise(x, mu, torch.tensor([99, 100]))
    assert torch.allclose(estimate[0], truth[0], atol=1e-10)
    assert torch.equal(estimate[1], mu[1])


def test_slices_of_a_batch_do_not_mix():
    mu = slices(14)

    def own_noise(numbers: list[int], step: int, shape: tuple[int, ...]) -> Tensor:
        return torch.cat([noise(100 * step + k, (1, *shape[1:])) for k in numbers])

    def run(numbers: list[int]) -> Tensor:
        return last(
            sample_posterior(
                gaussian_denoiser(SCHEDULE),
                Condition(mu[numbers]),
                SCHEDULE,
                partial(own_noise, numbers),
            )
        )

    assert torch.equal(run([0, 1])[1:], run([1]))
