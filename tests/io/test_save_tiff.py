"""TIFF output and the check for room."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections import namedtuple

import numpy as np
import pytest
import tifffile

from napari_d2r.errors import DiskFullError, InputError
from napari_d2r.io import _save_tiff as module
from napari_d2r.io import check_room, open_source, open_volume, probe, save_tiff
from napari_d2r.volumes import VoxelSize

DATA = np.random.default_rng(0).integers(0, 100, (7, 20, 24))


def save(path, data, voxel_size, **options):
    return save_tiff(
        path, iter(data), shape=data.shape, dtype=data.dtype, voxel_size=voxel_size, **options
    )


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("uint8", "ImageJ TIFF"), ("uint16", "ImageJ TIFF"), ("float32", "ImageJ TIFF"),
        ("int8", "OME-TIFF"), ("int16", "OME-TIFF"), ("float64", "OME-TIFF"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [(10, 10, 10), (47.5, 4.6, 4.6), (8, 33.33333333, 0.0123)])
def test_round_trip(tmp_path, dtype, kind, size):
    data = DATA.astype(dtype)
    path = save(tmp_path / "größe a.tif", data, VoxelSize(*size))
    volume = open_volume(path)
    assert probe(path).format == kind
    assert volume.dtype == dtype
    assert tuple(volume.voxel_size) == pytest.approx(size, rel=1e-6)
    np.testing.assert_array_equal(volume.read(), data)
    assert [p.name for p in tmp_path.iterdir()] == ["größe a.tif"]


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("uint8", "ImageJ TIFF"), ("uint16", "OME-TIFF"), ("float32", "OME-TIFF")],
)
def test_colour_returns_as_channels(tmp_path, dtype, kind):
    data = np.stack([DATA, 99 - DATA, DATA // 2], axis=-1).astype(dtype)
    path = save(tmp_path / "rgb.tif", data, VoxelSize(40, 10, 10), provenance={"made": "so"})
    volume = open_volume(path, channel="all")
    assert (probe(path).format, open_source(path).provenance) == (kind, {"made": "so"})
    assert tuple(volume.voxel_size) == pytest.approx((40, 10, 10))
    np.testing.assert_array_equal(volume.read(), np.moveaxis(data, -1, 0), strict=True)
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == 7 and tiff.pages[0].photometric.name == "RGB"


def test_imagej_finds_unit_spacing_and_pixel_size(tmp_path):
    path = save(tmp_path / "a.tif", DATA.astype(np.uint8), VoxelSize(40, 5, 4))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.imagej_metadata["unit"] == "nm"
        assert tiff.imagej_metadata["spacing"] == 40
        assert tiff.imagej_metadata["slices"] == 7
        assert tiff.pages[0].tags["XResolution"].value == (1, 4)
        assert tiff.pages[0].tags["YResolution"].value == (1, 5)


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_provenance_is_found_again_and_texts_of_others_are_not_taken_for_it(tmp_path, dtype):
    facts = {"source": 'Präparat <3> & "µm"', "shape": [7, 20, 24], "model": None}
    data, size = DATA.astype(dtype), VoxelSize(40, 10, 10)
    path = save(tmp_path / "a.tif", data, size, provenance=facts)
    assert open_source(path).provenance == facts
    np.testing.assert_array_equal(open_volume(path).read(), data)
    assert open_volume(path).voxel_size == size
    for text in ("Olympus, 3 nm", "[" * 100_000, '{"napari_d2r": "a word"}', '["napari_d2r"]'):
        info = {"metadata": {"axes": "ZYX", "Info": text}, "imagej": True}
        about = {"metadata": {"axes": "ZYX", "Description": text}, "ome": True}
        for name, options in (("i.tif", info), ("o.tif", about)):
            tifffile.imwrite(tmp_path / name, DATA.astype(np.uint8), **options)
            assert open_source(tmp_path / name).provenance == {}


def test_a_stream_that_is_given_up_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TELL_EVERY_S", 0.01)
    data, begun = DATA.astype(np.uint8), threading.Event()

    def slices():
        for values in data:
            yield values
            begun.set()
            time.sleep(0.05)

    options = {"shape": data.shape, "dtype": data.dtype, "voxel_size": VoxelSize(4, 4, 4)}
    steps = module.save_tiff_stream(tmp_path / "a.tif", slices(), **options)
    assert next(steps)[0] < 7
    assert begun.wait(5)
    steps.close()
    assert not list(tmp_path.iterdir())
    assert not [t for t in threading.enumerate() if t.name.startswith("napari-d2r-save")]
    *_, last = module.save_tiff_stream(tmp_path / "a.tif", slices(), **options)
    assert last == (7, 7)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif").read(), data)


def test_half_floats_are_widened(tmp_path):
    path = save(tmp_path / "a.tif", DATA.astype(np.float16), VoxelSize(4, 4, 4))
    volume = open_volume(path)
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume.read(), DATA)


def test_a_size_no_rational_holds_goes_to_ome(tmp_path):
    path = save(tmp_path / "a.tif", DATA.astype(np.uint8), VoxelSize(1, 1e12, 1e12))
    assert probe(path).format == "OME-TIFF"
    assert probe(path).voxel_size == VoxelSize(1, 1e12, 1e12)


def test_big_files_are_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CLASSIC_LIMIT", 1000)
    path = save(tmp_path / "a.tif", DATA.astype(np.uint8), VoxelSize(40, 4, 4))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff
    assert open_volume(path).voxel_size == VoxelSize(40, 4, 4)


def test_an_existing_file_is_kept_unless_told(tmp_path):
    path = save(tmp_path / "a.tif", DATA.astype(np.uint8), VoxelSize(4, 4, 4))
    with pytest.raises(InputError, match="exists already; choose another name"):
        save(path, DATA.astype(np.uint8) + 1, VoxelSize(4, 4, 4))
    save(path, DATA.astype(np.uint8) + 1, VoxelSize(4, 4, 4), overwrite=True)
    np.testing.assert_array_equal(open_volume(path).read(), DATA + 1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="exists already"):
        save(tmp_path / "folder", DATA.astype(np.uint8), VoxelSize(4, 4, 4), overwrite=True)


def failing(data, error):
    yield from data[:3]
    raise error


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        (lambda d: failing(d, OSError(errno.ENOSPC, "No space left")), DiskFullError),
        (lambda d: failing(d, KeyboardInterrupt()), KeyboardInterrupt),
        (lambda d: iter(d[:5]), ValueError),
        (lambda d: iter(d[:, 1:]), ValueError),
    ],
)
def test_nothing_half_written_is_left(tmp_path, slices, expected):
    data = DATA.astype(np.uint8)
    with pytest.raises(expected):
        save_tiff(
            tmp_path / "a.tif", slices(data), shape=data.shape, dtype="uint8",
            voxel_size=VoxelSize(4, 4, 4),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_check_room(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 2**39, 3 * 2**30))
    check_room(tmp_path / "new folder" / "o.ome.zarr", 3 * 2**30)
    with pytest.raises(InputError, match=r"o\.ome\.zarr needs 4\.0 GiB, but the disk has 3\.0 GiB"):
        check_room(tmp_path / "new folder" / "o.ome.zarr", 4 * 2**30)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "statvfs"), reason="Windows does not count files")
def test_check_room_counts_files(tmp_path, monkeypatch):
    disk = namedtuple("disk", "f_files f_favail f_blocks f_bfree f_bavail f_frsize")
    monkeypatch.setattr(os, "statvfs", lambda _: disk(10**6, 500, *[2**30] * 4))
    check_room(tmp_path / "o.ome.zarr", 1, 500)
    with pytest.raises(InputError, match=r"needs 1,200 files, but the disk has room for 500 more"):
        check_room(tmp_path / "o.ome.zarr", 1, 1200)
    no_limit = disk(0, 0, *[2**30] * 4)
    monkeypatch.setattr(os, "statvfs", lambda _: no_limit)
    check_room(tmp_path / "o.ome.zarr", 1, 1200)


def test_check_room_in_folders_that_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        check_room(tmp_path / "file" / "o.ome.zarr", 1)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="may not be written to"):
        check_room(tmp_path / "o.ome.zarr", 1)
