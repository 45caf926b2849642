"""What each stage's network is trained to do, and how it is judged without ground truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_d2r.jobs import PriorSettings, StudentSettings
from napari_d2r.metrics import noise_sigma
from napari_d2r.models import linear_base, linear_rows
from napari_d2r.training._batches import (
    GapMix,
    MeasurementNoise,
    RowsBatch,
    SequenceBatch,
    draw_rows,
    draw_sequences,
)
from napari_d2r.training._losses import restoration_loss
from napari_d2r.training._measurement import POINT, longest_gap
from napari_d2r.volumes import Degradation

SAMPLING = Degradation()
_PREVIEW_EDGE = 256
_VALIDATION_EDGE = 192


class LateralTask:
    """Stage I by regression: rows of XY slices, from rows as they would be measured.

    Parameters
    ----------
    stack
        (Z, Y, X) measured slices, unit intensity, on the training device.
    factor
        The axial factor r that is to be undone.
    settings
        Crop sizes and losses.
    degradation
        How slices were measured, which is done to rows too.
    """

    def __init__(
        self,
        stack: Tensor,
        factor: float,
        settings: PriorSettings,
        degradation: Degradation = SAMPLING,
    ) -> None:
        held_out = held_out_slices(len(stack))
        kept = [k for k in range(len(stack)) if k not in held_out]
        self.train, self.settings = stack[kept], settings
        self.factor, self.degradation = factor, degradation
        self.mix = GapMix(factor)
        kernel = degradation.kernel(factor)
        self.noise = lost_noise(stack, kernel)
        self.longest = longest_gap(min(stack.shape[1:]), degradation.widest.kernel(factor))
        self.examples = whole_slices(stack[held_out], max(2, round(factor)), kernel)

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        kernel = self.degradation.drawn(rng).kernel(self.factor)
        batch = draw_rows(
            self.train,
            rng,
            gap=self.mix.draw(rng, self.longest),
            batch=self.settings.optimizer.batch,
            num_gaps=self.settings.num_gaps,
            columns=self.settings.columns,
            kernel=kernel,
        )
        batch = as_noisy(batch, self.noise)
        predicted = network(batch.rows, batch.depths, batch.log2_gap)
        return restoration_loss(
            predicted.flatten(1, 2)[:, None], batch.truth.flatten(1, 2)[:, None], self.settings.loss
        )

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Gain over linear in dB on slices that took no part in training."""
        squares = [
            [
                mean_square(network(b.rows, b.depths, b.log2_gap), b.truth),
                mean_square(linear_rows(b.rows, b.depths), b.truth),
            ]
            for b in self.examples
        ]
        gain = gain_db(squares)
        return {"score": gain, "held-out gain (dB)": gain}

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        example = self.examples[0]
        with torch.no_grad():
            predicted = network(example.rows, example.depths, example.log2_gap)
        return {
            "linear": picture(linear_rows(example.rows, example.depths)[0].flatten(0, 1)),
            "prediction": picture(predicted[0].flatten(0, 1)),
            "truth": picture(example.truth[0].flatten(0, 1)),
        }


