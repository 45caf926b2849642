"""Half-widths: what they are made of, that tiles agree, and that the scale holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_d2r.checkpoints import bundled_model, load_model
from napari_d2r.inference import (
    LINEAR_FEATURES,
    AxialPredictor,
    Box,
    GapRequest,
    InterpolationPredictor,
    IntervalPredictor,
    calibrate,
    fill_shard,
    interval_features,
    log2_of,
    predictor_for,
)
from napari_d2r.metrics import IntervalShape, coverage
from napari_d2r.models import architecture_named
from napari_d2r.samples import make_phantom
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume, VoxelSize

GAP = 4
RISING = ([-8.0, 2.0], [0.0, 2.0])
LINEAR_SHAPE = IntervalShape(0.9, -8.0, dict.fromkeys(sorted(LINEAR_FEATURES), RISING))
SHAPE = IntervalShape(
    0.9,
    -10.0,
    LINEAR_SHAPE.curves
    | dict.fromkeys(("disagreement", "disagreement around", "left-out error"), RISING),
)


def predictor(role: str) -> AxialPredictor:
    model = load_model(bundled_model(role))
    contract = architecture_named(model.card.architecture).contract
    return predictor_for(model.network, contract)


@pytest.fixture(scope="module")
def stack() -> Volume:
    measured = make_phantom((33, 96, 96), seed=3)[::GAP]
    return Volume(np.ascontiguousarray(measured), VoxelSize(40, 10, 10))


def half_widths(stack: Volume, box: Box, made_by: AxialPredictor, intensity: IntensityRange):
    grid = AxialGrid(stack.shape[0], GAP)
    return fill_shard(
        stack, grid, box, made_by, intensity, GAP, torch.device("cpu"), half_widths=True
    )


@pytest.mark.parametrize("role", ["student", "prior"])
def test_a_tile_has_the_half_widths_of_the_whole(stack: Volume, role: str) -> None:
    made_by, intensity = IntervalPredictor(predictor(role), SHAPE), IntensityRange.of(stack)
    whole = half_widths(stack, Box((0, 0, 0), (33, 96, 96)), made_by, intensity)
    part = half_widths(stack, Box((13, 40, 16), (25, 72, 60)), made_by, intensity)
    assert np.abs(whole[13:25, 40:72, 16:60].astype(int) - part).max() <= 1


def test_measured_slices_have_none_and_grey_levels_are_the_volume_s(stack: Volume) -> None:
    made_by = IntervalPredictor(InterpolationPredictor("linear"), LINEAR_SHAPE)
    box = Box((0, 0, 0), (9, 96, 96))
    narrow = half_widths(stack, box, made_by, IntensityRange(0, 200))
    assert narrow.dtype == stack.dtype
    assert not narrow[::GAP].any()
    assert narrow[1:GAP].all()
    wide = half_widths(
        Volume(stack.data.astype(np.uint16) * 100, stack.voxel_size),
        box,
        made_by,
        IntensityRange(0, 20_000),
    )
    np.testing.assert_allclose(wide / 100, narrow, atol=0.51)


def test_transposed_slices_get_the_same_disagreement() -> None:
    slab = torch.rand(5, 24, 24)
    request = GapRequest(1, torch.tensor([[0.25, 0.5]]), log2_of(GAP))
    student = predictor("student")
    (_, one), *_ = interval_features(student, slab, request)
    (_, other), *_ = interval_features(student, slab.transpose(1, 2).contiguous(), request)
    for name in ("gradient", "difference", "disagreement", "disagreement around"):
        np.testing.assert_allclose(
            one[name], other[name].transpose(0, 2, 1), atol=1e-5, err_msg=name
        )
    assert one["disagreement"].max() > 1e-3


def test_the_error_of_left_out_slices_is_seen_where_it_is() -> None:
    slab = torch.zeros(8, 64, 64)
    slab[4, 30:34, 30:34] = 1  # in one slice alone: nobody could have known
    request = GapRequest(0, torch.full((7, 1), 0.5), log2_of(GAP))
    seen = [
        features["left-out error"][0]
        for _, features in interval_features(predictor("student"), slab, request)
    ]
    assert seen[4][32, 32] > 0.05
    assert seen[4][32, 32] > 3 * seen[4][2, 2]
    assert seen[4][32, 32] > 3 * seen[0][32, 32]


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_the_scale_holds_its_share_of_the_errors_of_left_out_slices(noise: float) -> None:
    rng = np.random.default_rng(0)
    truth = np.cumsum(rng.normal(0, 0.05, (12, 48, 48)), axis=0)
    stack = torch.from_numpy((truth + rng.normal(0, noise, truth.shape)).astype(np.float32))
    linear = InterpolationPredictor("linear")
    scale = calibrate(linear, LINEAR_SHAPE, stack, GAP)
    request = GapRequest(0, torch.full((5, 1), 0.5), log2_of(2 * GAP))
    widths = IntervalPredictor(linear, LINEAR_SHAPE, scale).predict(stack[::2], request)[:, 0]
    errors = (stack[::2][:-1] + stack[::2][1:]) / 2 - stack[1:-1:2]
    assert coverage(errors.numpy(), widths.numpy()) == pytest.approx(0.9, abs=0.01)


def test_slices_that_are_not_sound_do_not_count() -> None:
    rng = np.random.default_rng(0)
    stack = torch.from_numpy(rng.normal(0.5, 0.1, (9, 32, 32)).astype(np.float32))
    linear, sound = InterpolationPredictor("linear"), np.ones(9, bool)
    usual = calibrate(linear, LINEAR_SHAPE, stack, GAP)
    stack[4] = 40.0
    sound[3:6] = False
    assert calibrate(linear, LINEAR_SHAPE, stack, GAP) > 2 * usual
    assert calibrate(linear, LINEAR_SHAPE, stack, GAP, sound) == pytest.approx(usual, rel=0.1)


@pytest.mark.parametrize("num_slices", [2, 3, 4])
def test_few_slices_are_enough(num_slices: int) -> None:
    request = GapRequest(0, torch.full((num_slices - 1, 1), 0.5), log2_of(GAP))
    made_by = IntervalPredictor(predictor("student"), SHAPE)
    widths = made_by.predict(torch.rand(num_slices, 24, 24), request)
    assert bool(torch.isfinite(widths).all())
    assert float(widths.min()) > 0
