"""Precomputed and N5 volumes: our own exports, those of tensorstore, and hostile ones."""

from __future__ import annotations

import builtins
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_d2r.errors import InputError
from napari_d2r.io import export_stream, open_source, open_volume, probe
from napari_d2r.volumes import Volume, VoxelSize

tensorstore = pytest.importorskip("tensorstore")

DATA = np.random.default_rng(0).integers(0, 255, (6, 70, 260)).astype(np.uint8)
SIZE = VoxelSize(40, 8, 8)
NM = {"units": ["nm", "nm", "um"], "resolution": [8.0, 8.0, 0.04]}


def precomputed(path: Path, values: np.ndarray = DATA) -> Path:
    origin = (80.0, 16.0, 24.0)
    for _ in export_stream(Volume(values, SIZE), path, "precomputed", origin=origin):
        pass
    return path


def n5(path: Path, values: np.ndarray = DATA, **attributes: Any) -> Path:
    """Written by tensorstore: (z, y, x) values, as x, y, z."""
    metadata = {
        "dataType": values.dtype.name,
        "dimensions": values.shape[::-1],
        "blockSize": [32] * values.ndim,
        "compression": {"type": "gzip"},
    }
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}}
    store = tensorstore.open({**spec, "metadata": metadata}, create=True).result()
    store.write(values.T).result()
    change(path / "attributes.json", **attributes)
    return path


def change(file: Path, **values: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    old = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**old, **values}), "utf-8")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_an_export_comes_back_in_its_place(tmp_path: Path, dtype: str) -> None:
    values = DATA.astype(dtype)
    source = open_source(precomputed(tmp_path / "out", values))
    assert (source.format, source.origin) == ("precomputed", (80, 16, 24))
    assert [level.shape for level in source.coarser] == [(1, 6, 35, 130)]
    volume = open_volume(tmp_path / "out")
    assert tuple(volume.voxel_size) == tuple(SIZE)
    np.testing.assert_array_equal(volume.read(), values)
    np.testing.assert_array_equal(volume.data[2:5, 7, 3:9:2], values[2:5, 7, 3:9:2])
    assert volume.dtype == values.dtype


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_n5_of_another_program(tmp_path: Path, dtype: str) -> None:
    values = DATA.astype(dtype)
    volume = open_volume(n5(tmp_path / "a.n5" / "raw", values, **NM))
    assert tuple(volume.voxel_size) == pytest.approx(tuple(SIZE))
    np.testing.assert_array_equal(volume.read(), values)
    again = pickle.loads(pickle.dumps(volume.data))
    np.testing.assert_array_equal(again[1:3, 60:, 5], values[1:3, 60:, 5])
    assert probe(tmp_path / "a.n5" / "raw").format == "N5"


@pytest.mark.parametrize(
    ("group", "own", "level"),
    [
        ({}, NM, "s0"),
        (NM, {}, "s0"),
        ({"pixelResolution": {"unit": "nm", "dimensions": [8, 8, 40]}}, {}, "s0"),
        (
            {"pixelResolution": {"unit": "nm", "dimensions": [4, 4, 40]}},
            {"downsamplingFactors": [2, 2, 1]},
            "s1",
        ),
        (
            {},
            {"transform": {"axes": ["z", "y", "x"], "scale": [40, 8, 8], "units": ["nm"] * 3}},
            "s0",
        ),
    ],
)
def test_voxel_sizes_of_n5(
    tmp_path: Path, group: dict[str, Any], own: dict[str, Any], level: str
) -> None:
    n5(tmp_path / "g" / level, **own)
    change(tmp_path / "g" / "attributes.json", **group)
    assert tuple(open_volume(tmp_path / "g" / level).voxel_size) == pytest.approx(tuple(SIZE))


def test_levels_of_n5_and_where_it_stands(tmp_path: Path) -> None:
    place = {
        "axes": ["z", "y", "x"],
        "scale": [40, 8, 8],
        "units": ["nm"] * 3,
        "translate": [120, 0, 4],
    }
    n5(tmp_path / "a.n5" / "s0", transform=place)
    for number in (1, 10, 2):
        step = 2**number
        n5(tmp_path / "a.n5" / f"s{number}", DATA[:, ::step, ::step])
    source = open_source(tmp_path / "a.n5")
    assert (source.name, source.origin) == ("a.n5", (120, 0, 4))
    assert [level.shape[1] for level in source.coarser] == [35, 18, 1]
    np.testing.assert_array_equal(open_volume(tmp_path / "a.n5").read(), DATA)


