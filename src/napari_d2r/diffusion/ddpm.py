"""The variance-preserving diffusion of DDPM, and its deterministic and random steps.

Ho et al. 2020 (the process), Nichol and Dhariwal 2021 (the cosine schedule), Song et al. 2021
(the steps). Slices are (B, C, H, W), about -1 to 1; times are integers, 0 (clean) to T (noise).
Nothing is drawn here: noise comes from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from napari_d2r.diffusion.schedules import FloatTable
from napari_d2r.errors import InputError

# (x (B, C, H, W), t (B,)) -> the noise in x.
NoisePredictor = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class PreservingSchedule:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) e, with a cosine for alpha_bar.

    Nichol and Dhariwal 2021, eq. 17: alpha_bar_t = f(t) / f(0) with
    f(t) = cos^2((t / T + s) / (1 + s) pi / 2); no single step adds more than a variance of 0.999.

    Parameters
    ----------
    num_steps
        T.
    offset
        s.

    Attributes
    ----------
    alpha_bar
        Float64 table of length T + 1, read-only, falling from 1 to nearly 0.
    """

    num_steps: int = 1000
    offset: float = 0.008
    alpha_bar: FloatTable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.offset < 0:
            raise InputError(
                "A diffusion schedule needs num_steps >= 1 and offset >= 0, "
                f"not {self.num_steps} and {self.offset:g}."
            )
        position = np.linspace(0, 1, self.num_steps + 1)
        signal = np.cos((position + self.offset) / (1 + self.offset) * math.pi / 2) ** 2
        kept = np.maximum(signal[1:] / signal[:-1], 1 - 0.999)
        table = np.concatenate([[1.0], np.cumprod(kept)])
        table.setflags(write=False)
        object.__setattr__(self, "alpha_bar", table)


def add_noise(x0: Tensor, t: Tensor, noise: Tensor, schedule: PreservingSchedule) -> Tensor:
    """A sample of the forward process at times ``t`` (B,)."""
    signal = _at(schedule, t, x0)
    return signal.sqrt() * x0 + (1 - signal).sqrt() * noise


def clean_from_noise(x: Tensor, t: int, noise: Tensor, schedule: PreservingSchedule) -> Tensor:
    """The clean slice that a predicted noise implies (Song et al. 2021, eq. 9)."""
    signal = float(schedule.alpha_bar[t])
    return (x - math.sqrt(1 - signal) * noise) / math.sqrt(signal)


def spread_of_step(start: int, stop: int, schedule: PreservingSchedule, eta: float = 1.0) -> float:
    """Standard deviation of the fresh noise of a step from ``start`` down to ``stop``.

    Song et al. 2021, eq. 16, times ``eta``: 1 is DDPM's posterior, 0 deterministic.
    """
    before, after = float(schedule.alpha_bar[start]), float(schedule.alpha_bar[stop])
    return eta * math.sqrt((1 - after) / (1 - before) * (1 - before / after))


def step_to(
    x0: Tensor,
    predicted_noise: Tensor,
    stop: int,
    schedule: PreservingSchedule,
    spread: float = 0.0,
    fresh: Tensor | None = None,
) -> Tensor:
    """The state at ``stop`` of an estimate and the noise predicted with it.

    Song et al. 2021, eq. 12: sqrt(a) x0 + sqrt(1 - a - spread^2) e + spread z, with
    a = alpha_bar of ``stop``; e is ``predicted_noise``, z ``fresh``. Serves both ways in time.
    """
    signal = float(schedule.alpha_bar[stop])
    x = math.sqrt(signal) * x0 + math.sqrt(max(1 - signal - spread**2, 0.0)) * predicted_noise
    return x if fresh is None or spread == 0 else x + spread * fresh


def encode(
    predict_noise: NoisePredictor, x0: Tensor, times: Sequence[int], schedule: PreservingSchedule
) -> Tensor:
    """A clean slice carried along rising ``times`` that begin with 0, without any randomness.

    DDIM's ordinary differential equation, forwards; decoding with eta 0 leads back. No network
    has learned time 0, so the first noise is asked for at time 1.
    """
    x = x0
    for start, stop in pairwise(times):
        noise = predict_noise(x, times_like(max(start, 1), x))
        x = step_to(clean_from_noise(x, start, noise, schedule), noise, stop, schedule)
    return x


def falling_times(start: int, steps: int) -> tuple[int, ...]:
    """``steps`` + 1 integers, evenly from ``start`` to 0; no more steps than there are times."""
    steps = min(steps, start)
    return tuple(int(t) for t in np.rint(np.linspace(start, 0, steps + 1)))


def times_like(t: int, x: Tensor) -> Tensor:
    """One time for every slice of a batch, as networks want it: (B,) floats."""
    return torch.full((len(x),), float(t), dtype=x.dtype, device=x.device)


def _at(schedule: PreservingSchedule, t: Tensor, like: Tensor) -> Tensor:
    values = torch.tensor(schedule.alpha_bar, dtype=like.dtype, device=like.device)
    return values[t][:, None, None, None]
