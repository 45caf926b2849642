"""OME-Zarr and bare zarr arrays, honest and hostile."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume, probe
from napari_d2r.volumes import VoxelSize

DATA = np.random.default_rng(0).integers(0, 255, (6, 10, 12)).astype(np.uint8)
ANY = VoxelSize(8, 8, 8)


def axis(name, unit="nanometer"):
    kind = {"t": "time", "c": "channel"}.get(name, "space")
    return {"name": name, "type": kind, **({"unit": unit} if kind == "space" and unit else {})}


def image(path, version, levels, axes="zyx", unit="nanometer", **extra):
    """Write an OME-Zarr whose ``levels`` are (path, array, scale)."""
    group = zarr.create_group(store=path, zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for name, values, scale in levels:
        group.create_array(name, data=values)
        steps = [{"type": "scale", "scale": list(scale)}] if scale else []
        datasets.append({"path": name, "coordinateTransformations": steps})
    multiscale = {"axes": [axis(name, unit) for name in axes], "datasets": datasets, **extra}
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    else:
        group.attrs["multiscales"] = [{"version": "0.4", **multiscale}]
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("unit", "factor"),
    [("nanometer", 1), ("micrometer", 1e3), ("angstrom", 0.1), ("meter", 1e9), ("inch", 25.4e6)],
)
def test_units(tmp_path, version, unit, factor):
    path = image(tmp_path / "a.zarr", version, [("0", DATA, (40, 5, 4))], unit=unit)
    volume = open_volume(path)
    assert tuple(volume.voxel_size) == pytest.approx((40 * factor, 5 * factor, 4 * factor))
    np.testing.assert_array_equal(volume.read(), DATA)
    assert probe(path).format == f"OME-Zarr {version}"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume.data))[2], DATA[2])


def test_the_finest_level_is_found_by_its_scale(tmp_path):
    levels = [("coarse", DATA[:, ::2, ::2], (40, 8, 8)), ("deep/fine", DATA, (40, 4, 4))]
    volume = open_volume(image(tmp_path / "a.zarr", "0.5", levels))
    assert volume.shape == DATA.shape
    assert tuple(volume.voxel_size) == (40, 4, 4)


def test_a_scale_of_the_whole_image_multiplies(tmp_path):
    whole = [{"type": "scale", "scale": [10, 10, 10]}]
    path = image(
        tmp_path / "a.zarr", "0.4", [("0", DATA, (4, 1, 1))], coordinateTransformations=whole
    )
    assert tuple(open_volume(path).voxel_size) == (40, 10, 10)


def test_a_level_by_its_own_path_keeps_its_voxel_size(tmp_path):
    levels = [("0", DATA, (40, 4, 4)), ("1", DATA[:, ::2, ::2], (40, 8, 8))]
    path = image(tmp_path / "a.zarr", "0.5", levels)
    assert tuple(open_volume(path / "1").voxel_size) == (40, 8, 8)


def test_scale_without_unit_or_without_scale_asks(tmp_path):
    path = image(tmp_path / "a.zarr", "0.5", [("0", DATA, (40, 4, 4))], unit=None)
    with pytest.raises(InputError, match="no voxel size; pass --voxel-size"):
        open_volume(path)
    assert any("no unit of length" in note for note in probe(path).notes)
    with pytest.raises(InputError, match="no voxel size"):
        open_volume(image(tmp_path / "b.zarr", "0.5", [("0", DATA, None)]))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_bare_arrays_and_groups(tmp_path, zarr_format):
    zarr.create_array(store=tmp_path / "a.zarr", data=DATA, zarr_format=zarr_format)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr", voxel_size=ANY).read(), DATA)
    group = zarr.create_group(store=tmp_path / "g.zarr", zarr_format=zarr_format)
    with pytest.raises(InputError, match="holds no image"):
        open_volume(tmp_path / "g.zarr")
    group.create_array("raw", data=DATA)
    np.testing.assert_array_equal(open_volume(tmp_path / "g.zarr", voxel_size=ANY).read(), DATA)
    group.create_array("inner/labels", data=DATA + 1)
    group.create_array("mask", data=DATA)
    with pytest.raises(InputError, match=r"several arrays \(mask, raw\); pass one, such as"):
        open_volume(tmp_path / "g.zarr")
    for name in ("zarr.json", ".zgroup"):  # a folder of arrays need not be a group
        (tmp_path / "g.zarr" / "inner" / name).unlink(missing_ok=True)
    volume = open_volume(tmp_path / "g.zarr" / "inner" / "labels", voxel_size=ANY)
    np.testing.assert_array_equal(volume.read(), DATA + 1)
    with pytest.raises(InputError, match=r"labels has no voxel size"):
        open_volume(tmp_path / "g.zarr" / "inner" / "labels")


def test_named_dimensions_of_a_bare_array(tmp_path):
    data = np.stack([DATA, DATA + 1], axis=-1)
    zarr.create_array(store=tmp_path / "a.zarr", data=data, dimension_names=["z", "y", "x", "c"])
    volume = open_volume(tmp_path / "a.zarr", voxel_size=ANY, channel=1)
    np.testing.assert_array_equal(volume.read(), DATA + 1)


def test_unnamed_axes(tmp_path):
    squeezed = DATA[None, None]
    zarr.create_array(store=tmp_path / "a.zarr", data=squeezed)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr", voxel_size=ANY).read(), DATA)
    zarr.create_array(store=tmp_path / "b.zarr", data=np.zeros((2, 2, 2, 2, 2, 8), np.uint8))
    with pytest.raises(InputError, match="has 6 axes; at most 5"):
        open_volume(tmp_path / "b.zarr")


def test_missing_channel_axis_is_said(tmp_path):
    path = image(tmp_path / "a.zarr", "0.5", [("0", DATA, (40, 4, 4))])
    assert open_volume(path, channel=0, time=0).shape == DATA.shape
    with pytest.raises(InputError, match="has no channel axis, so --channel 1 does not exist"):
        open_volume(path, channel=1)


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"multiscales": []}, "multiscales is empty"),
        ({"multiscales": [{"axes": [], "datasets": []}]}, r"invalid OME-Zarr metadata: multisc"),
        ({"multiscales": 7}, "multiscales is empty"),
        ({"multiscales": [{"axes": [axis("z")] * 3, "datasets": [{"path": "0"}]}]},
         "its axes are"),
        ({"multiscales": [{"axes": [axis("y"), axis("x")], "datasets": [{"path": "0"}]}]},
         "2 axes"),
        ({"multiscales": [{"axes": [axis(n) for n in "zyx"], "datasets": [{"path": "../a"}]}]},
         "points outside itself"),
        ({"multiscales": [{"axes": [axis(n) for n in "zyx"], "datasets": [{"path": "/etc"}]}]},
         "points outside itself"),
        ({"labels": ["cells"]}, "holds labels only"),
        ({"well": {"images": []}}, "is a well of several images"),
        ({"bioformats2raw.layout": 3}, "is a collection of several images"),
        ({"plate": {}}, "is a plate of several images"),
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_used(tmp_path, attributes, sentence):
    group = zarr.create_group(store=tmp_path / "a.zarr")
    group.create_array("0", data=DATA)
    group.attrs["ome"] = attributes
    with pytest.raises(InputError, match=sentence):
        open_volume(tmp_path / "a.zarr")


def declare(path: Path, **changes):
    """Change what the metadata of a bare v3 array claim."""
    zarr.create_array(store=path, data=DATA)
    metadata = json.loads((path / "zarr.json").read_text())
    metadata.update(changes)
    (path / "zarr.json").write_text(json.dumps(metadata))
    return path


def test_absurd_chunks_are_refused_before_reading(tmp_path):
    grid = {"name": "regular", "configuration": {"chunk_shape": [10**6] * 3}}
    path = declare(tmp_path / "a.zarr", shape=[10**7] * 3, chunk_grid=grid)
    with pytest.raises(InputError, match=r"declares chunks of .* GiB; at most 2 GiB"):
        open_volume(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("filters", [{"id": "pickle", "protocol": 5}]),
        ("compressor", {"id": "pickle", "protocol": 5}),
        ("filters", [{"id": "base64"}]),  # harmless, but of the kind nobody vouched for
    ],
)
def test_unknown_codecs_and_pickle_are_never_run(tmp_path, field, value):
    path = tmp_path / "a.zarr"
    zarr.create_array(store=path, data=DATA, zarr_format=2, compressors=None)
    metadata = json.loads((path / ".zarray").read_text())
    metadata[field] = value
    (path / ".zarray").write_text(json.dumps(metadata))
    refused = r"a\.zarr is (stored with base64, which is not|not a readable.*pickle)"
    with pytest.raises(InputError, match=refused):
        open_volume(path, voxel_size=ANY)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"node_type": "x"}'])
def test_broken_metadata(tmp_path, content):
    path = tmp_path / "a.zarr"
    path.mkdir()
    (path / "zarr.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.zarr is not a readable zarr"):
        open_volume(path)


def test_a_flipped_byte_is_reported_when_read(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_array(
        store=path, data=DATA, chunks=DATA.shape,
        compressors=zarr.codecs.ZstdCodec(level=1, checksum=True),
    )  # fmt: skip
    chunk = path / "c" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0xFF
    chunk.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zarr cannot be read to its end"):
        open_volume(path, voxel_size=ANY).read()


def test_a_folder_named_zarr_without_metadata(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(InputError, match="not a readable zarr array or group"):
        open_volume(tmp_path / "a.zarr")
