"""One XZ or YZ slice: what the final result is made of, and nothing else read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_d2r.errors import InputError
from napari_d2r.inference import (
    Box,
    Interrupted,
    LateralPredictor,
    fill_shard,
    predict_slice,
)
from napari_d2r.jobs import CancelToken
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume, VoxelSize

SHAPE = (11, 60, 70)
RANGE = IntensityRange(-0.1, 1.2)
Y, X = 23, 31


@pytest.fixture(scope="module")
def volume() -> Volume:
    values = np.random.default_rng(0).random(SHAPE, np.float32)
    return Volume(values, VoxelSize(40, 10, 10), "noise")


def both(volume: Volume, grid: AxialGrid, predictor: LateralPredictor, **part: Any) -> list[Any]:
    return [
        predict_slice(volume, grid, predictor, orientation, index, intensity=RANGE, gap=4, **part)
        for orientation, index in (("XZ", Y), ("YZ", X))
    ]


@pytest.mark.parametrize("factor", [4.0, 2.7])
def test_both_directions_average_to_the_result(
    lateral: LateralPredictor, volume: Volume, factor: float
) -> None:
    grid = AxialGrid(SHAPE[0], factor)
    box = Box((0, 0, 0), (grid.num_output, *SHAPE[1:]))
    whole = fill_shard(volume, grid, box, lateral, RANGE, 4, torch.device("cpu"))
    xz, yz = both(volume, grid, lateral)
    assert (xz.shape, yz.shape) == ((grid.num_output, 70), (grid.num_output, 60))
    average = (xz[:, X] + yz[:, Y]) / 2
    np.testing.assert_allclose(average, whole[:, Y, X], atol=2e-5)
    assert np.abs(xz[:, X] - yz[:, Y]).max() > 0.01  # each has its own opinion
    positions = grid.positions()
    measured = positions == np.rint(positions)
    kept = positions[measured].astype(int)
    assert np.array_equal(xz[measured], volume.data[kept, Y])
    assert np.array_equal(yz[measured], volume.data[kept, :, X])


@pytest.mark.parametrize("factor", [4.0, 2.7])
@pytest.mark.parametrize(
    "rows", [slice(0, 1), slice(4, 5), slice(6, 7), slice(9, 22), slice(22, None)]
)
def test_a_part_is_that_part_of_the_whole(
    lateral: LateralPredictor, volume: Volume, factor: float, rows: slice
) -> None:
    grid = AxialGrid(SHAPE[0], factor)
    columns = slice(17, 44)
    wholes = both(volume, grid, lateral)
    parts = both(volume, grid, lateral, rows=rows, columns=columns)
    for part, whole in zip(parts, wholes, strict=True):
        assert part.shape == whole[rows, columns].shape
        np.testing.assert_allclose(part, whole[rows, columns], atol=2e-5)


def test_it_keeps_the_dtype_and_reads_one_slice_only(lateral: LateralPredictor) -> None:
    reads = []

    class Recorder:
        def __init__(self, values: np.ndarray) -> None:
            self.values, self.shape, self.dtype = values, values.shape, values.dtype

        def __getitem__(self, key: Any) -> np.ndarray:
            reads.append(self.values[key].shape)
            return self.values[key]

    grey = np.random.default_rng(0).integers(0, 60_000, SHAPE).astype(np.uint16)
    volume = Volume(Recorder(grey), VoxelSize(40, 10, 10))
    grid = AxialGrid(SHAPE[0], 4)
    found = predict_slice(
        volume, grid, lateral, "YZ", X, intensity=IntensityRange(0, 60_000), gap=4
    )
    assert found.dtype == np.uint16
    assert np.array_equal(found[::4], grey[:, :, X])
    assert {shape[2] for shape in reads} == {1}


@pytest.mark.parametrize(
    ("orientation", "index", "part"),
    [
        ("XZ", 60, {}),
        ("YZ", -1, {}),
        ("XZ", 0, {"columns": slice(70, 80)}),
        ("XZ", 0, {"rows": slice(41, 50)}),
    ],
)
def test_what_is_not_there_is_refused(
    lateral: LateralPredictor, volume: Volume, orientation: Any, index: int, part: Any
) -> None:
    grid = AxialGrid(SHAPE[0], 4)
    with pytest.raises(InputError, match=f"no {orientation} slice {index}"):
        predict_slice(volume, grid, lateral, orientation, index, intensity=RANGE, gap=4, **part)


def test_a_stale_request_can_be_dropped(lateral: LateralPredictor, volume: Volume) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Interrupted):
        both(volume, AxialGrid(SHAPE[0], 4), lateral, cancel=cancel)
