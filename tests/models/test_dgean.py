"""DGEAN: its size, where slices and depth enter, exact ends, tiles that agree."""

from __future__ import annotations

import math

import pytest
import torch

from napari_d2r.models.dgean import DGEAN, DGEANConfig, GaussianEmbeddingAttention

DEPTHS = torch.tensor([[0.125, 0.5, 0.9], [0.3, 0.6, 0.77]])
GAPS = torch.tensor([3.0, 1.5])


def trained_like(width: int = 4) -> DGEAN:
    """Random weights, zero-initialised layers included, and frozen statistics."""
    torch.manual_seed(0)
    network = DGEAN(DGEANConfig(width=width))
    torch.nn.init.normal_(network.head.weight, std=0.1)
    for block in network.blocks:
        torch.nn.init.normal_(block.modulate.generate.weight, std=0.3)
    with torch.no_grad():
        network.train()(torch.rand(2, 4, 32, 32), DEPTHS, GAPS)
    return network.eval()


@pytest.mark.parametrize("width", [8, 64])
def test_its_size_follows_from_its_layers(width):
    """Weights by kernel volume times channels in and out; gates and embeddings beside them."""
    w = width
    residual = 27 * (4 * w * w + 14 * w * w + 4 * 14 * w * w + 16 * 14 * w * w)
    shortcuts = w * 2 * w + 2 * w * 4 * w + 4 * w * 8 * w
    encoder = 3 * 7 * 7 * w + residual + shortcuts
    channels = (w, w, 2 * w, 4 * w, 8 * w)
    blocks = sum(32 * c + (64 + 1) * 2 * c + (c + 1) * c for c in channels)
    plain, doubling = 3 * 3 * 3, 3 * 4 * 4
    decoder = (
        (plain * 8 * w + 1) * 4 * w
        + (doubling * 8 * w + 1) * 2 * w
        + (doubling * 4 * w + 1) * w
        + (plain * 2 * w + 1) * w
        + (doubling * 2 * w + 1) * w
    )
    head = 4 * w * w + 7 * 7 * w + 1
    depth = (2 * 8 + 2 + 1) * 64 + (64 + 1) * 64
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in DGEAN(DGEANConfig(width=w)).parameters())
    assert found == encoder + blocks + decoder + head + depth
    if width == 64:
        assert found == 41_768_001


@pytest.mark.parametrize("size", [(32, 24), (19, 33), (5, 8)])
def test_any_height_and_width(size):
    out = trained_like()(torch.rand(2, 4, *size), DEPTHS, GAPS)
    assert out.shape == (2, 3, *size)
    assert torch.isfinite(out).all()


def test_a_new_network_is_the_linear_base():
    slices = torch.rand(2, 4, 16, 16)
    d = DEPTHS[:, :, None, None]
    expected = (1 - d) * slices[:, 1:2] + d * slices[:, 2:3]
    out = DGEAN(DGEANConfig(width=4))(slices, DEPTHS, GAPS)
    assert torch.allclose(out, expected, atol=1e-7)


def test_measured_slices_are_met_at_both_ends():
    network, slices = trained_like(), torch.rand(1, 4, 16, 16)
    with torch.no_grad():
        out = network(slices, torch.tensor([[0.0, 1e-4, 0.5, 1.0]]), torch.tensor([3.0]))
    linear = (slices[:, 1] + slices[:, 2]) / 2
    assert float((out[:, 2] - linear).abs().max()) > 1e-2  # the residual is there
    assert torch.equal(out[:, 0], slices[:, 1])
    assert torch.equal(out[:, 3], slices[:, 2])
    assert torch.allclose(out[:, 1], slices[:, 1], atol=1e-2)


def test_residual_depends_on_depth_gap_and_every_slice():
    network, slices = trained_like(), torch.rand(1, 4, 16, 16)

    def residual(slices: torch.Tensor, depth: float, gap: float) -> torch.Tensor:
        with torch.no_grad():
            out = network(slices, torch.tensor([[depth]]), torch.tensor([gap]))
        linear = slices[:, 1:2] * (1 - depth) + slices[:, 2:3] * depth
        return (out - linear) / (4 * depth * (1 - depth))

    reference = residual(slices, 0.4, 3.0)
    others = [residual(slices, 0.6, 3.0), residual(slices, 0.4, 2.0)]
    for k in range(4):
        changed = slices.clone()
        changed[:, k] = changed[:, k].flip(-1)
        others.append(residual(changed, 0.4, 3.0))
    for other in others:
        assert float((other - reference).abs().max()) > 1e-3


def test_a_slice_enters_with_where_it_stands():
    """What is added to a slice is a sum of waves of its distance from the output slice."""
    torch.manual_seed(0)
    block = GaussianEmbeddingAttention(width=3, num_positions=5, embedding=4).eval()
    torch.nn.init.constant_(block.attend.weigh.bias, 100)  # every channel passes
    positions = torch.tensor([[-1.25, -0.25, 0.75, 1.75]])
    with torch.no_grad():
        found = block(torch.zeros(1, 3, 4, 2, 2), positions, torch.zeros(1, 4))
    for k, p in enumerate(positions[0].tolist()):
        angles = [2 * math.pi * p * b for b in block.frequencies.tolist()]
        waves = torch.tensor([math.cos(a) for a in angles] + [math.sin(a) for a in angles])
        expected = block.place.weight @ waves
        assert torch.allclose(found[0, :, k, 0, 0], expected, atol=1e-5)


def test_its_random_frequencies_are_kept_with_the_weights():
    network, other = trained_like(), DGEAN(DGEANConfig(width=4))
    slices = torch.rand(1, 4, 16, 16)
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        outs = [one.eval()(slices, DEPTHS[:1], GAPS[:1]) for one in (network, other)]
    assert torch.equal(*outs)


def test_gradient_reaches_every_parameter():
    network = trained_like().train()
    out = network(torch.rand(2, 4, 16, 16), DEPTHS, GAPS)
    (out - 0.2).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_a_tile_with_its_halo_equals_the_whole():
    network = trained_like(width=2).double()
    margin = -(-network.lateral_halo // 8) * 8
    slices = torch.rand(1, 4, 2 * margin + 32, 2 * margin + 32, dtype=torch.float64)
    depths, gap = DEPTHS[:1, 1:2].double(), GAPS[:1].double()
    with torch.no_grad():
        whole = network(slices, depths, gap)
        tile = network(slices[..., 8:-8, 8:-8], depths, gap)
    inner, outer = slice(margin, margin + 16), slice(margin + 8, margin + 24)
    assert torch.allclose(tile[..., inner, inner], whole[..., outer, outer], atol=1e-10)
    assert not torch.allclose(tile[..., :4, :4], whole[..., 8:12, 8:12], atol=1e-6)
