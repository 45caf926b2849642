"""TimeUNet: any shape, knows the time, tiles that agree."""

from __future__ import annotations

import pytest
import torch

from napari_d2r.models import TimeUNet, TimeUNetConfig

SMALL = TimeUNetConfig(width=8, multipliers=(1, 2), blocks=1)


def trained_like(config: TimeUNetConfig = SMALL) -> TimeUNet:
    """Random weights everywhere, the silent layers included."""
    torch.manual_seed(0)
    network = TimeUNet(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def test_the_size_of_the_published_network_but_for_norms_and_attention():
    """Ho et al. 2020, appendix B: 35.7 million for 32 x 32, attention at 16 x 16."""
    config = TimeUNetConfig(
        in_channels=3, out_channels=3, width=128, multipliers=(1, 2, 2, 2), attention=(1,)
    )
    with torch.device("meta"):
        parameters = sum(p.numel() for p in TimeUNet(config).parameters())
    assert parameters == pytest.approx(35.7e6, rel=0.03)


@pytest.mark.parametrize("size", [(32, 32), (17, 30), (1, 5)])
def test_any_height_and_width_and_any_channels(size):
    config = TimeUNetConfig(
        in_channels=6, out_channels=3, width=8, multipliers=(1, 2, 3), attention=(2,)
    )
    out = trained_like(config)(torch.rand(2, 6, *size), torch.tensor([0.0, 999.0]))
    assert out.shape == (2, 3, *size)
    assert torch.isfinite(out).all()


def test_a_new_network_predicts_zero():
    assert not TimeUNet(SMALL)(torch.rand(1, 1, 16, 16), torch.tensor([5.0])).any()


def test_gradient_reaches_every_parameter():
    network = trained_like(TimeUNetConfig(width=8, multipliers=(1, 2), blocks=1, attention=(1,)))
    network(torch.rand(2, 1, 16, 16), torch.tensor([3.0, 600.0])).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_time_matters():
    network, x = trained_like(), torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        early, late = (network(x, torch.tensor([time])) for time in (12.0, 13.0))
    assert float((early - late).abs().max()) > 1e-3


def test_a_tile_with_its_halo_equals_the_whole():
    network = trained_like().double()
    margin = -(-network.halo // network.stride) * network.stride
    size, first = 2 * margin + 28, 2
    x, t = torch.rand(1, 1, size, size, dtype=torch.float64), torch.tensor([42.0])
    last = first + 2 * margin + 24
    with torch.no_grad():
        whole = network(x, t)
        tile = network(x[..., first:last, first:last], t)
    inner, outer = slice(margin, margin + 24), slice(first + margin, first + margin + 24)
    assert torch.allclose(tile[..., inner, inner], whole[..., outer, outer], atol=1e-10)
    assert not torch.allclose(tile[..., :4, :4], whole[..., first : first + 4, first : first + 4])


@pytest.mark.parametrize("levels", [2, 3])
def test_halo_is_the_exact_reach(levels):
    config = TimeUNetConfig(width=4, multipliers=(1,) * levels, blocks=1)
    network = trained_like(config).double()
    stride, halo = network.stride, network.halo
    size = -(-(2 * halo + stride) // stride) * stride
    reach = 0
    for phase in range(stride):
        position = size // 2 // stride * stride + phase
        x = torch.rand(1, 1, 1, size, dtype=torch.float64, requires_grad=True)
        network(x, torch.tensor([50.0]))[0, 0, 0, position].backward()
        seen = x.grad.abs().amax(dim=(0, 1, 2)).nonzero().flatten()
        reach = max(reach, position - int(seen[0]), int(seen[-1]) - position)
    assert reach == halo
