"""Gaps halved again and again: every slice stands where it should."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from napari_d2r.diffusion import PreservingSchedule
from napari_d2r.inference import (
    GapRequest,
    MidpointDiffusionPredictor,
    MidpointPredictor,
    log2_of,
)
from napari_d2r.jobs import SamplerSettings


class Averaging(nn.Module):
    """Adds nothing to the mean of two slices."""

    halo, stride = 4, 2

    def __init__(self) -> None:
        super().__init__()
        self.num_pairs = 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.num_pairs += len(x)
        return torch.zeros_like(x[:, :1])


class GeometricMean(Averaging):
    """What makes of the arithmetic mean of two slices the geometric one."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        below, above = (x.double() + 1).div(2).chunk(2, dim=1)
        return ((below * above).sqrt() - (below + above) / 2).to(x)


class TrueNoise(Averaging):
    """The noise that leads to the mean of the two slices."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        noisy, below, above = x.split(1, dim=1)
        signal = torch.tensor(PreservingSchedule().alpha_bar)[t.long()][:, None, None, None].to(x)
        return (noisy - signal.sqrt() * (below + above) / 2) / (1 - signal).sqrt()


def ask(gap: float, first: int = 1, count: int = 3) -> tuple[GapRequest, Tensor]:
    """All inner depths of some gaps, and where along z they stand."""
    depths = (torch.arange(1, math.ceil(gap)) / gap).expand(count, -1)
    return GapRequest(first, depths, log2_of(gap)), torch.arange(count)[:, None] + first + depths


def along_z(values: Tensor) -> Tensor:
    return values[..., None, None].expand(*values.shape, 6, 8)


@pytest.mark.parametrize("gap", [2, 4, 6, 8, 10, 16, 2.727])
def test_a_ramp_is_reproduced_by_means(gap):
    slab, (request, z) = along_z(torch.arange(6) / 6), ask(gap)
    sampler = SamplerSettings(steps=4, eta=1)
    sampled = MidpointDiffusionPredictor(TrueNoise(), sampler)
    for predictor in (MidpointPredictor(Averaging()), sampled):
        torch.testing.assert_close(
            predictor.predict(slab, request), along_z(z / 6), rtol=0, atol=2e-4
        )


@pytest.mark.parametrize("gap", [2, 4, 8])
def test_every_slice_comes_of_its_own_two_neighbours(gap):
    """A curve that only its own midpoints reproduce; a slice out of place would show."""
    slab, (request, z) = along_z(2.0 ** (torch.arange(6.0) - 6)), ask(gap)
    found = MidpointPredictor(GeometricMean()).predict(slab, request)
    torch.testing.assert_close(found, along_z(2.0 ** (z - 6)), rtol=1e-4, atol=0)


@pytest.mark.parametrize("gap", [2, 4, 6])
def test_every_channel_comes_of_its_own_two_neighbours(gap):
    curve = along_z(2.0 ** (torch.arange(6.0) - 6))
    slab, (request, _) = torch.stack([curve, curve.flip(0), curve / 2]), ask(gap)
    found = MidpointPredictor(GeometricMean()).predict(slab, request)
    alone = [MidpointPredictor(GeometricMean()).predict(channel, request) for channel in slab]
    assert found.shape == (3, *alone[0].shape)
    torch.testing.assert_close(found, torch.stack(alone))


@pytest.mark.parametrize(("gap", "pairs"), [(2, 1), (4, 3), (8, 7), (6, 7)])
def test_a_gap_of_n_halvings_costs_its_slices_in_both_orders(gap, pairs):
    predictor = MidpointPredictor(Averaging())
    predictor.predict(along_z(torch.arange(6.0)), ask(gap, count=1)[0])
    assert predictor.network.num_pairs == 2 * pairs


def test_the_middle_of_a_wide_gap_takes_one_halving():
    predictor = MidpointPredictor(Averaging())
    predictor.predict(along_z(torch.arange(6.0)), GapRequest(0, torch.tensor([[0.5]]), 4.0))
    assert predictor.network.num_pairs == 2
