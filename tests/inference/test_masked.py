"""Masked slices: what is known comes back exactly, and is seen clean at every step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from napari_d2r.diffusion import PreservingSchedule
from napari_d2r.inference import (
    DiffusionPredictor,
    GapRequest,
    MaskedDiffusionPredictor,
    MaskedPredictor,
    log2_of,
)
from napari_d2r.inference._masked import blurred
from napari_d2r.jobs import SamplerSettings

K = 4


class StandIn(nn.Module):
    """A function in the place of a network; keeps what it was fed."""

    halo, stride = 8, 2

    def __init__(self, answer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.answer, self.fed = answer, []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.fed.append((x.clone(), t))
        return self.answer(x, t)


def random_slab(channels: int | None = None) -> Tensor:
    shape = (5, 12, 14) if channels is None else (channels, 5, 12, 14)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def request(*depths: float) -> GapRequest:
    return GapRequest(0, torch.tensor([depths]).expand(4, -1), log2_of(K))


def predictors(network: nn.Module, **more) -> list[MaskedPredictor]:
    settings = SamplerSettings(steps=3, eta=1, **more)
    return [MaskedPredictor(network), MaskedDiffusionPredictor(network, settings)]


@pytest.mark.parametrize("blur", [0.0, 0.5])
def test_known_rows_are_returned_exactly(blur):
    slab = random_slab()
    for predictor in predictors(StandIn(lambda x, t: x.roll(1, 3)), blur=blur):
        found = predictor.predict(slab, request(0.0, 0.5))
        torch.testing.assert_close(found[:, 0], slab[:4], rtol=0, atol=0)
        assert (found[:, 1] - slab[:4]).abs().max() > 0.1


def test_measured_rows_stand_clean_among_noise_at_every_step():
    slab = random_slab()
    for predictor, calls in zip(predictors(StandIn(lambda x, t: 0.1 * x)), (1, 3), strict=True):
        network = predictor.network
        network.fed.clear()
        predictor.predict(slab, request(0.5))
        assert len(network.fed) >= 2 * calls  # XZ and YZ
        for x, _ in network.fed:
            rows = slab.permute(1, 0, 2) if x.shape[3] == 14 else slab.permute(2, 0, 1)
            clean = x[:, 0, ::K]
            starts = [n for n in range(len(rows)) if torch.equal(rows[n], (clean[0] + 1) / 2)]
            first = starts[0] if starts else -1
            torch.testing.assert_close(clean, 2 * rows[first : first + len(clean)] - 1)
            assert x[:, 0, 1:4].std() > 0.1


def test_with_the_true_noise_a_slice_is_recovered():
    """The truth is a ramp along z, the same in XZ and YZ; any other noise would show."""
    schedule = PreservingSchedule()
    slab = (torch.arange(5.0) / 5)[:, None, None].expand(5, 12, 14)

    def truth(x: Tensor) -> Tensor:
        ramp = torch.arange(x.shape[2]) / K / 5
        return (2 * ramp - 1)[:, None].expand_as(x)

    def noise(x: Tensor, t: Tensor) -> Tensor:
        signal = torch.tensor(schedule.alpha_bar)[t.long()][:, None, None, None].to(x)
        return (x - signal.sqrt() * truth(x)) / (1 - signal).sqrt()

    expected = (torch.arange(4)[:, None] + torch.tensor([0.25, 0.5, 0.75])) / 5
    regression = MaskedPredictor(StandIn(lambda x, t: truth(x)))
    sampler = SamplerSettings(steps=10, eta=1)
    for predictor in (regression, MaskedDiffusionPredictor(StandIn(noise), sampler)):
        found = predictor.predict(slab, request(0.25, 0.5, 0.75))
        expected_everywhere = expected[..., None, None].expand_as(found)
        torch.testing.assert_close(found, expected_everywhere, rtol=0, atol=1e-4)


def test_channels_go_through_one_network_and_have_noise_of_their_own():
    slab = random_slab(3)
    for predictor in predictors(StandIn(lambda x, t: 0.3 * x)):
        found = predictor.predict(slab, request(0.0, 0.5))
        assert found.shape == (3, 4, 2, 12, 14)
        torch.testing.assert_close(found[:, :, 0], slab[:, :4], rtol=0, atol=0)
        hidden = predictor.network.fed[0][0][:, :, 1::K]
        assert hidden.shape[1] == 3
        assert torch.corrcoef(hidden.transpose(0, 1).flatten(1)).triu(1).abs().max() < 0.2
        grey = predictor.predict(slab[0], request(0.0, 0.5))
        torch.testing.assert_close(grey, found[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [MaskedDiffusionPredictor, DiffusionPredictor])
def test_fresh_noise_is_drawn_where_eta_asks_for_it(make):
    slab = random_slab()
    found = [
        make(
            StandIn(lambda x, t: 0.3 * x[:, :1]), SamplerSettings(solver="ddim", steps=3, eta=eta)
        ).predict(slab, request(0.5))
        for eta in (0.0, 0.0, 1.0)
    ]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert (found[2] - found[0]).abs().max() > 1e-3


def test_the_blur_is_a_gaussian_of_three_voxels():
    volume = torch.rand(2, 7, 6, 5)
    expected = [gaussian_filter(v, 0.5, radius=1, mode="nearest") for v in volume.numpy()]
    np.testing.assert_allclose(blurred(volume, 0.5).numpy(), expected, atol=1e-6)
