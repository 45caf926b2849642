"""The lateral regressor: exact ends, exact reach, any width, any depth."""

from __future__ import annotations

import pytest
import torch

from napari_d2r.models import LateralNet, LateralNetConfig, interleave_rows, linear_rows

SMALL = LateralNetConfig(widths=(6, 8, 8), blocks=(1, 1, 2))
GAP = torch.tensor(3.0)
DEPTHS = torch.tensor([[0.125, 0.5, 0.9]])


def trained_like(config: LateralNetConfig = SMALL, seed: int = 0) -> LateralNet:
    """Random weights, with an output layer large enough to be seen."""
    torch.manual_seed(seed)
    network = LateralNet(config)
    torch.nn.init.normal_(network.head.generate.weight, std=0.3)
    torch.nn.init.normal_(network.head.generate.bias, std=0.3)
    return network.eval()


@pytest.mark.parametrize("width", [1, 7, 16, 33])
@pytest.mark.parametrize(("num_rows", "num_depths"), [(2, 1), (3, 7), (9, 15)])
def test_any_width_any_rows_any_depths(width, num_rows, num_depths):
    depths = torch.linspace(0.05, 0.95, num_depths)[None]
    out = trained_like()(torch.rand(2, num_rows, width), depths, GAP)
    assert out.shape == (2, num_rows - 1, num_depths, width)
    assert torch.isfinite(out).all()


def test_measured_rows_are_met_at_both_ends():
    rows = torch.rand(2, 5, 24)
    with torch.no_grad():
        out = trained_like()(rows, torch.tensor([[0.0, 1e-4, 0.5, 1 - 1e-4, 1.0]]), GAP)
    linear = (rows[:, :-1] + rows[:, 1:]) / 2
    assert float((out[:, :, 2] - linear).abs().max()) > 1e-2  # the residual is there
    assert torch.equal(out[:, :, 0], rows[:, :-1])
    assert torch.equal(out[:, :, 4], rows[:, 1:])
    assert torch.allclose(out[:, :, 1], rows[:, :-1], atol=1e-2)
    assert torch.allclose(out[:, :, 3], rows[:, 1:], atol=1e-2)


def test_one_row_of_depths_equals_a_row_for_every_gap():
    network, rows = trained_like(), torch.rand(2, 5, 24)
    with torch.no_grad():
        once = network(rows, DEPTHS, GAP)
        spelt_out = network(rows, DEPTHS.expand(4, -1), GAP)
    torch.testing.assert_close(once, spelt_out, rtol=0, atol=1e-6)


def test_every_gap_may_want_other_depths():
    network, rows = trained_like(), torch.rand(1, 4, 16)
    depths = torch.tensor([[0.2, 0.7], [0.4, 0.5], [0.9, 0.1]])
    with torch.no_grad():
        together = network(rows, depths, GAP)
        for j, own in enumerate(depths):
            alone = network(rows, own[None], GAP)
            torch.testing.assert_close(together[:, j], alone[:, j], rtol=0, atol=1e-6)


def test_residual_depends_on_depth_and_gap():
    network, rows = trained_like(), torch.rand(1, 4, 16)

    def residual(depth: float, gap: float) -> torch.Tensor:
        depths = torch.tensor([[depth]])
        with torch.no_grad():
            out = network(rows, depths, torch.tensor(gap))
        return (out - linear_rows(rows, depths)) / (4 * depth * (1 - depth))

    assert float((residual(0.4, 3.0) - residual(0.6, 3.0)).abs().max()) > 1e-3
    assert float((residual(0.4, 3.0) - residual(0.4, 2.0)).abs().max()) > 1e-3


def test_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    network = LateralNet(SMALL).train()
    (network(torch.rand(2, 5, 16), DEPTHS, GAP) - 0.2).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def reach_of(network: LateralNet, num_rows: int, width: int, gap: int, column: int) -> torch.Tensor:
    """Which inputs the residual at one output column depends on, (rows, columns) boolean.

    With positive weights and inputs no rectifier closes: the gradient shows the reach.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.05)
    rows = torch.full((1, num_rows, width), 0.9, dtype=torch.float64, requires_grad=True)
    depths = torch.tensor([[0.5]], dtype=torch.float64)
    residual = network(rows, depths, GAP.double()) - linear_rows(rows, depths)
    residual[0, gap, 0, column].backward()
    return rows.grad[0] != 0


def test_halos_are_the_exact_reach():
    network = LateralNet(SMALL).double()
    stride, lateral, axial = network.lateral_stride, network.lateral_halo, network.axial_halo
    assert stride == 4
    width = -(-(2 * lateral + 2 * stride) // stride) * stride
    num_rows, gap = 2 * axial + 6, axial + 2
    reach = [0, 0]
    for phase in range(stride):
        column = width // 2 // stride * stride + phase
        seen = reach_of(network, num_rows, width, gap, column)
        rows, columns = (seen.any(dim=1 - axis).nonzero().flatten() for axis in (0, 1))
        reach[0] = max(reach[0], gap - int(rows[0]), int(rows[-1]) - gap - 1)
        reach[1] = max(reach[1], column - int(columns[0]), int(columns[-1]) - column)
    assert reach[0] == axial
    assert lateral - stride < reach[1] <= lateral


def test_a_row_or_column_beyond_the_halo_changes_nothing_and_within_it_something():
    network, gap, column = trained_like().double(), 12, 120
    rows = torch.rand(1, 26, 240, dtype=torch.float64)

    def change(row: int, at: int) -> float:
        touched = rows.clone()
        touched[0, row, at] += 1
        outputs = [
            network(r, DEPTHS.double(), GAP.double())[0, gap, :, column] for r in (rows, touched)
        ]
        return float((outputs[0] - outputs[1]).abs().max())

    with torch.no_grad():
        for far in (gap - network.axial_halo - 1, gap + network.axial_halo + 2):
            assert change(far, column) == 0
        for far in (column - network.lateral_halo - 1, column + network.lateral_halo + 1):
            assert change(gap, far) == 0
        for row in (gap - 1, gap, gap + 1, gap + 2):
            assert change(row, column - 5) > 1e-6


def test_rows_are_put_in_their_places():
    rows = torch.arange(12.0).reshape(1, 4, 3) * 10
    depths = torch.tensor([[1 / 3, 2 / 3]])
    whole = interleave_rows(rows, linear_rows(rows, depths))
    assert whole.shape == (1, 10, 3)
    assert torch.equal(whole[:, ::3], rows)
    torch.testing.assert_close(whole[0, :, 0], torch.arange(10.0) * 10)
