"""Restoration by a denoiser that has never seen a degradation: range and null space.

DDNM (Wang et al. 2023) keeps every estimate of a sampler consistent with what was measured,
y = A x, where A acts on the rows of a slice. Lee and Jeong 2023 restore a volume slice by
slice with it, each slice from the encoding of the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_d2r.diffusion.ddpm import (
    NoisePredictor,
    PreservingSchedule,
    clean_from_noise,
    encode,
    spread_of_step,
    step_to,
    times_like,
)
from napari_d2r.diffusion.sampling import NoiseSource, Step, last

_CUT = 1e-3  # singular values below this share of the largest count as zero


@dataclass(frozen=True, slots=True, eq=False)
class RowOperator:
    """Which rows were measured of a slice, and how they are laid back into it.

    ``forward`` (M, N) is A, from N rows to M; ``inverse`` (N, M) stands for its pseudo-inverse.
    """

    forward: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, matrix: NDArray[np.float64]) -> Self:
        """A and its pseudo-inverse, by singular values; those below 1e-3 of the largest are cut."""
        inverse = np.linalg.pinv(matrix, rcond=_CUT)
        return cls(torch.from_numpy(matrix).float(), torch.from_numpy(inverse).float())

    @classmethod
    def blind(cls, num_measured: int, gap: int) -> Self:
        """Point samples, laid back by linear interpolation: for a blur that nobody knows.

        Not a pseudo-inverse, but A A^+ = I holds, so that measured rows still return.
        """
        position = np.arange((num_measured - 1) * gap + 1) / gap
        inverse = np.maximum(1 - np.abs(position[:, None] - np.arange(num_measured)), 0)
        forward = np.eye(len(position))[::gap]
        return cls(torch.from_numpy(forward).float(), torch.from_numpy(inverse).float())

    def to(self, like: Tensor) -> Self:
        """In the dtype and on the device of ``like``."""
        return type(self)(self.forward.to(like), self.inverse.to(like))

    def refine(self, x0: Tensor, y: Tensor) -> Tensor:
        """A^+ y + (I - A^+ A) x0: the estimate (B, C, N, W) with what was measured (B, C, M, W)."""
        refined: Tensor = self.inverse @ y + (x0 - self.inverse @ (self.forward @ x0))
        return refined


@dataclass(frozen=True, slots=True)
class ChainTimes:
    """Times that the samplers of a chain of slices visit.

    ``first`` falls from T to 0 for the first slice; ``rise`` encodes a slice, from 0 to the
    level R; ``fall`` decodes the next one, from R to 0.
    """

    first: Sequence[int]
    rise: Sequence[int]
    fall: Sequence[int]


@torch.no_grad()
def sample_ddnm(
    predict_noise: NoisePredictor,
    operator: RowOperator,
    y: Tensor,
    start: Tensor,
    schedule: PreservingSchedule,
    times: Sequence[int],
    noise: NoiseSource,
    *,
    eta: float = 1.0,
    clamp: tuple[float, float] | None = None,
) -> Iterator[Step]:
    """Lee and Jeong 2023, algorithm 1, second loop; DDNM with the steps of DDIM.

    Parameters
    ----------
    y
        (B, C, M, W) measured rows, -1 to 1.
    start
        (B, C, N, W) the state at ``times[0]``.
    times
        Falling to 0.
    noise
        Fresh noise; step k follows k estimates.
    eta
        1 adds as much fresh noise as DDPM, 0 none.
    clamp
        Range that the network's estimates are held to, before they meet what was measured:
        near T the noise hides the slice, and dividing by what is left of it multiplies errors.
    """
    x = start
    for index, (now, then) in enumerate(pairwise(times)):
        predicted = predict_noise(x, times_like(now, x))
        x0 = clean_from_noise(x, now, predicted, schedule)
        if clamp is not None:
            x0 = x0.clamp(*clamp)
        x0 = operator.refine(x0, y)
        if then == 0:
            x = x0
        else:
            spread = spread_of_step(now, then, schedule, eta)
            fresh = noise(index + 1, tuple(x.shape)).to(x) if spread > 0 else None
            x = step_to(x0, predicted, then, schedule, spread, fresh)
        yield Step(then, x, x0)


@torch.no_grad()
def sample_chain(
    predict_noise: NoisePredictor,
    operator: RowOperator,
    slices: Iterable[Tensor],
    schedule: PreservingSchedule,
    times: ChainTimes,
    noise: Callable[[int], NoiseSource],
    *,
    eta: float = 1.0,
    clamp: tuple[float, float] | None = None,
) -> Iterator[Tensor]:
    """Neighbouring slices, each from the encoding of the one before; the first from noise.

    ``slices`` are the measured rows (B, C, M, W) of one slice after the other, and
    ``noise(i)`` is where the noise of slice i comes from. Yields restored slices (B, C, N, W).
    """
    restored: Tensor | None = None
    for index, y in enumerate(slices):
        source = noise(index)
        if restored is None:
            shape = (*y.shape[:2], operator.forward.shape[1], y.shape[-1])
            start, visited = source(0, shape).to(y), times.first
        else:
            start, visited = encode(predict_noise, restored, times.rise, schedule), times.fall
        steps = sample_ddnm(
            predict_noise, operator, y, start, schedule, visited, source, eta=eta, clamp=clamp
        )
        restored = last(steps)
        yield restored
