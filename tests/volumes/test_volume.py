"""Volumes and voxel sizes: what is taken and what is refused, in words."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import zarr

from napari_d2r.errors import InputError
from napari_d2r.volumes import SUPPORTED_DTYPES, Volume, VoxelSize, centred_box

SIZE = VoxelSize(80, 10, 10)


def test_voxel_size_is_read_from_text():
    assert VoxelSize.parse("80, 10,5.5") == VoxelSize(80, 10, 5.5)


@pytest.mark.parametrize("text", ["", "80", "80,10", "80,10,10,1", "80,ten,10", "80;10;10"])
def test_text_that_is_no_voxel_size_is_quoted(text):
    with pytest.raises(InputError, match="Z,Y,X in nm, such as 80,10,10") as caught:
        VoxelSize.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["0,10,10", "80,-10,10", "80,10,nan", "inf,10,10"])
def test_voxels_have_positive_finite_edges(text):
    with pytest.raises(InputError, match="three positive numbers in nm"):
        VoxelSize.parse(text)


def test_anisotropy_is_taken_against_the_finer_lateral_axis():
    tilted = VoxelSize(40, 10, 8)
    assert tilted.lateral == 8
    assert tilted.anisotropy == 5
    assert not tilted.has_square_pixels
    assert VoxelSize(40, 10, 10.04).has_square_pixels
    assert tilted.with_upscale(5) == VoxelSize(8, 10, 8)
    assert str(tilted) == "40 x 10 x 8 nm (z, y, x)"


@pytest.mark.parametrize("dtype", SUPPORTED_DTYPES)
def test_supported_types_are_taken(dtype):
    volume = Volume(np.zeros((4, 5, 6), dtype), SIZE)
    assert (volume.shape, volume.dtype, volume.num_channels) == ((4, 5, 6), np.dtype(dtype), None)


@pytest.mark.parametrize("dtype", ["bool", "int32", "uint32", "int64", "complex64"])
def test_other_types_are_named(dtype):
    with pytest.raises(InputError, match=rf"a\.tif holds {dtype} values; convert it"):
        Volume(np.zeros((4, 5, 6), dtype), SIZE, "a.tif")


@pytest.mark.parametrize("shape", [(5,), (5, 6), (2, 2, 4, 5, 6)])
def test_an_image_is_not_a_volume(shape):
    with pytest.raises(InputError, match=rf"a\.tif has {len(shape)} axes .*needs three"):
        Volume(np.zeros(shape, np.uint8), SIZE, "a.tif")


def test_channels_come_first_and_are_refused_where_grey_is_needed():
    data = np.arange(2 * 4 * 5 * 6, dtype=np.uint8).reshape(2, 4, 5, 6)
    volume = Volume(data, SIZE, "a.tif")
    assert volume.shape == (4, 5, 6)
    assert volume.num_channels == 2
    np.testing.assert_array_equal(volume.read(slice(1, 3), x=slice(2, 4)), data[:, 1:3, :, 2:4])
    with pytest.raises(InputError, match="2 channels; choose one with --channel"):
        volume.require_single_channel()
    Volume(data[0], SIZE).require_single_channel()


def test_too_few_slices_are_counted():
    with pytest.raises(InputError, match=r"a\.tif has 3 slices along Z; at least 4"):
        Volume(np.zeros((3, 5, 6), np.uint8), SIZE, "a.tif").require_slices()
    Volume(np.zeros((4, 5, 6), np.uint8), SIZE).require_slices()


def test_a_box_is_read_from_arrays_on_disk(tmp_path):
    data = np.random.default_rng(0).integers(0, 255, (6, 9, 8)).astype(np.uint8)
    stored = zarr.create_array(tmp_path / "a.zarr", data=data, chunks=(2, 4, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        arrays = [data, stored, file.create_dataset("raw", data=data)]
        for array in arrays:
            box = Volume(array, SIZE).read(slice(1, 5), slice(3, 9), slice(0, 2))
            assert isinstance(box, np.ndarray)
            np.testing.assert_array_equal(box, data[1:5, 3:9, :2])


def test_the_central_box():
    assert centred_box((10, 7, 3), (4, 7, 5)) == (slice(3, 7), slice(0, 7), slice(0, 3))
