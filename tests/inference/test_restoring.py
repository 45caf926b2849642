"""Slices that are blurred: restored where they were measured, in place, however it is cut."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from napari_d2r.inference import (
    Box,
    DiffusionPredictor,
    GapRequest,
    Halo,
    InterpolationPredictor,
    LateralPredictor,
    fill_shard,
    leave_one_out,
    measured_again,
    predict_slice,
)
from napari_d2r.jobs import SamplerSettings
from napari_d2r.models import build_network
from napari_d2r.volumes import Degradation, IntensityRange, Volume, VoxelSize

UNIT = IntensityRange(0, 1)
CPU = torch.device("cpu")
BLURRED = [Degradation("gaussian", 1.5), Degradation("block")]


@pytest.fixture(scope="module")
def restorer() -> LateralPredictor:
    torch.manual_seed(0)
    options = {"widths": [6, 8], "blocks": [1, 1], "restores_measured": True}
    network = build_network("lateral", options)
    torch.nn.init.normal_(network.head.generate.weight, std=0.2)
    return LateralPredictor(network)


@pytest.mark.parametrize("factor", [4, 3, 2.727])
@pytest.mark.parametrize("how", BLURRED, ids=lambda how: how.kind)
def test_many_boxes_and_single_slices_equal_the_whole(restorer, how, factor):
    volume = Volume(np.random.default_rng(0).random((9, 12, 16), np.float32), VoxelSize(4, 1, 1))
    grid = how.grid(9, factor)

    def fill(start: int, stop: int) -> np.ndarray:
        box = Box((start, 0, 0), (stop, 12, 16))
        return fill_shard(volume, grid, box, restorer, UNIT, factor, CPU)

    whole = fill(0, grid.num_output)
    at_measured = grid.positions() % 1 == 0
    measured = volume.data[grid.positions()[at_measured].astype(int)]
    assert not np.isclose(whole[at_measured], measured, atol=1e-3).all(axis=(1, 2)).any()
    parts = [fill(start, min(start + 7, len(whole))) for start in range(0, len(whole), 7)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-5)

    one, other = (
        predict_slice(volume, grid, restorer, plane, 5, intensity=UNIT, gap=factor)
        for plane in ("XZ", "YZ")
    )
    crossing = (one[:, 5] + other[:, 5]) / 2  # the result is the mean of both directions
    np.testing.assert_allclose(crossing, whole[:, 5, 5], rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", BLURRED, ids=lambda how: how.kind)
def test_a_diffusion_sample_of_blurred_slices_is_free_of_them(how):
    """A denoiser that knows the truth puts it where it belongs, measured rows included."""
    truth = np.random.default_rng(0).random((33, 10, 12)).astype(np.float32)
    stack, first = how.simulate(truth, 4), how.first(4)
    grid = how.grid(len(stack), 4)
    wanted = truth[first : first + grid.num_output]

    class Oracle(DiffusionPredictor):
        def _denoiser(self):
            lateral = {
                n: torch.from_numpy(np.moveaxis(wanted, k, 0)) for k, n in ((1, 10), (2, 12))
            }
            return lambda x, mu, t: lateral[len(x)][:, None]

    torch.manual_seed(0)
    network = build_network("nafnet", {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]})
    predictor = Oracle(network, SamplerSettings(steps=2), degradation=how)
    box = Box((0, 0, 0), (grid.num_output, 10, 12))
    volume = Volume(stack, VoxelSize(4, 1, 1))
    found = fill_shard(volume, grid, box, predictor, UNIT, 4, CPU)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@dataclass(frozen=True)
class Known:
    """A predictor that knows the volume, one voxel apart."""

    truth: torch.Tensor
    gap: int
    phase: float
    halo: Halo = field(default_factory=Halo)

    def predict(self, slab, request, cancel=None):
        gaps = torch.arange(len(request.depths))[:, None] + request.first
        width = 2**request.log2_gap
        place = (gaps + request.depths) * width + request.origin[0] * self.gap + self.phase
        return self.truth[place.round().long()]


@pytest.mark.parametrize("how", BLURRED, ids=lambda how: how.kind)
def test_a_perfect_result_measured_again_is_what_was_measured(how):
    truth = np.random.default_rng(0).random((64, 4, 4)).astype(np.float32)
    measured = torch.from_numpy(how.simulate(truth, 4))
    # Leaving every other slice out, the rest stand 8 apart.
    known = Known(torch.from_numpy(truth), 4, how.phase(4))
    request = GapRequest(0, torch.full((5, 1), 0.5), 3.0)
    found = measured_again(known, how, 4).predict(measured[::2], request)[:, 0]
    wanted = measured[1:10:2]
    inner = slice(1, None)  # the first slice was measured at the end of the volume
    tails = 0.01 if how.kind == "gaussian" else 1e-6
    assert float((found - wanted)[inner].abs().max()) < tails
    sharp = known.predict(measured[::2], request)[:, 0]
    assert float((sharp - wanted)[inner].abs().max()) > 0.2


def test_samples_are_not_measured_again():
    linear = InterpolationPredictor("linear")
    assert measured_again(linear, Degradation(), 4) is linear


def test_leave_one_out_compares_blurred_with_blurred():
    """A predictor that is right gains much; sharp slices against blurred ones would lose."""
    how = Degradation("gaussian", 1.5)
    rng = np.random.default_rng(0)
    truth = rng.random((64, 12, 12)).astype(np.float32)
    measured = torch.from_numpy(how.simulate(truth, 4))

    class Whole(Known):
        def predict(self, slab, request, cancel=None):
            parity = 0 if torch.equal(slab[0], measured[0]) else 1
            there = GapRequest(0, request.depths, request.log2_gap, (parity, 0, 0))
            return super().predict(slab, there, cancel)

    known = Whole(torch.from_numpy(truth), 4, 0.0)
    assert leave_one_out(measured_again(known, how, 4), measured, 4).gain_db > 10
    assert leave_one_out(known, measured, 4).gain_db < 0
