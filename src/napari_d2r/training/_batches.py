"""Where training examples come from: lateral planes, where the truth is known.

Every draw is a pure function of its random generator. A batch is gathered at once by
index arithmetic; flips and transpositions are part of the indices. Whatever was done to the
volume along z when it was measured is done to the axis that plays z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from napari_d2r.training._measurement import POINT, Measurement


@dataclass(frozen=True, slots=True, eq=False)
class RowsBatch:
    """Rows as measured of a lateral slice, and the truth at and between them."""

    rows: Tensor  # (B, J, W)
    truth: Tensor  # (B, J - 1, D, W)
    depths: Tensor  # (1, D), the same in all gaps
    log2_gap: Tensor  # scalar
    gap: int  # the same for the processor, which need not ask the device


@dataclass(frozen=True, slots=True, eq=False)
class SequenceBatch:
    """Four parallel slices as measured, a gap apart, and the truth within the middle gap."""

    slices: Tensor  # (B, 4, H, W)
    truth: Tensor  # (B, D, H, W)
    depths: Tensor  # (B, D)
    log2_gap: Tensor  # (B,)


@dataclass(frozen=True, slots=True, eq=False)
class BlocksBatch:
    """Parallel slices a gap apart, and all slices between them."""

    slices: Tensor  # (B, J, H, W)
    truth: Tensor  # (B, J - 1, D, H, W)


@dataclass(frozen=True, slots=True)
class GapMix:
    """Which integer gap widths are practised for a factor r.

    Mostly r itself (its two integer neighbours in proportion where r is not whole), then
    2r, the gap that leaving out a measured slice makes, and any width in between.
    """

    factor: float
    double: float = 0.1
    other: float = 0.05

    def draw(self, rng: Generator, longest: int) -> int:
        """A gap of 2 to ``longest`` steps."""
        chance = rng.random()
        if chance < self.double:
            gap = round(2 * self.factor)
        elif chance < self.double + self.other:
            gap = int(rng.integers(2, math.ceil(2 * self.factor) + 1))
        else:
            gap = math.floor(self.factor + rng.random())
        return min(max(gap, 2), longest)


def inner_depths(gap: int) -> NDArray[np.float32]:
    """Relative depths 1/gap .. (gap - 1)/gap."""
    return (np.arange(1, gap, dtype=np.float32) / gap).astype(np.float32)


def draw_rows(
    stack: Tensor,
    rng: Generator,
    *,
    gap: int,
    batch: int,
    num_gaps: int,
    columns: int,
    kernel: NDArray[np.float64] = POINT,
) -> RowsBatch:
    """Crops of XY slices with rows as measured ``gap`` apart, along y or x in equal parts.

    ``stack`` is (Z, Y, X), unit intensity; ``kernel`` says how rows are measured. Crops
    shrink to what the slices offer.
    """
    measure = Measurement(kernel, gap)
    _, height, width = stack.shape
    num_gaps = min(num_gaps, measure.num_gaps(min(height, width)))
    columns = min(columns, height, width)
    length = measure.length(num_gaps + 1)
    halves = []
    for transposed, count in ((False, batch - batch // 2), (True, batch // 2)):
        if count == 0:
            continue
        along, across = (width, height) if transposed else (height, width)
        z = _starts(rng, stack.shape[0], 1, count)[:, :, None]
        i = _run(rng, along, length, count)[:, :, None]
        j = _run(rng, across, columns, count)[:, None, :]
        halves.append(stack[z, j, i] if transposed else stack[z, i, j])
    crops = torch.cat(halves)  # (B, length, columns)
    log2_gap = torch.tensor(math.log2(gap)).to(stack)
    depths = measure.depths.to(stack)[None]
    return RowsBatch(measure.of(crops), measure.truth(crops), depths, log2_gap, gap)


@dataclass(frozen=True, slots=True)
class MeasurementNoise:
    """Noise that the restored rows of a pseudo-HR volume lack and measured slices have.

    ``sigma`` in unit intensity; rows 0, k, 2k .. of the volume are measured and have it, none
    where ``k`` is None.
    """

    sigma: float
    k: int | None


def draw_sequences(
    volume: Tensor,
    rng: Generator,
    *,
    gap: int,
    batch: int,
    crop: int,
    noise: MeasurementNoise | None = None,
    end_chance: float = 0.05,
    kernel: NDArray[np.float64] = POINT,
) -> SequenceBatch:
    """Sequences of XZ planes along y and of YZ planes along x; never along z.

    ``volume`` is (Z', Y, X), the pseudo-HR volume. ``noise`` is added to the input planes,
    not to the truth. With ``end_chance`` an outer slice is replaced by its neighbour, as
    happens at the ends of a stack. ``kernel`` says how slices are measured.
    """
    measure = Measurement(kernel, gap)
    slices, truth = _lateral_planes(
        volume,
        rng,
        measure=measure,
        num_slices=4,
        wanted=gap + measure.wanted,
        batch=batch,
        crop=crop,
        noise=noise,
    )
    first, last = (torch.from_numpy(rng.random(len(slices)) < end_chance) for _ in range(2))
    slices[first, 0] = slices[first, 1]
    slices[last, 3] = slices[last, 2]
    depths = measure.depths.to(volume).expand(len(slices), -1)
    log2_gap = torch.full((len(slices),), math.log2(gap)).to(volume)
    return SequenceBatch(slices, truth, depths, log2_gap)


def draw_blocks(
    volume: Tensor,
    rng: Generator,
    *,
    gap: int,
    batch: int,
    num_slices: int,
    crop: int,
    noise: MeasurementNoise | None = None,
) -> BlocksBatch:
    """Blocks of XZ planes along y and of YZ planes along x; never along z.

    As `draw_sequences`, for ``num_slices`` planes at once, or as many as the volume has.
    """
    num_gaps = min(num_slices - 1, (min(volume.shape[1:]) - 1) // gap)
    measure = Measurement(POINT, gap)
    slices, truth = _lateral_planes(
        volume,
        rng,
        measure=measure,
        num_slices=num_gaps + 1,
        wanted=(torch.arange(num_gaps)[:, None] * gap + measure.wanted).flatten(),
        batch=batch,
        crop=crop,
        noise=noise,
    )
    return BlocksBatch(slices, truth.unflatten(1, (num_gaps, gap - 1)))


def _lateral_planes(
    volume: Tensor,
    rng: Generator,
    *,
    measure: Measurement,
    num_slices: int,
    wanted: Tensor,
    batch: int,
    crop: int,
    noise: MeasurementNoise | None,
) -> tuple[Tensor, Tensor]:
    """Crops of runs of planes: as if measured, and the ``wanted`` ones as they are.

    Half of the runs go along y, half along x.
    """
    depth, height, width = volume.shape
    rows, columns = min(crop, depth), min(crop, height, width)
    length = measure.length(num_slices)
    # All planes take part in measured ones that are blurred, a few in those that are not.
    read = torch.arange(length)
    if measure.is_sampling:
        read = torch.cat([read[:: measure.gap], wanted])
    halves, row_numbers = [], []
    for through_y, count in ((True, batch - batch // 2), (False, batch // 2)):
        if count == 0:
            continue
        through, along = (height, width) if through_y else (width, height)
        p = _run(rng, through, length, count)[:, read, None, None]
        i = _run(rng, depth, rows, count)[:, None, :, None]
        j = _run(rng, along, columns, count)[:, None, None, :]
        halves.append(volume[i, p, j] if through_y else volume[i, j, p])
        row_numbers.append(i)
    planes = torch.cat(halves)
    if measure.is_sampling:
        slices, truth = planes[:, :num_slices].clone(), planes[:, num_slices:]
    else:
        slices, truth = measure.of(planes), planes[:, wanted]
    if noise is not None:
        added = noise.sigma * torch.randn(slices.shape).to(volume)
        if noise.k is not None:
            added *= (torch.cat(row_numbers) % noise.k != 0).to(volume)
        slices += added
    return slices, truth


def _starts(rng: Generator, length: int, run: int, count: int) -> Tensor:
    return torch.from_numpy(rng.integers(0, length - run + 1, (count, 1)))


def _run(rng: Generator, length: int, run: int, count: int) -> Tensor:
    """(count, run) consecutive indices at random starts, each run reversed at random."""
    steps = torch.arange(run).expand(count, -1)
    flip = torch.from_numpy(rng.random((count, 1)) < 0.5)
    return _starts(rng, length, run, count) + torch.where(flip, run - 1 - steps, steps)
