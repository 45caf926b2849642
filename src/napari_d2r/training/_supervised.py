"""Learning from isotropic volumes, where every slice that is left out is known.

The way to a network that serves stacks it has never seen: gaps of all widths, all three
directions, and examples that differ from the truth they are drawn from in contrast, sign,
noise, blur and pixel size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from napari_d2r.jobs import LossSettings, OptimizerSettings
from napari_d2r.models import Contract
from napari_d2r.training._losses import restoration_loss
from napari_d2r.training._tasks import gain_db, mean_square, picture
from napari_d2r.training._teachings import TEACHINGS

_DIRECTIONS = tuple(permutations(range(3)))
_SQUARES = LossSettings(l1=0, l2=1)
_JUDGED_EDGE = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Variety:
    """How examples may differ from the truth; each chance is that of one example or batch.

    Attributes
    ----------
    gaps
        Lateral voxels from slice to slice, even in log.
    coarser
        Chance of pixels up to twice as large, so that gaps are not whole numbers only.
    blurs
        Standard deviations in voxels and their chances.
    gamma, inverted, noisy
        Chances of another gamma, of inverted contrast, of noise in what is given; the
        truth keeps only the noise that it was measured with.
    """

    gaps: tuple[float, float] = (2.0, 12.0)
    coarser: float = 0.2
    blurs: Mapping[float, float] | None = None
    gamma: float = 0.2
    inverted: float = 0.15
    noisy: float = 0.15


class SupervisedTask:
    """Slices left out of isotropic volumes, in any direction.

    Parameters
    ----------
    truths
        (Z, Y, X) isotropic volumes, unit intensity.
    contract
        ``rows`` or ``sequence``: what the network is fed.
    optimizer
        For the size of a batch, which is drawn in two halves, each of its own volume,
        direction and gap.
    variety
        How examples may differ from the truth.
    held_out_rows
        Last rows of y that take no part in training; there, XY slices are left out and
        predicted.
    judged_gaps
        Gaps at which that is done.
    """

    def __init__(
        self,
        truths: Sequence[NDArray[np.float32]],
        contract: Contract,
        optimizer: OptimizerSettings,
        variety: Variety,
        *,
        loss: LossSettings = _SQUARES,
        held_out_rows: int = 40,
        judged_gaps: Sequence[int] = (3, 5, 8, 12),
    ) -> None:
        self.teaching, self.variety, self.loss_settings = TEACHINGS[contract], variety, loss
        self.half_batch = max(1, optimizer.batch // 2)
        self.judged_gaps = judged_gaps
        blurs = variety.blurs or {0.0: 1.0}
        self.blur_chances = list(blurs.values())
        self.learned: list[list[Tensor]] = []  # per volume, per blur
        self.held_out: list[Tensor] = []
        for truth in truths:
            part = truth[:, :-held_out_rows]
            blurred = [gaussian_filter(part, sigma) if sigma else part for sigma in blurs]
            self.learned.append([torch.from_numpy(np.ascontiguousarray(one)) for one in blurred])
            self.held_out.append(torch.from_numpy(truth[:, -held_out_rows:].copy()))

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        losses = []
        for _ in range(2):
            predicted, truth = self._half_batch(network, rng)
            losses.append(restoration_loss(predicted, truth, self.loss_settings))
        return torch.stack(losses).mean()

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Mean gain over linear in dB, on the rows that were kept back."""
        gains = {f"gap {gap}": round(self._gain(network, gap), 3) for gap in self.judged_gaps}
        return {"score": sum(gains.values()) / len(gains), **gains}

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        gap = self.judged_gaps[-1]
        example = self.teaching.every(self.held_out[0][: 4 * gap + 1], gap)
        with torch.no_grad():
            return {"prediction": picture(self.teaching.shown(example.answer(network)))}

    def _view(self, rng: Generator) -> Tensor:
        """One volume at random, sharp or blurred, with its axes in any order."""
        blurs = self.learned[int(rng.integers(len(self.learned)))]
        chosen = blurs[int(rng.choice(len(blurs), p=self.blur_chances))]
        return chosen.permute(_DIRECTIONS[int(rng.integers(len(_DIRECTIONS)))])

    def _half_batch(self, network: nn.Module, rng: Generator) -> tuple[Tensor, Tensor]:
        view = self._view(rng)
        is_coarser = rng.random() < self.variety.coarser
        coarser = float(np.exp(rng.uniform(0, math.log(2)))) if is_coarser else 1.0
        wanted = float(np.exp(rng.uniform(*np.log(self.variety.gaps))))
        gap = min(max(2, round(wanted * coarser)), (min(view.shape) - 1) // 3)
        drawn = self.teaching.draw(view, rng, gap=gap, batch=self.half_batch, coarser=coarser)
        given, truth = self._varied(rng, drawn.given, drawn.truth)
        return replace(drawn, given=given).answer(network), truth

    def _varied(self, rng: Generator, given: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Another gamma, contrast, offset and sign for both, and noise for what is given."""
        count, variety = len(given), self.variety

        def column(values: NDArray[np.float64], like: Tensor) -> Tensor:
            return torch.from_numpy(values).to(like).reshape(-1, *[1] * (like.ndim - 1))

        is_curved = rng.random(count) < variety.gamma
        gamma = np.where(is_curved, np.exp(rng.uniform(-0.4, 0.4, count)), 1.0)
        gain, offset = rng.uniform(0.6, 1.1, count), rng.uniform(-0.1, 0.2, count)
        inverted = rng.random(count) < variety.inverted
        gain, offset = np.where(inverted, -gain, gain), np.where(inverted, offset + gain, offset)
        both = []
        for planes in (given, truth):
            curved = planes.clone()
            bent = torch.from_numpy(is_curved)
            curved[bent] = planes[bent].clamp_min(1e-4) ** column(gamma[is_curved], planes)
            both.append(curved * column(gain, planes) + column(offset, planes))
        is_noisy = rng.random(count) < variety.noisy
        sigma = np.exp(rng.uniform(math.log(0.01), math.log(0.08), count))
        noise = torch.randn(given.shape) * column(np.where(is_noisy, sigma, 0.0), given)
        return both[0] + noise, both[1]

    def _gain(self, network: nn.Module, gap: int) -> float:
        squares = []
        for volume in self.held_out:
            example = self.teaching.every(volume[: 8 * gap + 1, :, :_JUDGED_EDGE], gap)
            answers = (example.answer(network), self.teaching.linear(example))
            squares.append([mean_square(one, example.truth) for one in answers])
        return gain_db(squares)
