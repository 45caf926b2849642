"""The mean-reverting process against closed forms, Monte Carlo and DDPM."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_d2r.diffusion import (
    MeanRevertingSchedule,
    maximum_likelihood_loss,
    noise_to_x0,
    optimum_step,
    perturb,
    posterior_step,
    sde_step,
    x0_loss,
    x0_to_noise,
)

SCHEDULE = MeanRevertingSchedule()
TIMES = torch.tensor([1, 2, 10, 50, 99, 100])


def random_slices(count: int, seed: int, like: tuple[int, ...] = (1, 6, 5)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(TIMES), *like)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def column(values: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(values)[:, None, None, None]


def test_marginal_is_that_of_the_sde():
    """Simulate dx = theta (mu - x) dt + sigma dw exactly, step by step, from x0."""
    rng = np.random.default_rng(0)
    x0, mu, count = 0.9, 0.3, 200_000
    x = np.full(count, x0)
    for t in range(1, 61):
        decay = np.exp(-SCHEDULE.theta[t] * SCHEDULE.dt)
        spread = SCHEDULE.delta * np.sqrt(1 - decay**2)  # Ornstein-Uhlenbeck transition
        x = mu + decay * (x - mu) + spread * rng.standard_normal(count)
    t = torch.full((count,), 60)
    noise = torch.as_tensor(rng.standard_normal(count)).reshape(-1, 1, 1, 1)
    ones = torch.ones(count, 1, 1, 1, dtype=torch.float64)
    drawn = perturb(x0 * ones, mu * ones, t, noise, SCHEDULE).numpy()
    mean = mu + SCHEDULE.alpha[60] * (x0 - mu)
    for sample in (x, drawn):
        # four standard errors of a mean and of a standard deviation
        assert sample.mean() == pytest.approx(mean, abs=4 * 0.19 / count**0.5)
        assert sample.std() == pytest.approx(SCHEDULE.sigma_bar[60], rel=4 / (2 * count) ** 0.5)


def test_each_slice_of_a_batch_has_its_own_time():
    x0, mu, noise = random_slices(3, seed=1)
    together = perturb(x0, mu, TIMES, noise, SCHEDULE)
    for k in range(len(TIMES)):
        one = slice(k, k + 1)
        alone = perturb(x0[one], mu[one], TIMES[one], noise[one], SCHEDULE)
        assert torch.equal(alone, together[one])
    assert perturb(x0.float(), mu.float(), TIMES, noise.float(), SCHEDULE).dtype == torch.float32


def test_noise_and_x0_are_two_names_of_one_prediction():
    x0, mu, noise = random_slices(3, seed=2)
    x = perturb(x0, mu, TIMES, noise, SCHEDULE)
    assert torch.allclose(noise_to_x0(x, mu, TIMES, noise, SCHEDULE), x0, atol=1e-10)
    assert torch.allclose(x0_to_noise(x, mu, TIMES, x0, SCHEDULE), noise, atol=1e-10)


def test_posterior_is_that_of_ddpm():
    """In u = (x - mu) / delta, Ho et al. 2020, eq. 6-7, with alpha_bar_t = alpha_t^2."""
    x, x0, mu, noise = random_slices(4, seed=3)
    alpha_bar = SCHEDULE.alpha**2
    now, before = alpha_bar[TIMES.numpy()], alpha_bar[TIMES.numpy() - 1]
    beta = 1 - now / before
    u, u0 = (x - mu) / SCHEDULE.delta, (x0 - mu) / SCHEDULE.delta
    mean = (
        column(np.sqrt(before) * beta / (1 - now)) * u0
        + column(np.sqrt(1 - beta) * (1 - before) / (1 - now)) * u
    )
    variance = (1 - before) / (1 - now) * beta
    expected = mu + SCHEDULE.delta * (mean + column(np.sqrt(variance)) * noise)
    assert torch.allclose(posterior_step(x, mu, TIMES, x0, noise, SCHEDULE), expected, atol=1e-12)
    assert torch.allclose(
        optimum_step(x, mu, TIMES, x0, SCHEDULE), mu + SCHEDULE.delta * mean, atol=1e-12
    )


def test_optimum_step_is_the_mean_of_states_that_lead_to_x():
    """Bayes by regression: x_{t-1} on x_t over simulated pairs."""
    rng = np.random.default_rng(4)
    t, x0, mu, count = 30, 0.8, 0.5, 400_000
    before = mu + SCHEDULE.alpha[t - 1] * (x0 - mu)
    before = before + SCHEDULE.sigma_bar[t - 1] * rng.standard_normal(count)
    decay = np.exp(-SCHEDULE.theta[t] * SCHEDULE.dt)
    spread = SCHEDULE.delta * np.sqrt(1 - decay**2)
    now = mu + decay * (before - mu) + spread * rng.standard_normal(count)
    slope, intercept = np.polyfit(now, before, 1)
    residual = before - slope * now - intercept

    at = np.array([0.4, 0.6])
    wanted = torch.as_tensor(at).reshape(2, 1, 1, 1)
    full = [torch.full_like(wanted, value) for value in (mu, x0)]
    times = torch.tensor([t, t])
    predicted = optimum_step(wanted, full[0], times, full[1], SCHEDULE).flatten().numpy()
    assert slope * at + intercept == pytest.approx(predicted, abs=5e-4)
    one_above = posterior_step(wanted, full[0], times, full[1], torch.ones_like(wanted), SCHEDULE)
    deviation = float(one_above.flatten()[0]) - predicted[0]
    assert residual.std() == pytest.approx(deviation, rel=5e-3)


def test_the_last_posterior_step_returns_x0_without_noise():
    x, x0, mu, noise = (s[:1] for s in random_slices(4, seed=5))
    t = torch.tensor([1])
    assert torch.allclose(posterior_step(x, mu, t, x0, noise, SCHEDULE), x0, atol=1e-12)


def test_sde_step_is_the_euler_step_written_out():
    x, mu, predicted, noise = random_slices(4, seed=6)
    step = sde_step(x, mu, TIMES, predicted, noise, SCHEDULE)
    for k, t in enumerate(TIMES.tolist()):
        theta, sigma = SCHEDULE.theta[t], np.sqrt(2 * SCHEDULE.theta[t]) * SCHEDULE.delta
        score = -predicted[k] / SCHEDULE.sigma_bar[t]
        mean = x[k] - (theta * (mu[k] - x[k]) - sigma**2 * score) * SCHEDULE.dt
        expected = mean - sigma * SCHEDULE.dt**0.5 * noise[k]
        assert torch.allclose(step[k], expected, atol=1e-12)
    still = sde_step(x, mu, TIMES, predicted, None, SCHEDULE)
    assert torch.allclose(still, sde_step(x, mu, TIMES, predicted, 0 * noise, SCHEDULE))


def test_maximum_likelihood_loss_weighs_noise_errors_as_published():
    """Near w_t |e_hat - e| with w_t = sigma_t^2 dt / sigma_bar_t, up to the Euler bias."""
    for t, weight in ((1, 0.0037), (10, 0.0077), (50, 0.0222), (100, 0.0408)):
        assert SCHEDULE.sigma[t] ** 2 * SCHEDULE.dt / SCHEDULE.sigma_bar[t] == pytest.approx(
            weight, abs=6e-5
        )
        x0, mu, noise = (s[:1] for s in random_slices(3, seed=t))
        times = torch.tensor([t])
        x = perturb(x0, mu, times, noise, SCHEDULE)
        error = 100.0  # so large that the Euler bias does not show
        loss = maximum_likelihood_loss(noise + error, x, mu, x0, times, SCHEDULE)
        assert float(loss) == pytest.approx(weight * error, rel=0.02)


def test_weighted_x0_loss_is_the_distance_between_optimum_steps():
    x, mu, x0, predicted = random_slices(4, seed=8)
    distance = optimum_step(x, mu, TIMES, predicted, SCHEDULE) - optimum_step(
        x, mu, TIMES, x0, SCHEDULE
    )
    weighted = x0_loss(predicted, x0, TIMES, SCHEDULE, weighted=True)
    assert float(weighted) == pytest.approx(float(distance.abs().mean()), rel=1e-12)
    plain = x0_loss(predicted, x0, TIMES, SCHEDULE, weighted=False)
    assert float(plain) == pytest.approx(float((predicted - x0).abs().mean()), rel=1e-12)
    for t, weight in ((1, 1.0), (5, 0.373), (20, 0.127), (50, 0.044), (100, 0.001)):
        one = torch.ones(1, 1, 2, 2, dtype=torch.float64)
        loss = x0_loss(one, 0 * one, torch.tensor([t]), SCHEDULE, weighted=True)
        assert float(loss) == pytest.approx(weight, abs=6e-4)
