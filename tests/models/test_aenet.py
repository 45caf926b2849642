"""AENet: published size, continuous depth, exact ends, tiles that agree."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from napari_d2r.models.aenet import AENet, AENetConfig

DEPTHS = torch.tensor([[0.125, 0.5, 0.9], [0.3, 0.6, 0.77]])
GAPS = torch.tensor([3.0, 1.5])
BACKBONE = 42_036_481  # FLAVR unet_18 with one grey channel in and out
MODES = ["decoder", "encoder"]


def trained_like(depth_in: str = "decoder", width: int = 4, seed: int = 0) -> AENet:
    """Random weights, zero-initialised layers included, and frozen statistics."""
    torch.manual_seed(seed)
    network = AENet(AENetConfig(width=width, depth_in=depth_in))
    torch.nn.init.normal_(network.head.weight, std=0.1)
    for modulate in network.modulation:
        torch.nn.init.normal_(modulate.generate.weight, std=0.3)
    with torch.no_grad():
        network.train()(torch.rand(2, 4, 32, 32), DEPTHS, GAPS)
    return network.eval()


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_size():
    with torch.device("meta"):
        decoder, encoder = AENet(), AENet(AENetConfig(depth_in="encoder"))
    for network, total in ((decoder, 42_116_737), (encoder, 42_174_977)):
        assert count(network) == total
        assert count(network) - count(network.embedding) - count(network.modulation) == BACKBONE


@pytest.mark.parametrize("depth_in", MODES)
@pytest.mark.parametrize("size", [(32, 24), (19, 33), (5, 8)])
def test_any_height_and_width(depth_in, size):
    out = trained_like(depth_in)(torch.rand(2, 4, *size), DEPTHS, GAPS)
    assert out.shape == (2, 3, *size)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("depth_in", MODES)
def test_a_new_network_is_the_linear_base(depth_in):
    slices = torch.rand(2, 4, 16, 16)
    out = AENet(AENetConfig(width=4, depth_in=depth_in))(slices, DEPTHS, GAPS)
    d = DEPTHS[:, :, None, None]
    expected = (1 - d) * slices[:, 1:2] + d * slices[:, 2:3]
    assert torch.allclose(out, expected, atol=1e-7)


@pytest.mark.parametrize("depth_in", MODES)
def test_measured_slices_are_met_at_both_ends(depth_in):
    network, slices = trained_like(depth_in), torch.rand(1, 4, 16, 16)
    with torch.no_grad():
        out = network(slices, torch.tensor([[0.0, 1e-4, 0.5, 1.0]]), torch.tensor([3.0]))
    linear = (slices[:, 1] + slices[:, 2]) / 2
    assert float((out[:, 2] - linear).abs().max()) > 1e-2  # the residual is there
    assert torch.equal(out[:, 0], slices[:, 1])
    assert torch.equal(out[:, 3], slices[:, 2])
    assert torch.allclose(out[:, 1], slices[:, 1], atol=1e-2)


@pytest.mark.parametrize("depth_in", MODES)
def test_depths_and_batch_members_do_not_mix(depth_in):
    network, slices = trained_like(depth_in), torch.rand(2, 4, 16, 16)
    with torch.no_grad():
        together = network(slices, DEPTHS, GAPS)
        for b in range(2):
            for k in range(3):
                one = slice(b, b + 1)
                alone = network(slices[one], DEPTHS[one, k : k + 1], GAPS[one])
                assert torch.allclose(alone[0, 0], together[b, k], atol=1e-5)


@pytest.mark.parametrize("depth_in", MODES)
def test_residual_depends_on_depth_gap_and_every_slice(depth_in):
    network, slices = trained_like(depth_in), torch.rand(1, 4, 16, 16)

    def residual(slices: torch.Tensor, depth: float, gap: float) -> torch.Tensor:
        with torch.no_grad():
            out = network(slices, torch.tensor([[depth]]), torch.tensor([gap]))
        linear = slices[:, 1:2] * (1 - depth) + slices[:, 2:3] * depth
        return (out - linear) / (4 * depth * (1 - depth))

    reference = residual(slices, 0.4, 3.0)
    assert float((residual(slices, 0.6, 3.0) - reference).abs().max()) > 1e-3
    assert float((residual(slices, 0.4, 2.0) - reference).abs().max()) > 1e-3
    for k in range(4):
        changed = slices.clone()
        changed[:, k] = changed[:, k].flip(-1)
        assert float((residual(changed, 0.4, 3.0) - reference).abs().max()) > 1e-3


@pytest.mark.parametrize("depth_in", MODES)
def test_gradient_reaches_every_parameter(depth_in):
    network = trained_like(depth_in).train()
    out = network(torch.rand(2, 4, 16, 16), DEPTHS, GAPS)
    (out - 0.2).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_splitting_a_decoder_convolution_changes_nothing():
    stage = trained_like().decoder[1]
    deep, skip = torch.rand(1, 16, 4, 6, 6), torch.rand(1, 16, 4, 6, 6)
    weight = torch.cat([stage.from_deep.weight, stage.from_skip.weight])
    joined = F.conv_transpose3d(
        torch.cat([deep, skip], dim=1), weight, stage.from_deep.bias, (1, 2, 2), 1
    )
    with torch.no_grad():
        assert torch.allclose(stage(deep, skip), stage.gate(joined), atol=1e-5)


@pytest.mark.parametrize("depth_in", MODES)
def test_a_tile_with_its_halo_equals_the_whole(depth_in):
    network = trained_like(depth_in).double()
    margin = -(-network.lateral_halo // 8) * 8
    slices = torch.rand(1, 4, 2 * margin + 32, 2 * margin + 32, dtype=torch.float64)
    depths, gap = DEPTHS[:1, 1:2].double(), GAPS[:1].double()
    with torch.no_grad():
        whole = network(slices, depths, gap)
        tile = network(slices[..., 8:-8, 8:-8], depths, gap)
    inner, outer = slice(margin, margin + 16), slice(margin + 8, margin + 24)
    assert torch.allclose(tile[..., inner, inner], whole[..., outer, outer], atol=1e-10)
    assert not torch.allclose(tile[..., :4, :4], whole[..., 8:12, 8:12], atol=1e-6)


def test_halo_is_the_exact_reach():
    """With positive weights and inputs no rectifier closes: the gradient shows the reach."""
    network = AENet(AENetConfig(width=1)).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.05)
    halo, stride = network.lateral_halo, network.lateral_stride
    size = -(-(2 * halo + 2 * stride) // stride) * stride
    depth, gap = torch.tensor([[0.5]]).double(), torch.tensor([3.0]).double()
    reach = 0
    for phase in range(stride):
        position = size // 2 // stride * stride + phase
        x = torch.full((1, 4, 8, size), 0.9, dtype=torch.float64, requires_grad=True)
        network(x, depth, gap)[0, 0, 4, position].backward()
        seen = x.grad.abs().amax(dim=(0, 1, 2)).nonzero().flatten()
        reach = max(reach, position - int(seen[0]), int(seen[-1]) - position)
    assert reach == halo


def test_gates_are_frozen_after_training():
    network = AENet(AENetConfig(width=4)).train()
    gate = network.encoder[1][0].body[3]
    seen: list[torch.Tensor] = []
    gate.register_forward_hook(lambda module, args, out: seen.append(args[0].detach()))
    with torch.no_grad():
        for _ in range(2):
            network(torch.rand(2, 4, 16, 16), DEPTHS, GAPS)
    pooled = torch.cat(seen).mean(dim=(2, 3, 4))
    assert torch.allclose(gate.pool.running[0], pooled.mean(dim=0), atol=1e-6)
    assert gate.pool.seen.tolist() == [4]
    before = gate.pool.running.clone()
    network.eval()(torch.rand(2, 4, 16, 16), DEPTHS, GAPS)
    assert torch.equal(gate.pool.running, before)