def test_n5_without_a_size_or_without_one_array_asks(tmp_path: Path) -> None:
    path = n5(tmp_path / "a.n5" / "raw", axes=["x", "y", "z"], resolution=[8, 8, 40])
    with pytest.raises(InputError, match="raw has no voxel size; pass --voxel-size"):
        open_volume(path)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.n5", voxel_size=SIZE).read(), DATA)
    n5(tmp_path / "a.n5" / "labels")
    with pytest.raises(InputError, match=r"several arrays \(labels, raw\); pass one, such as"):
        open_volume(tmp_path / "a.n5")
    (tmp_path / "b.n5").mkdir()
    with pytest.raises(InputError, match="N5 group without an array"):
        open_volume(tmp_path / "b.n5")


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ({"key": "../elsewhere"}, "points outside itself"),
        ({"key": "file:///etc"}, "points outside itself"),
        ({"chunk_sizes": [[2**20, 2**20, 64]]}, "at most 2 GiB"),
        ({"size": [10**73, 1, 1]}, "less than 9223372036854775808"),
        ({"chunk_sizes": [[10**400, 1, 1]]}, "less than 9223372036854775808"),
        ({"size": [-1, 1, 1]}, "greater than or equal to 1"),
        ({"resolution": [8, 8, 0]}, "greater than 0"),
        ({"encoding": "secret"}, "cannot be opened"),
    ],
)
def test_absurd_metadata_are_refused(tmp_path: Path, scale: dict[str, Any], words: str) -> None:
    info = precomputed(tmp_path / "out") / "info"
    facts = json.loads(info.read_text("utf-8"))
    facts["scales"][0].update(scale)
    info.write_text(json.dumps(facts), "utf-8")
    with pytest.raises(InputError, match=words) as error:
        open_volume(tmp_path / "out")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 10**5, '{"dimensions": 3}', '"' + "x" * 2**20])
def test_attributes_that_are_none(tmp_path: Path, text: str) -> None:
    path = n5(tmp_path / "a.n5", **NM)
    (path / "attributes.json").write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"damaged|too long") as error:
        open_volume(path)
    assert "\n" not in str(error.value)


def test_a_damaged_chunk_and_a_vanished_one(tmp_path: Path) -> None:
    volume = open_volume(n5(tmp_path / "a.n5", **NM))
    (tmp_path / "a.n5" / "0" / "0" / "0").write_bytes(b"\0\0\0\3torn")
    with pytest.raises(InputError, match="cannot be read to its end") as error:
        volume.read()
    assert "\n" not in str(error.value)
    assert "source locations" not in str(error.value)


def test_a_note_called_info_is_no_volume(tmp_path: Path) -> None:
    (tmp_path / "info").write_text("taken on Monday")
    with pytest.raises(InputError, match="folder without TIFF or PNG"):
        open_volume(tmp_path)


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = precomputed(tmp_path / "out")
    found = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "tensorstore":
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match=r"pip install 'napari-d2r\[tensorstore\]'"):
        open_volume(path)


@pytest.mark.parametrize("address", ["https://a.org/v", "gs://bucket/v", "s3://b/v.n5"])
def test_no_address_is_opened(address: str) -> None:
    for given in (address, Path(address)):
        with pytest.raises(InputError, match="is an address; copy the volume here"):
            open_volume(given)


def test_a_block_that_claims_more_than_the_volume_says(tmp_path: Path) -> None:
    """The header of a block is not believed: 2**32 voxels are not made."""
    volume = open_volume(n5(tmp_path / "a.n5", **NM))
    block = tmp_path / "a.n5" / "0" / "0" / "0"
    claims = b"".join(n.to_bytes(4, "big") for n in (2**16, 2**16, 64))
    block.write_bytes(b"\0\0\0\3" + claims + block.read_bytes()[16:])
    with pytest.raises(InputError, match="cannot be read to its end"):
        volume.read()
    shutil.rmtree(tmp_path / "a.n5")
