"""How a network is taught by isotropic volumes: by rows of slices, or by sequences of slices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn

from napari_d2r.models import Contract, linear_base, linear_rows
from napari_d2r.training._batches import (
    RowsBatch,
    SequenceBatch,
    draw_rows,
    draw_sequences,
    inner_depths,
)

_ROW_GAPS, _COLUMNS, _CROP = 8, 128, 80


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """What a network is given and told, and what it should answer."""

    given: Tensor
    truth: Tensor
    depths: Tensor
    log2_gap: Tensor

    def answer(self, network: nn.Module) -> Tensor:
        """Of the network; shaped as the truth."""
        answer: Tensor = network(self.given, self.depths, self.log2_gap)
        return answer


class Teaching(Protocol):
    """One kind of example, for the networks of one contract."""

    def draw(
        self, view: Tensor, rng: Generator, *, gap: int, batch: int, coarser: float
    ) -> Example:
        """At random, with pixels ``coarser`` times as large."""
        ...

    def every(self, volume: Tensor, gap: int) -> Example:
        """All gaps of a volume of which every ``gap``-th slice is given."""
        ...

    def linear(self, example: Example) -> Tensor:
        """What aligned linear interpolation answers."""
        ...

    def shown(self, answer: Tensor) -> Tensor:
        """The part of an answer that makes a picture."""
        ...


class RowTeaching:
    """Rows left out of slices."""

    def draw(
        self, view: Tensor, rng: Generator, *, gap: int, batch: int, coarser: float
    ) -> Example:
        """Rows are not made coarser along the axis on which they are left out."""
        columns = round(_COLUMNS * coarser)
        drawn = draw_rows(view, rng, gap=gap, batch=batch, num_gaps=_ROW_GAPS, columns=columns)
        given = coarsened(drawn.rows[:, None], coarser, only_columns=True)[:, 0]
        truth = coarsened(drawn.truth, coarser, only_columns=True)
        return Example(given, truth, drawn.depths, torch.tensor(math.log2(gap / coarser)))

    def every(self, volume: Tensor, gap: int) -> Example:
        """All rows of all XZ slices."""
        rows = rows_of(volume, gap)
        return Example(rows.rows, rows.truth, rows.depths, rows.log2_gap)

    def linear(self, example: Example) -> Tensor:
        """Between rows."""
        return linear_rows(example.given, example.depths)

    def shown(self, answer: Tensor) -> Tensor:
        """The first slice without its measured rows."""
        return answer[0].flatten(0, 1)


class SequenceTeaching:
    """Slices left out between four others."""

    def draw(
        self, view: Tensor, rng: Generator, *, gap: int, batch: int, coarser: float
    ) -> Example:
        """Slices are made coarser along both of their axes."""
        drawn = draw_sequences(view, rng, gap=gap, batch=batch, crop=round(_CROP * coarser))
        given = coarsened(drawn.slices, coarser, only_columns=False)
        truth = coarsened(drawn.truth, coarser, only_columns=False)
        log2_gap = torch.full((len(given),), math.log2(gap / coarser))
        return Example(given, truth, drawn.depths, log2_gap)

    def every(self, volume: Tensor, gap: int) -> Example:
        """All XY slices."""
        batch = all_sequences(volume, gap)
        return Example(batch.slices, batch.truth, batch.depths, batch.log2_gap)

    def linear(self, example: Example) -> Tensor:
        """Between the middle two."""
        return linear_base(example.given[:, 1], example.given[:, 2], example.depths)

    def shown(self, answer: Tensor) -> Tensor:
        """The middle slice of the first gap."""
        return answer[0, answer.shape[1] // 2]


TEACHINGS: Mapping[Contract, Teaching] = {"rows": RowTeaching(), "sequence": SequenceTeaching()}


def coarsened(planes: Tensor, times: float, *, only_columns: bool) -> Tensor:
    """(B, C, H, W) with pixels ``times`` larger, averaged over; heights stay where told."""
    if times == 1.0:
        return planes
    height, width = planes.shape[-2:]
    size = (height if only_columns else round(height / times), round(width / times))
    return F.interpolate(planes, size=size, mode="bilinear", antialias=True)


def all_sequences(volume: Tensor, gap: int) -> SequenceBatch:
    """Every ``gap``-th slice of an isotropic volume as measured; all gaps between them."""
    num_gaps = (len(volume) - 1) // gap
    measured = volume[: num_gaps * gap + 1 : gap]
    taps = torch.arange(num_gaps)[:, None] + torch.arange(-1, 3)
    slices = measured[taps.clamp(0, num_gaps)]
    truth = volume[: num_gaps * gap].unflatten(0, (num_gaps, gap))[:, 1:]
    depths = torch.from_numpy(inner_depths(gap)).to(volume).expand(num_gaps, -1)
    return SequenceBatch(slices, truth, depths, torch.full((num_gaps,), math.log2(gap)).to(volume))


def rows_of(volume: Tensor, gap: int) -> RowsBatch:
    """The same for XZ slices: all rows between every ``gap``-th row."""
    num_gaps = (len(volume) - 1) // gap
    rows = volume[: num_gaps * gap + 1].transpose(0, 1)  # (Y, Z, X)
    truth = rows[:, :-1].unflatten(1, (num_gaps, gap))[:, :, 1:]
    depths = torch.from_numpy(inner_depths(gap)).to(volume)[None]
    log2_gap = torch.tensor(math.log2(gap))
    return RowsBatch(rows[:, ::gap].contiguous(), truth, depths, log2_gap, gap)
