"""Lee and Jeong: what is restored agrees with what was measured; chains forget their start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from napari_d2r.diffusion import PreservingSchedule
from napari_d2r.inference import DDNMPredictor, GapRequest, Interrupted, log2_of
from napari_d2r.jobs import CancelToken, DDNMSettings, SamplerSettings
from napari_d2r.models import build_network
from napari_d2r.volumes import Degradation

K, SLICES = 4, 6
BLURRED = Degradation("gaussian", sigma=2.0)
BLOCK = Degradation("block")


class Gaussian(nn.Module):
    """The exact noise of slices that are white, mean grey and a quarter of the range deep."""

    halo, stride = 4, 1

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        signal = torch.tensor(PreservingSchedule().alpha_bar)[t.long()][:, None, None, None].to(x)
        return (1 - signal).sqrt() / (signal / 4 + 1 - signal) * x


def u_net() -> nn.Module:
    torch.manual_seed(0)
    network = build_network("ddpm-unet", {"width": 4, "multipliers": [1, 2], "blocks": 1})
    nn.init.normal_(network.ending.weight, std=0.2)
    return network


def predictor(
    network: nn.Module, degradation: Degradation | None = None, direction: str = "mean", **ddnm
) -> DDNMPredictor:
    how = DDNMSettings(**{"encode_steps": 2, "first_steps": 6} | ddnm)
    sampler = SamplerSettings(steps=3, eta=1, shared_noise=False, ddnm=how, direction=direction)
    return DDNMPredictor(network, sampler, degradation)


def drawn_with(eta: float) -> DDNMPredictor:
    steps = DDNMSettings(encode_steps=2, first_steps=6)
    return DDNMPredictor(u_net(), SamplerSettings(steps=3, eta=eta, ddnm=steps))


def random_slab(height: int = 9, width: int = 7) -> Tensor:
    return torch.rand(SLICES, height, width, generator=torch.Generator().manual_seed(0))


def request(depths: Tensor, y: int = 0) -> GapRequest:
    return GapRequest(0, depths.expand(SLICES - 1, -1), log2_of(K), (0, y, 0))


WHOLE = torch.arange(K)[None] / K
# Of a block of four rows, none stands in its centre.
BETWEEN = (torch.arange(K)[None] + 0.5) / K


@pytest.mark.parametrize("operator", ["exact", "blind"])
@pytest.mark.parametrize("direction", ["xz", "yz", "mean"])
def test_measured_slices_return(operator: str, direction: str) -> None:
    slab = random_slab()
    found = predictor(u_net(), operator=operator, direction=direction).predict(slab, request(WHOLE))
    assert found.shape == (SLICES - 1, K, *slab.shape[1:])
    torch.testing.assert_close(found[:, 0], slab[:-1], atol=1e-6, rtol=0)
    assert float((found[:, 2] - slab[:-1]).abs().max()) > 0.1


def test_how_much_fresh_noise_there_is_is_the_samplers() -> None:
    none, some, all_of_it = (
        drawn_with(eta).predict(random_slab(), request(WHOLE)) for eta in (0.0, 0.5, 1.0)
    )
    assert float((some - none).abs().max()) > 0.01
    assert float((some - all_of_it).abs().max()) > 0.01


@pytest.mark.parametrize("degradation", [BLURRED, BLOCK], ids=str)
def test_a_blurred_result_is_what_was_measured(degradation: Degradation) -> None:
    """The average of both directions agrees too, because the blur is linear."""
    slab = random_slab()
    depths = BETWEEN if degradation.kind == "block" else WHOLE
    found = predictor(u_net(), degradation).predict(slab, request(depths)).flatten(0, 1)
    num_rows = SLICES * K if degradation.kind == "block" else (SLICES - 1) * K + 1
    matrix = torch.from_numpy(degradation.matrix(num_rows, K)).float()
    # Rows that no gap holds are left out, and with them the measured rows that look there.
    first = 2 if degradation.kind == "block" else 0
    seen = matrix[:, first : first + len(found)]
    inner = seen.sum(1) > 0.999999
    assert int(inner.sum()) >= 3
    again = torch.einsum("jn,nyx->jyx", seen, found)[inner]
    torch.testing.assert_close(again, slab[inner], atol=1e-4, rtol=0)
    blind = predictor(u_net(), degradation, operator="blind").predict(slab, request(depths))
    other = torch.einsum("jn,nyx->jyx", seen, blind.flatten(0, 1))[inner]
    assert float((other - slab[inner]).abs().max()) > 0.05


def test_a_chain_forgets_where_it_began() -> None:
    """Two tiles that begin at different slices come to agree, because their noise is the same."""
    slab = random_slab(height=40)
    how = predictor(Gaussian(), direction="xz", level=500)
    whole = how.predict(slab, request(WHOLE))
    tile = how.predict(slab[:, 12:], request(WHOLE, y=12))
    apart = (whole[:, :, 12:] - tile).abs().amax(dim=(0, 1, 3))
    assert float(apart[0]) > 0.1
    assert float(apart[12:].max()) < 1e-3
    elsewhere = how.predict(slab[:, 12:], request(WHOLE, y=11))
    assert float((whole[:, :, 12:] - elsewhere).abs().max()) > 0.1


def test_both_directions_are_the_mean_of_each() -> None:
    slab = random_slab()
    xz, yz, both = (
        predictor(u_net(), direction=one).predict(slab, request(WHOLE))
        for one in ("xz", "yz", "mean")
    )
    torch.testing.assert_close(both, (xz + yz) / 2)
    assert float((xz - yz).abs().max()) > 0.1


def test_it_stops_when_asked() -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Interrupted):
        predictor(u_net()).predict(random_slab(), request(WHOLE), token)
