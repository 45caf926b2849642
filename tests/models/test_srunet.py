"""SRUNet: exact phase at any whole factor, every output slice alive, exact reach."""

from __future__ import annotations

import pytest
import torch

from napari_d2r.models import SRUNet, SRUNetConfig, build_network

FACTORS = [2, 3, 4, 5, 7, 8, 9]


def small(factor: int, seed: int = 0) -> SRUNet:
    """Random weights, with an output layer large enough to be seen."""
    torch.manual_seed(seed)
    network = SRUNet(SRUNetConfig(factor=factor, widths=(3, 4, 4)))
    torch.nn.init.normal_(network.head.weight, std=0.3)
    return network.eval()


def linear(network: SRUNet) -> SRUNet:
    torch.nn.init.zeros_(network.head.weight)
    return network


def weights(given: int, width: int, taps: int = 27) -> int:
    """Of a convolution, plain or transposed, with its biases."""
    return taps * given * width + width


def test_size_is_the_published_one_but_for_the_kernels_of_its_strides():
    """2,408,257 parameters as published, with kernels of 3 x 3 x 3 for every stride."""
    plain = sum(
        weights(given, width) + 2 * weights(width, width)
        for given, width in [(1, 32), (32, 64), (64, 128), (64, 32), (128, 64)]
    ) + weights(32, 1)
    strided = {(32, 32): 15 * 9, (64, 64): 3 * 9, (64, 32): 7 * 4, (128, 64): 3 * 4}
    assert plain + sum(weights(*layer) for layer in strided) == 2_408_257
    count = sum(parameter.numel() for parameter in SRUNet().parameters())
    assert count == plain + sum(weights(*layer, taps) for layer, taps in strided.items())


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("shape", [(2, 1, 1), (3, 5, 8), (5, 19, 33)])
def test_any_factor_any_block(factor, shape):
    with torch.no_grad():
        out = small(factor)(torch.rand(2, *shape))
    assert out.shape == (2, shape[0] - 1, factor - 1, *shape[1:])
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("factor", FACTORS)
def test_without_its_residual_a_ramp_is_reproduced(factor):
    heights = torch.tensor([0.1, 0.3, 0.5, 0.9])
    block = heights[:, None, None].expand(4, 6, 6)[None]
    with torch.no_grad():
        out = linear(small(factor))(block)[0, :, :, 2, 3]
    depths = torch.arange(1, factor) / factor
    expected = heights[:-1, None] + depths * heights.diff()[:, None]
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("factor", FACTORS)
def test_mirror_images_of_kernels_fill_mirror_images_of_blocks(factor):
    """Were anything shifted along z, turning kernels over would not turn the result over."""
    network = small(factor)
    turned = small(factor)
    with torch.no_grad():
        for parameter in turned.parameters():
            if parameter.ndim == 5:
                parameter.copy_(parameter.flip(2))
        block = torch.rand(1, 5, 8, 8)
        expected = network(block)
        found = turned(block.flip(1)).flip(1, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("factor", [5, 8])
def test_no_slice_of_a_finer_grid_holds_nothing_but_a_bias(factor):
    """As kernels shorter than their stride would have it."""
    layers = [m for m in small(factor).modules() if isinstance(m, torch.nn.ConvTranspose3d)]
    assert len(layers) == 4
    for layer in layers:
        with torch.no_grad():
            slices = layer(torch.rand(1, layer.in_channels, 3, 4, 4))[0]
        assert slices.shape[1] == 2 * layer.stride[0] + 1
        assert float(slices.var(dim=(2, 3)).min()) > 0


def test_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    network = SRUNet(SRUNetConfig(factor=4, widths=(4, 6, 8))).train()
    network(torch.rand(2, 4, 16, 16)).sub(0.2).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def seen_by(network: SRUNet, shape: tuple[int, int, int], gap: int, y: int, x: int) -> torch.Tensor:
    """Where (J, H, W) the input can change the slices within a gap at one pixel."""
    block = torch.full((1, *shape), 0.9, dtype=torch.float64, requires_grad=True)
    network(block)[0, gap, :, y, x].sum().backward()
    return block.grad[0] != 0


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_halo_is_the_reach(factor):
    """With positive weights and inputs no rectifier closes: the gradient shows the reach.

    Along y and x pooling lets no more than the largest pixel through, and which one that
    is depends on the picture; there the halo may not be too short, and little too long.
    """
    network = small(factor).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.02)
    axial, lateral = network.axial_halo, network.lateral_halo
    seen = seen_by(network, (2 * axial + 6, 4, 4), axial + 2, 1, 1).any(dim=(1, 2)).nonzero()
    assert axial + 2 - int(seen[0]) == axial or int(seen[-1]) - axial - 3 == axial
    assert int(seen[0]) >= 2 and int(seen[-1]) <= 2 * axial + 3
    size, reach = 4 * (lateral // 2 + 2), 0
    for phase in range(4):
        place = size // 2 // 4 * 4 + phase
        columns = seen_by(network, (2, 4, size), 0, 1, place).any(dim=0).any(dim=0).nonzero()
        reach = max(reach, place - int(columns[0]), int(columns[-1]) - place)
    assert lateral - 4 <= reach <= lateral


def test_a_decoder_needs_but_a_few_slices_of_features():
    network = small(4)
    block = torch.rand(1, 12, 8, 8)
    with torch.no_grad():
        whole, features = network(block), network.encode(block)
        reach = network.decoder_halo
        part = slice(5 - reach, 7 + reach)
        alone = network.decode(block[:, part], [f[:, :, part] for f in features])
        torch.testing.assert_close(alone[:, reach], whole[:, 5], rtol=0, atol=1e-6)
        shorter = slice(6 - reach, 6 + reach)
        cut = network.decode(block[:, shorter], [f[:, :, shorter] for f in features])
        assert float((cut[:, reach - 1] - whole[:, 5]).abs().max()) > 1e-6


def test_the_factor_is_told_by_name():
    network = build_network("srunet", {"factor": 6, "widths": [3, 4, 4]})
    assert (network.config.factor, network.axial_strides) == (6, (2, 3))
    assert SRUNet(SRUNetConfig(factor=7, widths=(3, 4, 4))).axial_strides == (1, 7)
