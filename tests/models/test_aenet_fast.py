"""The small AENet: AENet's contract, exact ends, exact reach, every output phase alive."""

from __future__ import annotations

import pytest
import torch

from napari_d2r.models import AENetFast, AENetFastConfig, linear_base

SMALL = AENetFastConfig(widths=(6, 8, 8), blocks=(1, 1, 2))
GAPS = torch.tensor([3.0, 1.5])
DEPTHS = torch.tensor([[0.125, 0.5, 0.9], [0.3, 0.6, 0.77]])


def trained_like(config: AENetFastConfig = SMALL, seed: int = 0) -> AENetFast:
    """Random weights, with an output layer large enough to be seen."""
    torch.manual_seed(seed)
    network = AENetFast(config)
    torch.nn.init.normal_(network.head.generate.weight, std=0.3)
    torch.nn.init.normal_(network.head.generate.bias, std=0.3)
    return network.eval()


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (16, 16), (19, 33)])
@pytest.mark.parametrize("num_depths", [1, 7, 15])
def test_any_size_any_depths(size, num_depths):
    depths = torch.linspace(0.05, 0.95, num_depths).expand(2, -1)
    out = trained_like()(torch.rand(2, 4, *size), depths, GAPS)
    assert out.shape == (2, num_depths, *size)
    assert torch.isfinite(out).all()


def test_measured_slices_are_met_at_both_ends():
    slices = torch.rand(1, 4, 16, 16)
    with torch.no_grad():
        depths = torch.tensor([[0.0, 1e-4, 0.5, 1 - 1e-4, 1.0]])
        out = trained_like()(slices, depths, GAPS[:1])
    linear = (slices[:, 1] + slices[:, 2]) / 2
    assert float((out[:, 2] - linear).abs().max()) > 1e-2  # the residual is there
    assert torch.equal(out[:, 0], slices[:, 1])
    assert torch.equal(out[:, 4], slices[:, 2])
    assert torch.allclose(out[:, 1], slices[:, 1], atol=1e-2)
    assert torch.allclose(out[:, 3], slices[:, 2], atol=1e-2)


def test_reversed_slices_give_the_reversed_answer_whatever_the_weights_are():
    network, slices = trained_like().double(), torch.rand(2, 4, 19, 33).double()
    with torch.no_grad():
        upright = network(slices, DEPTHS.double(), GAPS.double())
        reversed_ = network(slices.flip(1), 1 - DEPTHS.double(), GAPS.double())
        sideways = network(slices, 1 - DEPTHS.double(), GAPS.double())
    torch.testing.assert_close(reversed_, upright, rtol=0, atol=1e-12)
    assert float((sideways - upright).abs().max()) > 1e-2


def test_odd_widths_have_no_halves():
    with pytest.raises(ValueError, match="even"):
        AENetFastConfig(widths=(6, 7), blocks=(1, 1))


def test_depths_and_batch_members_do_not_mix():
    network, slices = trained_like(), torch.rand(2, 4, 16, 16)
    with torch.no_grad():
        together = network(slices, DEPTHS, GAPS)
        for b in range(2):
            one = slice(b, b + 1)
            for k in range(3):
                alone = network(slices[one], DEPTHS[one, k : k + 1], GAPS[one])
                torch.testing.assert_close(alone[0, 0], together[b, k], rtol=0, atol=1e-5)


def test_residual_depends_on_depth_gap_and_every_slice():
    network, slices = trained_like(), torch.rand(1, 4, 16, 16)

    def residual(slices: torch.Tensor, depth: float, gap: float) -> torch.Tensor:
        depths = torch.tensor([[depth]])
        with torch.no_grad():
            out = network(slices, depths, torch.tensor([gap]))
        return (out - linear_base(slices[:, 1], slices[:, 2], depths)) / (4 * depth * (1 - depth))

    reference = residual(slices, 0.4, 3.0)
    assert float((residual(slices, 0.6, 3.0) - reference).abs().max()) > 1e-3
    assert float((residual(slices, 0.4, 2.0) - reference).abs().max()) > 1e-3
    for k in range(4):
        changed = slices.clone()
        changed[:, k] = changed[:, k].flip(-1)
        assert float((residual(changed, 0.4, 3.0) - reference).abs().max()) > 1e-3


def test_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    network = AENetFast(SMALL).train()
    (network(torch.rand(2, 4, 16, 16), DEPTHS, GAPS) - 0.2).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def test_every_output_phase_depends_on_every_slice():
    """The four pixels of a 2x2 cell come from four rows of the head: none may be dead."""
    network = trained_like().double()
    slices = torch.rand(1, 4, 16, 16, dtype=torch.float64, requires_grad=True)
    depths = torch.tensor([[0.4]]).double()
    base = linear_base(slices[:, 1], slices[:, 2], depths)
    residual = (network(slices, depths, GAPS[:1].double()) - base)[0, 0]
    for y in range(8, 10):
        for x in range(8, 10):
            (gradient,) = torch.autograd.grad(residual[y, x], slices, retain_graph=True)
            assert (gradient[0].abs().amax(dim=(1, 2)) > 1e-9).all()


def test_halo_is_the_reach():
    """With positive weights and inputs no rectifier closes: the gradient shows the reach."""
    network = AENetFast(SMALL).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.05)
    halo, stride = network.lateral_halo, network.lateral_stride
    assert stride == 8
    size = -(-(2 * halo + 2 * stride) // stride) * stride
    depths, gap = torch.tensor([[0.5]]).double(), GAPS[:1].double()
    reach = 0
    for phase in range(stride):
        position = size // 2 // stride * stride + phase
        for axis in (0, 1):
            shape, place = [1, 4, stride, stride], [stride // 2, stride // 2]
            shape[2 + axis], place[axis] = size, position
            slices = torch.full(shape, 0.9, dtype=torch.float64, requires_grad=True)
            network(slices, depths, gap)[0, 0, place[0], place[1]].backward()
            seen = (slices.grad[0] != 0).any(dim=0).any(dim=1 - axis).nonzero().flatten()
            reach = max(reach, position - int(seen[0]), int(seen[-1]) - position)
    assert halo - stride < reach <= halo


def test_a_pixel_beyond_the_halo_changes_nothing_and_within_it_something():
    network = trained_like().double()
    middle = -(-network.lateral_halo // 8) * 8 + 8
    slices = torch.rand(1, 4, 16, 2 * middle, dtype=torch.float64)

    def change(column: int) -> float:
        touched = slices.clone()
        touched[..., column] += 1
        out = [network(s, DEPTHS[:1].double(), GAPS[:1].double()) for s in (slices, touched)]
        return float((out[0] - out[1])[..., middle].abs().max())

    with torch.no_grad():
        assert change(middle - network.lateral_halo - 1) == 0
        assert change(middle + network.lateral_halo + 1) == 0
        for near in (-6, -1, 0, 1, 6):
            assert change(middle + near) > 1e-6
