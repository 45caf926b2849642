"""Folders of slices."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume, probe
from napari_d2r.io._folder import natural_key
from napari_d2r.volumes import VoxelSize

ANY = VoxelSize(8, 8, 8)


def level(value, shape=(6, 7), dtype=np.uint8):
    return np.full(shape, value, dtype)


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".png", ".PNG"])
def test_natural_order_in_a_folder_with_an_awkward_name(tmp_path, suffix):
    folder = tmp_path / "Präparat 3 (größer)"
    folder.mkdir()
    for number in (10, 2, 1, 9, 100):
        path = folder / f"Schnitt {number}{suffix}"
        if suffix.lower() == ".png":
            Image.fromarray(level(number)).save(path)
        else:
            packed = "zlib" if suffix == ".tiff" else None
            tifffile.imwrite(path, level(number), compression=packed)
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "._Schnitt 1.tif").write_bytes(b"resource fork")
    volume = open_volume(folder, voxel_size=ANY)
    assert volume.read()[:, 0, 0].tolist() == [1, 2, 9, 10, 100]
    again = pickle.loads(pickle.dumps(volume.data))
    assert again[-1, 2, 3] == 100


def test_natural_key_orders_numbers_and_ignores_case():
    names = ["b1", "A10", "a9", "a09b", "2", "10", "a"]
    assert sorted(names, key=natural_key) == ["2", "10", "a", "a9", "a09b", "A10", "b1"]


def test_16_bit_png(tmp_path):
    data = np.random.default_rng(1).integers(0, 65536, (4, 6, 7)).astype(np.uint16)
    for number, values in enumerate(data):
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    volume = open_volume(tmp_path, voxel_size=ANY)
    assert volume.dtype == np.uint16
    np.testing.assert_array_equal(volume.read(), data)


def test_colour_png_needs_channel(tmp_path):
    data = np.random.default_rng(1).integers(0, 256, (4, 6, 7, 3)).astype(np.uint8)
    for number, values in enumerate(data):
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    with pytest.raises(InputError, match=r"channel axis of 3; choose one with --channel N"):
        open_volume(tmp_path, voxel_size=ANY)
    volume = open_volume(tmp_path, voxel_size=ANY, channel=2)
    np.testing.assert_array_equal(volume.read(slice(1, 3)), data[1:3, ..., 2])


def test_slices_give_lateral_voxel_size_but_never_the_axial_one(tmp_path):
    for number in range(4):
        tifffile.imwrite(
            tmp_path / f"{number}.tif", level(number), imagej=True, resolution=((1, 4), (1, 4)),
            metadata={"unit": "nm", "spacing": 9.0},
        )  # fmt: skip
    with pytest.raises(InputError, match=r"no axial voxel size \(y and x are 4 and 4 nm\)"):
        open_volume(tmp_path)
    assert probe(tmp_path).voxel_size is None


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        (level(0, (6, 8)), r"3\.tif is 6 x 8 uint8, 4\.tif is .*, but the other 4 are 6 x 7 uint8"),
        (
            level(0, dtype=np.uint16),
            r"3\.tif is 6 x 7 uint16, 4\.tif is .*, but the other 4 are 6 x 7 uint8",
        ),
        (level(0, (2, 6, 7)), r"3\.tif is a stack of its own"),
    ],
)
def test_offending_slices_are_named(tmp_path, odd, sentence):
    for number in range(6):
        values = odd if number in (3, 4) else level(number)
        tifffile.imwrite(tmp_path / f"{number}.tif", values, metadata=None)
    with pytest.raises(InputError, match=sentence):
        open_volume(tmp_path, voxel_size=ANY)


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="folder without TIFF or PNG slices"):
        open_volume(tmp_path)
    tifffile.imwrite(tmp_path / "1.tif", level(0))
    Image.fromarray(level(0)).save(tmp_path / "2.png")
    with pytest.raises(InputError, match=r"mixes TIFF and PNG files \(1\.tif, 2\.png\)"):
        open_volume(tmp_path)
    (tmp_path / "3.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds 3\.jpg; slices must be TIFF or PNG"):
        open_volume(tmp_path)


def test_a_png_that_is_none(tmp_path):
    (tmp_path / "1.png").write_bytes(b"GIF89a not a png")
    with pytest.raises(InputError, match=r"1\.png is not a readable PNG file"):
        open_volume(tmp_path)


def test_one_picture_is_not_a_stack(tmp_path):
    Image.fromarray(level(0)).save(tmp_path / "1.png")
    with pytest.raises(InputError, match="single 2D image; pass the folder"):
        open_volume(tmp_path / "1.png")


def test_a_slice_deleted_meanwhile(tmp_path):
    for number in range(4):
        Image.fromarray(level(number)).save(tmp_path / f"{number}.png")
    volume = open_volume(tmp_path, voxel_size=ANY)
    (tmp_path / "2.png").unlink()
    with pytest.raises(InputError, match="damaged or gone"):
        volume.read()
