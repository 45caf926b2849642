"""How fast a slice is carried to its mean, and which times a sampler visits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError

Spacing = Literal["uniform", "lambda"]
FloatTable = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeanRevertingSchedule:
    """Coefficients of IR-SDE with a cosine theta (Luo et al. 2023, eq. 1-3).

    The process dx = theta_t (mu - x) dt + sigma_t dw with sigma_t^2 = 2 theta_t delta^2
    carries a clean slice x0 to its blurred mean ``mu`` plus stationary noise::

        x_t = mu + alpha_t (x0 - mu) + sigma_bar_t e,      e ~ N(0, 1)

    In u = (x - mu) / delta this is a variance-preserving DDPM whose cumulative product of
    (1 - beta) is alpha_t^2, which is why the samplers of DDPM apply.

    Parameters
    ----------
    num_steps
        T, the number of times; states are t = 0 (clean) to T (mean plus noise).
    delta
        Standard deviation of the stationary noise, in unit intensity.
    eps
        alpha_T: what is left of x0 - mu at the end.
    offset
        s of the cosine schedule (Nichol and Dhariwal 2021, eq. 17).

    Attributes
    ----------
    dt
        Length of a step, chosen so that alpha_T = eps.
    theta, sigma, alpha, sigma_bar
        Float64 tables of length T + 1, read-only. ``theta[0]`` and ``sigma[0]`` belong to
        no step.
    """

    num_steps: int = 100
    delta: float = 50 / 255
    eps: float = 0.005
    offset: float = 0.008
    dt: float = field(init=False, repr=False)
    theta: FloatTable = field(init=False, repr=False, compare=False)
    sigma: FloatTable = field(init=False, repr=False, compare=False)
    alpha: FloatTable = field(init=False, repr=False, compare=False)
    sigma_bar: FloatTable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.delta <= 0 or not 0 < self.eps < 1 or self.offset < 0:
            raise InputError(
                "A diffusion schedule needs num_steps >= 1, delta > 0, 0 < eps < 1 and "
                f"offset >= 0, not {self.num_steps}, {self.delta:g}, {self.eps:g} and "
                f"{self.offset:g}."
            )
        # T + 3 nodes, of which the first and the last are dropped: so does the reference
        # implementation, and so do weights trained with it.
        position = np.linspace(0, 1, self.num_steps + 3)
        signal = np.cos((position + self.offset) / (1 + self.offset) * math.pi / 2) ** 2
        theta = 1 - signal[1:-1] / signal[0]
        elapsed = np.cumsum(theta) - theta[0]
        dt = -math.log(self.eps) / float(elapsed[-1])
        alpha = np.exp(-elapsed * dt)
        tables = {
            "theta": theta,
            "sigma": np.sqrt(2 * theta) * self.delta,
            "alpha": alpha,
            "sigma_bar": self.delta * np.sqrt(1 - alpha**2),
        }
        object.__setattr__(self, "dt", dt)
        for name, table in tables.items():
            table.setflags(write=False)
            object.__setattr__(self, name, table)

    @property
    def log_snr(self) -> FloatTable:
        """lambda_t = ln(alpha_t / sigma_bar_t), decreasing; infinite at t = 0."""
        with np.errstate(divide="ignore"):
            ratio: FloatTable = np.log(self.alpha / self.sigma_bar)
        return ratio


def time_grid(
    schedule: MeanRevertingSchedule,
    steps: int | None = None,
    start: int | None = None,
    spacing: Spacing = "uniform",
) -> tuple[int, ...]:
    """The times a sampler visits: ``steps + 1`` integers, strictly falling to 0.

    Parameters
    ----------
    schedule
        The process.
    steps
        Calls of the network; None visits every time.
    start
        First time, 1 to T; None starts at T. Starting below T skips the times that carry
        little signal (alpha < 0.2 above t = 60) or refines a regression.
    spacing
        ``uniform`` in t, or in ``lambda`` (log_snr), whose last step goes from t = 1 to 0.

    Raises
    ------
    InputError
        If the grid asked for does not exist.
    """
    start = schedule.num_steps if start is None else start
    if not 1 <= start <= schedule.num_steps:
        raise InputError(f"A sampler starts at 1 to {schedule.num_steps}, not at {start}.")
    steps = start if steps is None else steps
    if not 1 <= steps <= start:
        raise InputError(f"From time {start}, a sampler takes 1 to {start} steps, not {steps}.")
    if spacing == "uniform":
        times = np.rint(np.linspace(start, 0, steps + 1)).astype(int)
    else:
        log_snr = schedule.log_snr[1 : start + 1]
        wanted = np.linspace(log_snr[-1], log_snr[0], steps)
        nearest = np.abs(wanted[:, None] - log_snr).argmin(axis=1) + 1
        times = np.append(nearest, 0)
    # Rounding can repeat a time where lambda is steep or flat: push the repeats apart.
    for index in range(steps - 1, -1, -1):
        times[index] = max(times[index], times[index + 1] + 1)
    times = np.minimum(times, start - np.arange(steps + 1))
    times[-1] = 0
    return tuple(int(t) for t in times)
