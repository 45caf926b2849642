"""Every gap is predicted as wide as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_d2r.inference import (
    Box,
    FallbackPredictor,
    GapRequest,
    InterpolationPredictor,
    LateralPredictor,
    fill_shard,
    log2_of,
    predict_slice,
)
from napari_d2r.volumes import IntensityRange, Volume, VoxelSize, uneven_grid

WIDTHS = (6.0, 9.0, 4.0, 7.0, 10.0, 6.0, 5.0)
DEPTHS = torch.tensor([[0.25, 0.5], [0.1, 0.7], [0.5, 0.9]])
CPU = torch.device("cpu")


@pytest.fixture
def slab() -> torch.Tensor:
    return torch.rand(8, 24, 20, generator=torch.Generator().manual_seed(0))


def test_a_gap_is_predicted_as_among_gaps_of_its_width(regressor, slab):
    found = regressor.predict(slab, GapRequest(2, DEPTHS, log2_of(7), widths=WIDTHS))
    assert found.shape == (3, 2, 24, 20)
    for k in range(3):
        alike = GapRequest(2, DEPTHS, log2_of(WIDTHS[2 + k]))
        torch.testing.assert_close(found[k], regressor.predict(slab, alike)[k], rtol=0, atol=1e-5)
    mean = regressor.predict(slab, GapRequest(2, DEPTHS, log2_of(7)))
    assert (found[0] - mean[0]).abs().max() > 1e-3  # or the widths would not matter


def test_equal_widths_are_an_even_stack(regressor, slab):
    even = regressor.predict(slab, GapRequest(2, DEPTHS, log2_of(7)))
    uneven = regressor.predict(slab, GapRequest(2, DEPTHS, log2_of(7), widths=(7.0,) * 7))
    torch.testing.assert_close(uneven, even, rtol=0, atol=1e-6)


def test_beyond_a_damaged_gap_widths_go_with_their_gaps(regressor, slab):
    both = FallbackPredictor(regressor, InterpolationPredictor("linear"), [2])
    found = both.predict(slab, GapRequest(2, DEPTHS, log2_of(7), widths=WIDTHS))
    rest = GapRequest(0, DEPTHS[1:], log2_of(7), widths=WIDTHS[3:])
    torch.testing.assert_close(found[1:], regressor.predict(slab[3:], rest))


def test_shards_agree_with_the_whole_and_measured_slices_stay(regressor):
    values = np.random.default_rng(0).integers(0, 255, (8, 40, 36)).astype(np.uint8)
    grid = uneven_grid(np.concatenate([[0], np.cumsum(WIDTHS)]), 47 / 7)
    volume, grey = Volume(values, VoxelSize(470 / 7, 10, 10)), IntensityRange(0, 255)

    def filled(start, stop):
        box = Box((start, 0, 0), (stop, 40, 36))
        return fill_shard(volume, grid, box, regressor, grey, 47 / 7, CPU).astype(int)

    whole = filled(0, 48)
    np.testing.assert_array_equal(whole[[0, 6, 15, 19, 26, 36, 42, 47]], values)
    parts = np.concatenate([filled(0, 13), filled(13, 14), filled(14, 48)])
    assert np.abs(parts - whole).max() <= 1  # sums of floats in another order
    if isinstance(regressor, LateralPredictor):
        regressor.direction = "xz"
        alone = predict_slice(volume, grid, regressor, "XZ", 9, intensity=grey, gap=47 / 7)
        assert np.abs(filled(0, 48)[:, 9] - alone).max() <= 1
