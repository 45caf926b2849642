"""A region of a volume: the same voxels, read when they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zarr

from napari_d2r.errors import InputError
from napari_d2r.volumes import Volume, VoxelSize, crop

VALUES = np.arange(10 * 12 * 14, dtype=np.uint16).reshape(10, 12, 14)
BOX = (slice(2, 9), slice(None), slice(-5, None))
EXPECTED = VALUES[BOX]
SIZE = VoxelSize(40, 10, 12)


@pytest.mark.parametrize(
    "key",
    [
        (slice(None), slice(None), slice(None)),
        (slice(1, 3), slice(4, 100), slice(0, 0)),
        (slice(None), slice(None, None, 3), slice(-2, None)),
        0,
        (-1, 2),
        (Ellipsis, 1),
    ],
)
@pytest.mark.parametrize("wrap", [np.asarray, zarr.array])
def test_it_is_indexed_like_the_region(key: Any, wrap: Any) -> None:
    region = crop(Volume(wrap(VALUES), SIZE, "all"), BOX)
    assert (region.shape, region.dtype, region.voxel_size) == (EXPECTED.shape, np.uint16, SIZE)
    assert np.array_equal(region.data[key], EXPECTED[key])
    inner = crop(region, (slice(1, 6), slice(3, 9), slice(1, 4)))
    assert np.array_equal(inner.read(), EXPECTED[1:6, 3:9, 1:4])


def test_it_can_be_read_backwards() -> None:
    for key in (np.s_[::-2], np.s_[4::-1, ::-1, 3:0:-1]):
        assert np.array_equal(crop(Volume(VALUES, SIZE), BOX).data[key], EXPECTED[key])


def test_nothing_else_is_read_and_channels_stay() -> None:
    reads = []

    class Recorder:
        shape, dtype = (2, *VALUES.shape), VALUES.dtype

        def __getitem__(self, key: Any) -> np.ndarray:
            reads.append(key)
            return np.stack([VALUES, VALUES + 1])[key]

    region = crop(Volume(Recorder(), SIZE), BOX)
    assert reads == []
    assert region.num_channels == 2
    assert np.array_equal(region.read(z=slice(0, 1))[1], EXPECTED[:1] + 1)
    assert reads == [(slice(0, 2, 1), slice(2, 3, 1), slice(0, 12, 1), slice(9, 14, 1))]


@pytest.mark.parametrize("part", [slice(3, 3), slice(8, 30), slice(20, 30), slice(0, 8, 2)])
def test_a_region_outside_is_refused(part: slice) -> None:
    with pytest.raises(InputError, match="along y does not fit the 12 voxels of all"):
        crop(Volume(VALUES, SIZE, "all"), (slice(None), part, slice(None)))
