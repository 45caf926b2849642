"""From noise to slices by any network that predicts noise: DDIM of a DDPM.

Such networks see intensities from -1 to 1, the size that noise has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from napari_d2r.diffusion.ddpm import (
    NoisePredictor,
    PreservingSchedule,
    clean_from_noise,
    falling_times,
    spread_of_step,
    step_to,
    times_like,
)
from napari_d2r.diffusion.sampling import NoiseSource


def decode(
    predict_noise: NoisePredictor,
    like: Tensor,
    times: Sequence[int],
    schedule: PreservingSchedule,
    noise: NoiseSource,
    *,
    eta: float = 0.0,
    clamp: tuple[float, float],
) -> Iterator[Tensor]:
    """DDIM (Song et al. 2021, eq. 12 and 16) over falling ``times`` that end in 0.

    Parameters
    ----------
    predict_noise
        Whatever else it goes by, such as rows that are known, is its own affair.
    like
        (B, C, H, W): shape, type and device of the slices; its values do not matter.
    noise
        Called with 0 for the start and k after k estimates.
    eta
        0 draws nothing after the start, 1 as much as DDPM.
    clamp
        Range that estimates of the clean slice are held to; where t is large, an error of the
        predicted noise is multiplied.

    Yields
    ------
    Tensor
        The state after each step; the last one is clean.
    """

    def draw(step: int) -> Tensor:
        return noise(step, tuple(like.shape)).to(like)

    x = draw(0)
    for index, (start, stop) in enumerate(pairwise(times)):
        x0 = clean_from_noise(x, start, predict_noise(x, times_like(start, x)), schedule)
        x0 = x0.clamp(*clamp)
        if stop == 0:
            x = x0
        else:
            signal = float(schedule.alpha_bar[start])
            implied = (x - math.sqrt(signal) * x0) / math.sqrt(1 - signal)
            spread = spread_of_step(start, stop, schedule, eta)
            fresh = draw(index + 1) if spread > 0 else None
            x = step_to(x0, implied, stop, schedule, spread, fresh)
        yield x


def decoding_times(schedule: PreservingSchedule, steps: int) -> tuple[int, ...]:
    """``steps`` + 1 times that fall to 0, from half a step below T.

    At T nothing is left of a slice, and what a network errs there is multiplied by thousands.
    """
    last = schedule.num_steps
    return falling_times(last - last // (2 * steps), steps)


def signed(x: Tensor) -> Tensor:
    """Unit intensity to -1 .. 1."""
    return 2 * x - 1


def unsigned(x: Tensor) -> Tensor:
    """The inverse of `signed`."""
    return (x + 1) / 2
