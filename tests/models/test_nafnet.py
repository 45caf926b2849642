"""ConditionalNAFNet: published size, any shape, tiles that agree."""

from __future__ import annotations

import pytest
import torch

from napari_d2r.models.nafnet import ConditionalNAFNet, NAFNetConfig

SMALL = NAFNetConfig(width=8, encoder_blocks=(2, 1), decoder_blocks=(1, 1))


def trained_like(config: NAFNetConfig = SMALL, seed: int = 0) -> ConditionalNAFNet:
    """Random weights everywhere, zero-initialised gains included, and frozen statistics."""
    torch.manual_seed(seed)
    network = ConditionalNAFNet(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        for time in (5.0, 35.0, 65.0, 95.0):
            network.train()(torch.rand(2, 2, 32, 32), torch.tensor([time, time + 1]))
    return network.eval()


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_published_sizes():
    with torch.device("meta"):
        assert count(ConditionalNAFNet()) == 20_400_261
        assert count(ConditionalNAFNet(NAFNetConfig(width=32))) == 5_134_275
        light = NAFNetConfig(width=32, encoder_blocks=(1, 1, 1, 8))
        assert count(ConditionalNAFNet(light)) / 1e6 == pytest.approx(8.65, abs=0.005)


@pytest.mark.parametrize("size", [(32, 32), (17, 30), (1, 5)])
def test_any_height_and_width(size):
    network = trained_like()
    out = network(torch.rand(3, 2, *size), torch.tensor([1.0, 50.5, 100.0]))
    assert out.shape == (3, 1, *size)
    assert torch.isfinite(out).all()


def test_gradient_reaches_every_parameter():
    network = trained_like().train()
    torch.nn.init.constant_(network.stem.weigh[0].bias, 5)  # opens its one rectifier
    loss = network(torch.rand(2, 2, 16, 16), torch.tensor([3.0, 60.0])).square().mean()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_time_matters():
    network, x = trained_like(), torch.rand(1, 2, 16, 16)
    with torch.no_grad():
        early, late = (network(x, torch.tensor([time])) for time in (12.0, 13.0))
    assert float((early - late).abs().max()) > 1e-3


def test_a_tile_with_its_halo_equals_the_whole():
    network = trained_like().double()
    stride, halo = network.stride, network.halo
    margin = -(-halo // stride) * stride
    size = 2 * margin + 24 + 2 * stride
    x, t = torch.rand(1, 2, size, size, dtype=torch.float64), torch.tensor([42.0])
    first, last = stride, stride + 2 * margin + 24
    with torch.no_grad():
        whole = network(x, t)
        tile = network(x[..., first:last, first:last], t)
    inner, outer = slice(margin, margin + 24), slice(first + margin, first + margin + 24)
    assert torch.allclose(tile[..., inner, inner], whole[..., outer, outer], atol=1e-10)
    assert not torch.allclose(tile[..., :4, :4], whole[..., first : first + 4, first : first + 4])


def test_pooling_over_the_tile_is_what_would_break_it():
    config = NAFNetConfig(
        width=8, encoder_blocks=(2, 1), decoder_blocks=(1, 1), frozen_pooling=False
    )
    network, x = trained_like(config), torch.rand(1, 2, 160, 160)
    t = torch.tensor([42.0])
    with torch.no_grad():
        whole, tile = network(x, t), network(x[..., :80], t)
    assert float((whole[..., :40] - tile[..., :40]).abs().max()) > 1e-4


def test_halo_is_the_exact_reach():
    network = trained_like().double()
    stride, halo = network.stride, network.halo
    size = -(-(2 * halo + stride) // stride) * stride
    reach = 0
    for phase in range(stride):
        position = size // 2 // stride * stride + phase
        x = torch.rand(1, 2, 1, size, dtype=torch.float64, requires_grad=True)
        network(x, torch.tensor([50.0]))[0, 0, 0, position].backward()
        seen = x.grad.abs().amax(dim=(0, 1, 2)).nonzero().flatten()
        reach = max(reach, position - int(seen[0]), int(seen[-1]) - position)
    assert reach == halo


def test_frozen_means_are_kept_per_range_of_times():
    network = ConditionalNAFNet(SMALL).train()
    x = torch.rand(4, 2, 16, 16)
    network(x, torch.tensor([1.0, 10.0, 55.0, 100.0]))
    pool = network.stem.pool
    assert pool.seen.tolist() == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    with torch.no_grad():
        means = network.stem.convolutions(network.intro(x)).mean(dim=(2, 3))
    assert torch.allclose(pool.running[0], means[:2].mean(dim=0), atol=1e-6)
    assert torch.allclose(pool.running[5], means[2], atol=1e-6)
    before = pool.running.clone()
    network.eval()(x, torch.tensor([1.0, 10.0, 55.0, 100.0]))
    assert torch.equal(pool.running, before)
    assert {"stem.pool.running", "stem.pool.seen"} <= set(network.state_dict())
