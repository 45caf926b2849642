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


def test_the_size_is_the_published_one_but_for_the_time_and_the_middle():
    """Ho et al. 2020, appendix B: 35.7 million for 32 x 32, attention at 16 x 16.

    Layer by layer: ours has no attention in the middle, and a gate where theirs has SiLU in what
    the time goes through. Norms have a gain and a shift per channel, whatever they average over.
    """

    def weights(given: int, width: int, taps: int = 1) -> int:
        return taps * given * width + width

    def block(given: int, width: int) -> int:
        skip = weights(given, width) if given != width else 0
        both = weights(given, width, 9) + weights(width, width, 9)
        return 2 * given + both + weights(512, width) + 2 * width + skip

    attends = 2 * 256 + 4 * weights(256, 256)
    down = [(128, 128)] * 2 + [(128, 256)] + [(256, 256)] * 5
    up = [(512, 256)] * 8 + [(384, 256)] + [(384, 128)] + [(256, 128)] * 2
    resize = weights(128, 128, 9) + 2 * weights(256, 256, 9) + 3 * weights(256, 256, 9)
    ends = weights(3, 128, 9) + 2 * 128 + weights(128, 3, 9)
    blocks = sum(block(*channels) for channels in [*down, *[(256, 256)] * 2, *up])
    shared = ends + resize + blocks + (2 + 3) * attends + weights(512, 512)
    assert round((shared + weights(128, 512) + attends) / 1e6, 1) == 35.7

    config = TimeUNetConfig(
        in_channels=3, out_channels=3, width=128, multipliers=(1, 2, 2, 2), attention=(1,)
    )
    with torch.device("meta"):
        parameters = sum(p.numel() for p in TimeUNet(config).parameters())
    assert parameters == shared + weights(128, 1024)


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
