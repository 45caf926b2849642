"""From noise to a restored slice: samplers over any denoiser.

A sampler is a generator: it yields the state after each step, so that whoever drives it
can show progress or stop. The last step has t = 0 and its ``x`` is the sample; `last`
drains a sampler to it. All of them work on the deviation z = x - mu, where the
mean-reverting process is an ordinary variance-preserving one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from napari_d2r.diffusion.irsde import noise_to_x0, posterior_step, sde_step, x0_to_noise
from napari_d2r.diffusion.schedules import MeanRevertingSchedule

# (x, mu, t) -> estimate of the clean slice; x and mu (B, 1, H, W), t (B,) integers.
Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
# (step, shape) -> standard normal noise; step 0 is the start, step k follows k estimates.
NoiseSource = Callable[[int, tuple[int, ...]], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class KnownRows:
    """Measured rows, put back into every estimate and exact in the sample.

    ``index`` (K,) integers; ``values`` (B, 1, K, W).
    """

    index: Tensor
    values: Tensor

    def impose(self, x: Tensor) -> Tensor:
        """A copy of ``x`` (B, 1, H, W) with the measured rows in their places."""
        return x.index_copy(-2, self.index, self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What is known of the slices before sampling.

    Parameters
    ----------
    mu
        (B, 1, H, W) aligned upsampling of the measured rows, unit intensity.
    x_base
        Like ``mu``: a regression to start from; None starts from ``mu``.
    known_rows
        Measured rows to keep.
    clamp
        Range that estimates are held to, such as (0, 1). A network that predicts noise
        needs it; None leaves estimates as they are.
    """

    mu: Tensor
    x_base: Tensor | None = None
    known_rows: KnownRows | None = None
    clamp: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The time reached, the state there, and the estimate that led there."""

    t: int
    x: Tensor
    x0: Tensor


def last(steps: Iterator[Step]) -> Tensor:
    """Run a sampler to its end and return the sample (B, 1, H, W)."""
    for step in steps:
        x = step.x
    return x


def from_noise_head(predict_noise: Denoiser, schedule: MeanRevertingSchedule) -> Denoiser:
    """A denoiser made of a network that predicts noise.

    At t = T only alpha_T = 0.005 of the slice is left and dividing by it multiplies the
    network's error by 39 in grey values; the estimate there is ``mu``.
    """

    def denoise(x: Tensor, mu: Tensor, t: Tensor) -> Tensor:
        x0 = noise_to_x0(x, mu, t, predict_noise(x, mu, t), schedule)
        is_end = (t == schedule.num_steps)[:, None, None, None]
        return torch.where(is_end, mu, x0)

    return denoise


@torch.no_grad()
def sample_reverse_sde(
    denoise: Denoiser,
    condition: Condition,
    schedule: MeanRevertingSchedule,
    noise: NoiseSource,
    start: int | None = None,
) -> Iterator[Step]:
    """Euler-Maruyama on the reverse SDE, every time from ``start`` (None: T) to 0.

    The published sampler of D2R stage II: 100 steps, and a grey level of noise left in the
    sample (see `sde_step`), measured rows excepted.
    """
    start = schedule.num_steps if start is None else start
    mu = condition.mu
    x = _start(condition, schedule, noise, start)
    for index, u in enumerate(range(start, 0, -1)):
        t = _times(u, x)
        x0 = _estimate(denoise, condition, x, t)
        predicted = x0_to_noise(x, mu, t, x0, schedule)
        x = sde_step(x, mu, t, predicted, _draw(noise, index + 1, x), schedule)
        if u == 1 and condition.known_rows is not None:
            x = condition.known_rows.impose(x)
        yield Step(u - 1, x, x0)


@torch.no_grad()
def sample_posterior(
    denoise: Denoiser,
    condition: Condition,
    schedule: MeanRevertingSchedule,
    noise: NoiseSource,
    start: int | None = None,
) -> Iterator[Step]:
    """Draws of `posterior_step`, every time from ``start`` (None: T) to 0; free of noise."""
    start = schedule.num_steps if start is None else start
    x = _start(condition, schedule, noise, start)
    for index, u in enumerate(range(start, 0, -1)):
        t = _times(u, x)
        x0 = _estimate(denoise, condition, x, t)
        if u == 1:  # the step returns x0, up to rounding
            x = x0
        else:
            x = posterior_step(x, condition.mu, t, x0, _draw(noise, index + 1, x), schedule)
        yield Step(u - 1, x, x0)


@torch.no_grad()
def sample_ddim(
    denoise: Denoiser,
    condition: Condition,
    schedule: MeanRevertingSchedule,
    noise: NoiseSource,
    times: Sequence[int],
    *,
    eta: float = 0.0,
) -> Iterator[Step]:
    """DDIM (Song et al. 2021, eq. 12 and 16) over falling ``times`` that end in 0.

    ``eta`` 0 is deterministic after the start, 1 is the posterior of the skipped process.
    """
    alpha, sigma = schedule.alpha.tolist(), schedule.sigma_bar.tolist()
    mu = condition.mu
    x = _start(condition, schedule, noise, times[0])
    for index, (u, t) in enumerate(pairwise(times)):
        x0 = _estimate(denoise, condition, x, _times(u, x))
        if t == 0:
            x = x0
        else:
            direction = (x - mu - alpha[u] * (x0 - mu)) / sigma[u]
            # Variance of u given t, then of t given u and 0.
            between = sigma[u] ** 2 - (alpha[u] / alpha[t] * sigma[t]) ** 2
            spread = eta * sigma[t] / sigma[u] * math.sqrt(between)
            x = mu + alpha[t] * (x0 - mu) + math.sqrt(sigma[t] ** 2 - spread**2) * direction
            if spread > 0:
                x = x + spread * _draw(noise, index + 1, x)
        yield Step(t, x, x0)


@torch.no_grad()
def sample_dpm_solver_pp_2m(
    denoise: Denoiser,
    condition: Condition,
    schedule: MeanRevertingSchedule,
    noise: NoiseSource,
    times: Sequence[int],
) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2022, alg. 2) over falling ``times`` that end in 0.

    Second order in the step of lambda = ln(alpha / sigma_bar); the first and the last step
    are of first order, that is, those of DDIM. Deterministic after the start.
    """
    alpha, sigma = schedule.alpha.tolist(), schedule.sigma_bar.tolist()
    log_snr = schedule.log_snr.tolist()
    mu = condition.mu
    x = _start(condition, schedule, noise, times[0])
    previous: tuple[Tensor, float] | None = None
    for u, t in pairwise(times):
        x0 = _estimate(denoise, condition, x, _times(u, x))
        if t == 0:
            x = x0
        else:
            h = log_snr[t] - log_snr[u]
            target = x0 - mu
            if previous is not None:
                earlier, h_before = previous
                target = target + h / (2 * h_before) * (x0 - earlier)
            x = mu + sigma[t] / sigma[u] * (x - mu) - alpha[t] * math.expm1(-h) * target
            previous = x0, h
        yield Step(t, x, x0)


def _start(
    condition: Condition, schedule: MeanRevertingSchedule, noise: NoiseSource, start: int
) -> Tensor:
    """The state at ``start``, as if the regression (or mu) were the clean slice."""
    mu = condition.mu
    base = mu if condition.x_base is None else condition.x_base
    signal, spread = float(schedule.alpha[start]), float(schedule.sigma_bar[start])
    return mu + signal * (base - mu) + spread * _draw(noise, 0, mu)


def _estimate(denoise: Denoiser, condition: Condition, x: Tensor, t: Tensor) -> Tensor:
    x0 = denoise(x, condition.mu, t)
    if condition.clamp is not None:
        x0 = x0.clamp(*condition.clamp)
    if condition.known_rows is not None:
        x0 = condition.known_rows.impose(x0)
    return x0


def _times(t: int, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=torch.int64, device=x.device)


def _draw(noise: NoiseSource, step: int, x: Tensor) -> Tensor:
    return noise(step, tuple(x.shape)).to(x)