class SequenceTask:
    """Stage III: lateral sequences of the pseudo-HR volume, never along z.

    Judged by two criteria that need no ground truth: sequences from a part of the
    pseudo-HR volume that was kept back, and measured slices left out, predicted from
    their neighbours across a gap of 2r. The second tells nothing where measured slices are
    blurred, because the predicted ones are not.

    Parameters
    ----------
    pseudo_hr
        (Z', Y, X) unit intensity, isotropic but for k.
    measured
        (Z, Y, X) the measured slices of the same region.
    degradation
        How slices were measured, which is done to sequences too.
    """

    def __init__(
        self,
        pseudo_hr: Tensor,
        measured: Tensor,
        factor: float,
        settings: StudentSettings,
        degradation: Degradation = SAMPLING,
    ) -> None:
        self.settings, self.mix = settings, GapMix(factor)
        self.factor, self.degradation = factor, degradation
        self.noise = input_noise(pseudo_hr, measured, settings)
        if self.noise and not degradation.is_sampling:  # no row is as measured
            self.noise = replace(self.noise, k=None)
        gap, kernel = max(2, round(factor)), degradation.kernel(factor)
        widest = degradation.widest.kernel(factor)
        self.train, held = kept_back(pseudo_hr, gap, len(widest))
        self.longest = longest_gap(min(self.train.shape[1:]), widest)
        crop = settings.crop if held is pseudo_hr else min(_VALIDATION_EDGE, held.shape[1])
        draws = (np.random.default_rng([1, n]) for n in range(8))
        self.examples = [
            draw_sequences(
                held,
                rng,
                gap=min(gap, self.longest),
                batch=8,
                crop=crop,
                end_chance=0,
                kernel=kernel,
            )
            for rng in draws
        ]
        self.left_out = None
        if degradation.is_sampling:
            self.left_out = leave_one_out_sequences(_centre(measured), factor)

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        kernel = self.degradation.drawn(rng).kernel(self.factor)
        batch = draw_sequences(
            self.train,
            rng,
            gap=self.mix.draw(rng, self.longest),
            batch=self.settings.optimizer.batch,
            crop=self.settings.crop,
            noise=self.noise,
            kernel=kernel,
        )
        predicted = network(batch.slices, batch.depths, batch.log2_gap)
        return restoration_loss(predicted, batch.truth, self.settings.loss)

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Gains over linear in dB; the score is their mean."""
        held_out = gain_db([self._squares(network, batch) for batch in self.examples])
        scores = {"held-out gain (dB)": held_out}
        if self.left_out is not None:
            left_out = gain_db([self._squares(network, self.left_out)])
            scores["leave-one-out gain (dB)"] = left_out
        return {"score": sum(scores.values()) / len(scores), **scores}

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        batch = self.examples[0]
        middle = batch.depths.shape[1] // 2
        with torch.no_grad():
            predicted = network(batch.slices[:1], batch.depths[:1], batch.log2_gap[:1])
        base = linear_base(batch.slices[:1, 1], batch.slices[:1, 2], batch.depths[:1])
        return {
            "linear": picture(base[0, middle]),
            "prediction": picture(predicted[0, middle]),
            "target": picture(batch.truth[0, middle]),
        }

    @staticmethod
    def _squares(network: nn.Module, batch: SequenceBatch) -> list[float]:
        predicted = network(batch.slices, batch.depths, batch.log2_gap)
        base = linear_base(batch.slices[:, 1], batch.slices[:, 2], batch.depths)
        return [mean_square(predicted, batch.truth), mean_square(base, batch.truth)]


def kept_back(pseudo_hr: Tensor, gap: int, kernel_size: int = 1) -> tuple[Tensor, Tensor]:
    """The part to learn from and the part to judge by, at the end of y.

    Both are the whole where it is too small to be divided; each holds three gaps.
    """
    height = pseudo_hr.shape[-2]
    back = max(3 * gap + kernel_size, height // 10)
    if height < 3 * back:
        return pseudo_hr, pseudo_hr
    return pseudo_hr[..., :-back, :], pseudo_hr[..., -back:, :]


def input_noise(
    pseudo_hr: Tensor, measured: Tensor, settings: StudentSettings
) -> MeasurementNoise | None:
    """The noise that inputs drawn from the pseudo-HR volume lack; None where none is wanted."""
    if not settings.input_noise:
        return None
    k = len(pseudo_hr) // (len(measured) - 1)
    return MeasurementNoise(settings.input_noise * _noise_of(measured), k)


def lost_noise(stack: Tensor, kernel: NDArray[np.float64]) -> float:
    """Standard deviation of the noise that a weighted mean of rows lacks of that of slices.

    White noise of variance s² leaves s² times the sum of the squared weights.
    """
    if len(kernel) == 1:
        return 0.0
    return _noise_of(stack) * math.sqrt(1 - float(np.square(kernel).sum()))


def as_noisy(batch: RowsBatch, sigma: float) -> RowsBatch:
    """With white noise on the measured rows; a sigma of 0 draws nothing."""
    if sigma == 0:
        return batch
    return replace(batch, rows=batch.rows + sigma * torch.randn(batch.rows.shape).to(batch.rows))


def _noise_of(stack: Tensor) -> float:
    sample = stack[:: max(1, len(stack) // 8), :512, :512]
    return noise_sigma(sample.cpu().numpy())


def held_out_slices(count: int) -> list[int]:
    """About one slice in ten, at least one, spread evenly."""
    wanted = max(1, count // 10)
    return sorted({round((i + 0.5) * count / wanted - 0.5) for i in range(wanted)})


def whole_slices(stack: Tensor, gap: int, kernel: NDArray[np.float64] = POINT) -> list[RowsBatch]:
    """Every slice in both directions with rows measured ``gap`` apart, for validation."""
    rng = np.random.default_rng(0)
    edge = min(int(min(stack.shape[1:])), 2 * _VALIDATION_EDGE)
    return [
        draw_rows(one[None], rng, gap=gap, batch=2, num_gaps=10_000, columns=edge, kernel=kernel)
        for one in stack
    ]


def leave_one_out_sequences(measured: Tensor, factor: float) -> SequenceBatch | None:
    """Slices m-3, m-1, m+1, m+3 and the measured slice m between them, at depth 1/2.

    None for stacks of fewer than seven slices.
    """
    middles = torch.arange(3, max(3, len(measured) - 3))
    if len(middles) == 0:
        return None
    slices = torch.stack([measured[middles + step] for step in (-3, -1, 1, 3)], dim=1)
    depths = torch.full((len(middles), 1), 0.5).to(measured)
    log2_gap = torch.full((len(middles),), math.log2(2 * factor)).to(measured)
    return SequenceBatch(slices, measured[middles][:, None], depths, log2_gap)


def mean_square(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean())


def gain_db(squares: list[list[float]]) -> float:
    """How many dB the first column of squared errors is better than the second."""
    network, linear = np.mean(squares, axis=0)
    return float(10 * math.log10(max(linear, 1e-12) / max(network, 1e-12)))


def _centre(stack: Tensor) -> Tensor:
    _, height, width = stack.shape
    top, left = max(0, (height - _VALIDATION_EDGE) // 2), max(0, (width - _VALIDATION_EDGE) // 2)
    return stack[:, top : top + _VALIDATION_EDGE, left : left + _VALIDATION_EDGE]


def picture(image: Tensor) -> NDArray[np.float32]:
    cropped = image[:_PREVIEW_EDGE, :_PREVIEW_EDGE].clamp(0, 1).cpu().numpy()
    return cropped.astype(np.float32)
