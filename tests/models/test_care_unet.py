"""The lateral U-Net of CARE: any depth in its place, exact reach, tiles that agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_d2r.inference import Box, LateralPredictor, fill_shard
from napari_d2r.models import CareUNet, CareUNetConfig, linear_rows
from napari_d2r.volumes import Degradation, IntensityRange, Volume, VoxelSize

SMALL = CareUNetConfig(width=3)
HALVES = torch.tensor([[0.125, 0.375, 0.625, 0.875]])


def trained_like(config: CareUNetConfig = SMALL) -> CareUNet:
    """Random weights, with an output that is large enough to be seen."""
    torch.manual_seed(0)
    network = CareUNet(config)
    torch.nn.init.normal_(network.ending.weight, std=2)
    return network.eval()


@pytest.mark.parametrize("width", [1, 7, 16, 33])
@pytest.mark.parametrize(("num_rows", "num_depths"), [(2, 1), (3, 7), (9, 15)])
def test_any_width_any_rows_any_depths(width, num_rows, num_depths):
    depths = torch.linspace(0, 1, num_depths)[None]
    with torch.no_grad():
        out = trained_like()(torch.rand(2, num_rows, width), depths, torch.tensor(3.0))
    assert out.shape == (2, num_rows - 1, num_depths, width)
    assert torch.isfinite(out).all()


def test_it_is_a_residual_on_linear_and_restores_measured_rows():
    network, rows = trained_like(), torch.rand(2, 5, 24)
    depths = torch.arange(9)[None] / 8
    with torch.no_grad():
        out = network(rows, depths, torch.tensor(3.0))
        torch.nn.init.zeros_(network.ending.weight)
        base = network(rows, depths, torch.tensor(3.0))
    torch.testing.assert_close(base, linear_rows(rows, depths))
    assert float((out - base).abs().min(dim=-1).values[:, :, [0, 8]].max()) > 1e-3
    torch.testing.assert_close(out[:, :-1, 8], out[:, 1:, 0])  # one row, asked for twice


@pytest.mark.parametrize("gap", [4, 8, 12])
def test_each_depth_alone_is_what_it_is_among_others(gap):
    network, rows = trained_like(), torch.rand(1, 4, 12)
    log2_gap = torch.tensor(np.log2(gap), dtype=torch.float32)
    depths = torch.arange(gap + 1)[None] / gap
    with torch.no_grad():
        together = network(rows, depths, log2_gap)
        for m in (1, gap // 2, gap):
            alone = network(rows, depths[:, m : m + 1], log2_gap)
            torch.testing.assert_close(alone[:, :, 0], together[:, :, m])
        spelt_out = network(rows, depths.expand(3, -1), log2_gap)
    torch.testing.assert_close(spelt_out, together)


def test_slices_between_rows_are_not_interpolated():
    """Means over four: their grid begins half a row on, where the network looks, too."""
    network, rows = trained_like(), torch.rand(1, 4, 12)
    with torch.no_grad():
        at_halves = network(rows, HALVES, torch.tensor(2.0)) - linear_rows(rows, HALVES)
        at_rows = torch.arange(5)[None] / 4
        whole = network(rows, at_rows, torch.tensor(2.0)) - linear_rows(rows, at_rows)
    averaged = (whole[:, :, :-1] + whole[:, :, 1:]) / 2
    assert float((at_halves - averaged).abs().max()) > 1e-3


def test_the_reach_is_exact():
    """Nothing beyond the halo changes a row or a column, and something just within does."""
    config = CareUNetConfig(width=3)
    network = trained_like(config)
    for parameter in network.parameters():
        parameter.data.abs_()  # nothing is cut off: whatever can count does
    reach = network.lateral_halo
    rows = torch.rand(1, 2, 4 * reach)
    depths, gap = torch.tensor([[0.5]]), torch.tensor(2.0)

    def changed(column: int) -> np.ndarray:
        other = rows.clone()
        other[..., column] += 3
        with torch.no_grad():
            difference = network(other, depths, gap) - network(rows, depths, gap)
        return np.flatnonzero(difference[0, 0, 0].numpy())

    touched = [np.abs(changed(2 * reach + k) - (2 * reach + k)).max() for k in range(4)]
    assert max(touched) <= reach
    assert max(touched) > reach - 6


@pytest.mark.parametrize("factor", [4, 3, 2.727])
@pytest.mark.parametrize(
    "how", [Degradation(), Degradation("gaussian", 1.0), Degradation("block")], ids=lambda d: d.kind
)
def test_many_boxes_equal_the_whole(how, factor):
    volume = Volume(np.random.default_rng(0).random((24, 9, 44), np.float32), VoxelSize(4, 1, 1))
    predictor = LateralPredictor(trained_like(CareUNetConfig(width=3, levels=1)))
    grid = how.grid(24, factor)

    def fill(*box: tuple[int, int]) -> np.ndarray:
        starts, stops = zip(*box, strict=True)
        return fill_shard(
            volume,
            grid,
            Box(starts, stops),
            predictor,
            IntensityRange(0, 1),
            factor,
            torch.device("cpu"),
        )

    whole = fill((0, grid.num_output), (0, 9), (0, 44))
    for z, x in (((0, 13), (0, 17)), ((13, 30), (17, 44)), ((30, grid.num_output), (5, 30))):
        part = fill(z, (0, 9), x)
        np.testing.assert_allclose(part, whole[slice(*z), :, slice(*x)], rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"kernel": 4}, {"levels": 0}])
def test_sizes_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="kernels are odd"):
        CareUNetConfig(**wrong)
