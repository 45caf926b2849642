"""IR-SDE, the mean-reverting process of stage I, as functions of (x, mu, t).

Luo et al., "Image Restoration with Mean-Reverting Stochastic Differential Equations"
(ICML 2023). Slices ``x``, ``x0``, ``mu`` are (B, 1, H, W) in unit intensity; ``t`` is a
(B,) tensor of integer times, 1 to T. Nothing is drawn here: noise comes from outside.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from napari_d2r.diffusion.schedules import FloatTable, MeanRevertingSchedule


def perturb(
    x0: Tensor, mu: Tensor, t: Tensor, noise: Tensor, schedule: MeanRevertingSchedule
) -> Tensor:
    """A sample of the forward process at time t: mu + alpha_t (x0 - mu) + sigma_bar_t e."""
    return mu + _at(schedule.alpha, t, x0) * (x0 - mu) + _at(schedule.sigma_bar, t, x0) * noise


def noise_to_x0(
    x: Tensor, mu: Tensor, t: Tensor, noise: Tensor, schedule: MeanRevertingSchedule
) -> Tensor:
    """The clean slice that a predicted noise implies.

    An error of the noise grows by sigma_bar_t / alpha_t: 39 at t = T, 1 near t = 60.
    """
    deviation = x - mu - _at(schedule.sigma_bar, t, x) * noise
    return mu + deviation / _at(schedule.alpha, t, x)


def x0_to_noise(
    x: Tensor, mu: Tensor, t: Tensor, x0: Tensor, schedule: MeanRevertingSchedule
) -> Tensor:
    """The noise that a predicted clean slice implies; the inverse of `noise_to_x0`."""
    deviation = x - mu - _at(schedule.alpha, t, x) * (x0 - mu)
    return deviation / _at(schedule.sigma_bar, t, x)


def optimum_step(
    x: Tensor, mu: Tensor, t: Tensor, x0: Tensor, schedule: MeanRevertingSchedule
) -> Tensor:
    """The most likely state at t - 1, given x at t and x0 (Luo et al. 2023, prop. 3.3).

    With A = exp(-theta_t dt), B = alpha_t, C = alpha_{t-1}::

        mu + A (1 - C^2) / (1 - B^2) (x - mu) + C (1 - A^2) / (1 - B^2) (x0 - mu)
    """
    keep, pull, _ = _posterior_tables(schedule)
    return mu + _at(keep, t, x) * (x - mu) + _at(pull, t, x) * (x0 - mu)


def posterior_step(
    x: Tensor, mu: Tensor, t: Tensor, x0: Tensor, noise: Tensor, schedule: MeanRevertingSchedule
) -> Tensor:
    """A draw of the state at t - 1, given x at t and x0; without noise at t = 1.

    Its mean is `optimum_step`, its standard deviation
    delta sqrt((1 - A^2) (1 - C^2) / (1 - B^2)) (Luo et al. 2024, arXiv 2404.09732).
    """
    _, _, deviation = _posterior_tables(schedule)
    return optimum_step(x, mu, t, x0, schedule) + _at(deviation, t, x) * noise


def sde_step(
    x: Tensor,
    mu: Tensor,
    t: Tensor,
    predicted_noise: Tensor,
    noise: Tensor | None,
    schedule: MeanRevertingSchedule,
) -> Tensor:
    """One Euler-Maruyama step of the reverse SDE, from t to t - 1.

    The score is -predicted_noise / sigma_bar_t. ``noise`` None gives the mean of the step.
    As published, noise is added at t = 1 too: sigma_1 sqrt(dt) = 0.0037, about one grey
    level of 255, stays in the result.
    """
    score = -predicted_noise / _at(schedule.sigma_bar, t, x)
    drift = _at(schedule.theta, t, x) * (mu - x) - _at(schedule.sigma**2, t, x) * score
    mean: Tensor = x - drift * schedule.dt
    if noise is None:
        return mean
    return mean - _at(schedule.sigma, t, x) * math.sqrt(schedule.dt) * noise


def maximum_likelihood_loss(
    predicted_noise: Tensor,
    x: Tensor,
    mu: Tensor,
    x0: Tensor,
    t: Tensor,
    schedule: MeanRevertingSchedule,
) -> Tensor:
    """Mean absolute distance of the predicted step from the optimum step; a scalar.

    D2R eq. 5-6 (Luo et al. 2023, eq. 14) for a network that predicts noise; L1 and
    gamma_t = 1, as in the published training.
    """
    predicted = sde_step(x, mu, t, predicted_noise, None, schedule)
    return (predicted - optimum_step(x, mu, t, x0, schedule)).abs().mean()


def x0_loss(
    predicted_x0: Tensor,
    x0: Tensor,
    t: Tensor,
    schedule: MeanRevertingSchedule,
    *,
    weighted: bool,
) -> Tensor:
    """Mean absolute error of a network that predicts the clean slice; a scalar.

    ``weighted`` multiplies the error at t by C (1 - A^2) / (1 - B^2) (see `optimum_step`):
    the distance of the predicted from the optimum step, hence the same objective as
    `maximum_likelihood_loss`. It is 1 at t = 1 and 0.001 at t = T; unweighted, every time
    counts alike, which few-step samplers want.
    """
    error = (predicted_x0 - x0).abs()
    if weighted:
        _, pull, _ = _posterior_tables(schedule)
        error = _at(pull, t, error) * error
    return error.mean()


def _at(table: FloatTable, t: Tensor, like: Tensor) -> Tensor:
    """Entries ``t`` (B,) of a table as (B, 1, 1, 1), in the dtype and place of ``like``."""
    values = torch.tensor(table, dtype=like.dtype, device=like.device)  # a copy: read-only
    return values[t][:, None, None, None]


def _posterior_tables(
    schedule: MeanRevertingSchedule,
) -> tuple[FloatTable, FloatTable, FloatTable]:
    """Weight of x - mu, weight of x0 - mu and standard deviation at t - 1; entry 0 unused."""
    decay = np.exp(-schedule.theta * schedule.dt)  # A
    now = schedule.alpha  # B
    before = np.concatenate([[1.0], now[:-1]])  # C
    remaining = np.maximum(1 - now**2, np.finfo(np.float64).tiny)
    keep = decay * (1 - before**2) / remaining
    pull = before * (1 - decay**2) / remaining
    deviation = schedule.delta * np.sqrt((1 - decay**2) * (1 - before**2) / remaining)
    return keep, pull, deviation
