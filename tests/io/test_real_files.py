"""Every reader on files that other programs wrote."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume, probe
from napari_d2r.volumes import VoxelSize

# path, channel, time, shape, dtype, voxel size (z, y, x) in nm as the README of the data says
FILES = [
    ("fib25/fib25_training_sample1.tif", {}, (250, 250, 250), "uint8", (10, 10, 10)),
    ("epfl/epfl_train_crop.tif", {}, (145, 512, 512), "uint8", (5, 5, 5)),
    ("vnc_sstem/vnc_stack2_crop.tif", {}, (20, 768, 768), "uint8", (47.5, 4.6, 4.6)),
    ("isbi2012/isbi2012_train.tif", {}, (30, 512, 512), "uint8", (50, 4, 4)),
    ("light/xyz_8bit__nuclei_autothresh.tif", {}, (37, 118, 132), "uint8", (4000, 829, 829)),
    ("light/xyz_8bit__chromosomes.tif", {}, (40, 152, 126), "uint16", (150, 33.85, 33.85)),
    (
        "io/neubias/xyz_8bit_calibrated_anisotropic__mri_head.tif",
        {}, (27, 226, 186), "uint8", (7e6, 5e5, 5e5),
    ),
    ("light/sample_ovule.h5:/raw", {}, (32, 128, 128), "uint8", (235, 150, 150)),
    ("light/ovule_1135.h5:raw", {}, (100, 100, 100), "uint8", (283.7, 126.8, 126.8)),
    ("io/mrcfile/EMD-3001.map", {}, (73, 25, 43), "float32", (0.045875, 0.03925, 0.044825)),
    ("io/mrcfile/EMD-3001.map.bz2", {}, (73, 25, 43), "float32", (0.045875, 0.03925, 0.044825)),
    ("io/mrcfile/emd_3001.map.gz", {}, (73, 25, 43), "float32", (0.045875, 0.03925, 0.044825)),
    ("io/mrcfile/EMD-3197.map", {}, (20, 20, 20), "float32", (1.14, 1.14, 1.14)),
    (
        "io/ez_zarr/example_data_zarr3/6001240_labels_v0.5.zarr",
        {"channel": 1}, (236, 68, 67), "uint16", (500.2, 1441.6, 1441.6),
    ),
    (
        "io/ez_zarr/example_data_5d/tubhiswt4D_sub.zarr",
        {"time": 2}, (2, 512, 512), "uint8", (1000, 1000, 1000),
    ),
    (
        "io/ez_zarr/example_data_5d/tubhiswt4D_sub.zarr/1",
        {"time": 0}, (2, 256, 256), "uint8", (1000, 2000, 2000),
    ),
    (
        "io/ome_zarr_examples/data/valid/image-03.zarr",
        {}, (2, 100, 100), "float64", (1000, 1000, 1000),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "choice", "shape", "dtype", "voxel_size"), FILES)
def test_shape_type_and_voxel_size(data_dir, name, choice, shape, dtype, voxel_size):
    volume = open_volume(f"{data_dir}/{name}", **choice)
    assert volume.data.shape == shape
    assert volume.dtype == dtype
    assert tuple(volume.voxel_size) == pytest.approx(voxel_size, rel=1e-3)
    middle = volume.read(z=slice(shape[0] // 2, shape[0] // 2 + 1))
    assert middle.shape == (1, *shape[1:])
    assert middle.min() < middle.max()


def test_tiff_is_read_from_disk_and_equals_tifffile(data_dir):
    path = data_dir / "vnc_sstem" / "vnc_stack2_crop.tif"
    volume = open_volume(path)
    assert not isinstance(volume.data, np.ndarray)
    box = volume.read(slice(3, 9), slice(100, 140), slice(0, 768, 5))
    np.testing.assert_array_equal(box, tifffile.imread(path)[3:9, 100:140, ::5])


def test_compressed_pages_equal_tifffile(data_dir):
    path = data_dir / "fib25" / "fib25_training_sample2_neurons.tif"
    volume = open_volume(path, voxel_size=VoxelSize(10, 10, 10))
    expected = tifffile.imread(path)
    np.testing.assert_array_equal(volume.read(slice(240, 250, 3)), expected[240:250:3])
    np.testing.assert_array_equal(volume.data[-1, 5], expected[-1, 5])


def test_png_folder_equals_the_tiff_made_from_it(data_dir):
    folder = open_volume(
        data_dir / "fib25" / "png" / "training_sample1", voxel_size=VoxelSize(10, 10, 10)
    )
    stack = open_volume(data_dir / "fib25" / "fib25_training_sample1.tif")
    np.testing.assert_array_equal(folder.read(slice(98, 103)), stack.read(slice(98, 103)))


def test_a_folder_without_voxel_size_asks_for_it_by_name(data_dir):
    with pytest.raises(InputError, match=r"has no voxel size; pass --voxel-size Z,Y,X in nm"):
        open_volume(data_dir / "io" / "neubias" / "xyz_8bit__em_volume_tiff_series")


def test_mrc_axes_are_permuted_as_the_header_says(data_dir):
    """Columns of EMD-3001 run along z, rows along x, sections along y."""
    stored = np.fromfile(data_dir / "io/mrcfile/EMD-3001.map", "<f4")[-25 * 43 * 73 :]
    stored = stored.reshape(25, 43, 73)  # y, x, z
    volume = open_volume(data_dir / "io/mrcfile/EMD-3001.map")
    np.testing.assert_array_equal(volume.read(), stored.transpose(2, 0, 1))
    assert volume.data[7, 3, 11] == stored[3, 11, 7]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("valid/plate-01.zarr", "is a plate of several images; pass one of them"),
        ("invalid/image-01.zarr", "zarr group that holds no image"),
        ("invalid/image-02.zarr", "multiscales is empty"),
        ("invalid/image-03.zarr", "names level '0', which is not there"),
        ("valid/image-01.zarr", "is a single 2D image"),
    ],
)
def test_ome_zarr_that_cannot_be_used(data_dir, name, sentence):
    with pytest.raises(InputError, match=sentence):
        open_volume(data_dir / "io/ome_zarr_examples/data" / name)


def test_axes_not_chosen(data_dir):
    zarrs = data_dir / "io" / "ez_zarr"
    with pytest.raises(InputError, match=r"channel axis of 2; choose one with --channel N"):
        open_volume(zarrs / "example_data_zarr3" / "6001240_labels_v0.5.zarr")
    with pytest.raises(InputError, match=r"time axis of 3; choose one with --time N"):
        open_volume(zarrs / "example_data_5d" / "tubhiswt4D_sub.zarr")
    with pytest.raises(InputError, match=r"no channel 2; --channel takes 0 to 1"):
        open_volume(zarrs / "example_data_zarr3" / "6001240_labels_v0.5.zarr", channel=2)


def test_hdf5_with_two_datasets_lists_them(data_dir):
    with pytest.raises(InputError, match=r"/label \(32, 128, 128\), /raw \(32, 128, 128\)"):
        open_volume(data_dir / "light" / "sample_ovule.h5")


def test_probe_describes_what_open_would_refuse(data_dir):
    info = probe(data_dir / "io/ez_zarr/example_data_zarr3/6001240_labels_v0.5.zarr")
    assert (info.format, info.axes, info.shape) == ("OME-Zarr 0.5", "CZYX", (2, 236, 68, 67))
    assert info.num_bytes == 2 * 236 * 68 * 67 * 2
    assert any("--channel" in note for note in info.notes)
    assert any("axial sampling is already finer" in note for note in info.notes)

    info = probe(data_dir / "io" / "neubias" / "xyz_8bit__em_volume_tiff_series")
    assert info.voxel_size is None
    assert any("--voxel-size" in note for note in info.notes)

    assert "x and y voxel sizes differ" in probe(data_dir / "io/mrcfile/EMD-3001.map").notes[0]
