"""A shard that does not fit into memory comes out the same, in parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_d2r.inference import (
    AxialPredictor,
    Box,
    GapRequest,
    begin_shard,
    fill_in_parts,
    is_out_of_memory,
)
from napari_d2r.jobs import CancelToken
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume, VoxelSize

SHAPE = (6, 150, 120)
GRID = AxialGrid(6, 4)
BOX = Box((0, 0, 0), (GRID.num_output, *SHAPE[1:]))
_MOST_RETRIES = 6
ON_CPU = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


class Cramped:
    """Raises for slabs with more than so many lateral pixels."""

    def __init__(self, predictor: AxialPredictor, pixels: int, error: Exception) -> None:
        self.predictor, self.pixels, self.error = predictor, pixels, error
        self.halo, self.refused = predictor.halo, 0

    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        if slab[0].numel() > self.pixels:
            self.refused += 1
            raise self.error
        return self.predictor.predict(slab, request, cancel)


def begin(predictor: AxialPredictor, box: Box) -> Callable[[], np.ndarray]:
    values = np.random.default_rng(0).random(SHAPE, np.float32)
    volume = Volume(values, VoxelSize(40, 10, 10))
    return begin_shard(volume, GRID, box, predictor, IntensityRange(0, 1), 4, torch.device("cpu"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ON_CPU,
        RuntimeError("[enforce fail] not enough memory: you tried to allocate 9 bytes."),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 bytes."),
    ],
)
def test_parts_are_the_whole(regressor: AxialPredictor, error: Exception) -> None:
    cramped = Cramped(regressor, 120 * 110, error)
    parts, edge = fill_in_parts(lambda box: begin(cramped, box), BOX)
    np.testing.assert_allclose(parts(), begin(regressor, BOX)(), atol=0.5 / 255)
    assert 0 < cramped.refused <= _MOST_RETRIES
    assert edge == 75
    tried = cramped.refused
    again, edge = fill_in_parts(lambda box: begin(cramped, box), BOX, edge)
    assert (edge, cramped.refused) == (75, tried)  # nothing is tried in vain twice
    assert np.array_equal(again(), parts())


def test_quarters_of_quarters(regressor: AxialPredictor) -> None:
    around = 2 * regressor.halo.lateral + regressor.halo.stride
    cramped = Cramped(regressor, (38 + around) * (32 + around), MemoryError())
    parts, edge = fill_in_parts(lambda box: begin(cramped, box), BOX)
    np.testing.assert_allclose(parts(), begin(regressor, BOX)(), atol=0.5 / 255)
    assert edge is not None
    assert edge <= 75
    assert 0 < cramped.refused <= _MOST_RETRIES


def test_where_nothing_fits_the_error_rises(regressor: AxialPredictor) -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        fill_in_parts(lambda box: begin(Cramped(regressor, 0, ON_CPU), box), BOX)


def test_other_errors_rise_at_once(regressor: AxialPredictor) -> None:
    cramped = Cramped(regressor, 0, RuntimeError("mat1 and mat2 must have the same dtype"))
    with pytest.raises(RuntimeError, match="same dtype"):
        fill_in_parts(lambda box: begin(cramped, box), BOX)
    assert cramped.refused == 1
    assert not is_out_of_memory(ValueError("out of memory"))
