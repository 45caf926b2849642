"""The crash-safe OME-Zarr output: every way a run can end, and what the next one finds."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st
from ome_zarr_models.v05 import Image
from zarr.storage import LocalStore

from napari_d2r.errors import DamagedError, DiskFullError, InputError
from napari_d2r.io import (
    create_output,
    interrupted_shard,
    ome_zarr_num_bytes,
    open_source,
    open_volume,
)
from napari_d2r.io._pyramid import halve, pyramid_levels
from napari_d2r.volumes import VoxelSize

VOXEL = VoxelSize(12, 10, 10.5)
DATA = np.random.default_rng(0).integers(1, 255, (40, 36, 70)).astype(np.uint8)
SETTINGS = {
    "shape": DATA.shape, "dtype": "uint8", "voxel_size": VOXEL, "identity": "abc",
    "shard": (32, 32, 32), "chunk": 16,
}  # fmt: skip


def cut(shard, data=DATA):
    return data[tuple(slice(a, b) for a, b in zip(shard.start, shard.stop, strict=True))]


def fill(output, data=DATA, only=None):
    for shard in output.shards():
        if shard.index not in output.done and (only is None or shard.index in only):
            output.write(shard, cut(shard, data))


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_shards_cover_every_voxel_once(tmp_path):
    output = create_output(tmp_path / "o.ome.zarr", **SETTINGS)
    hits = np.zeros(DATA.shape, int)
    for number, shard in enumerate(output.shards()):
        assert shard.index == number
        cut(shard, hits)[...] += 1
    assert (hits == 1).all()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32", "float64"])
def test_published_store_is_valid_and_reads_back(tmp_path, dtype):
    path = tmp_path / "out put é.ome.zarr"
    data = np.random.default_rng(1).integers(0, 100, (20, 300, 40)).astype(dtype)
    settings = {**SETTINGS, "shape": data.shape, "dtype": dtype, "shard": (32, 160, 32)}
    output = create_output(path, **settings)
    yaozarrs.validate_zarr_store(path.with_name(path.name + ".partial"))
    fill(output, data)
    assert output.publish({"version": "0.1", "input": {"name": "a.tif"}}) == path
    assert left(tmp_path) == [path.name]

    yaozarrs.validate_zarr_store(path)
    group = zarr.open_group(path, mode="r")
    image = Image.from_zarr(group)  # the independent validator
    datasets = image.attributes.ome.multiscales[0].datasets
    scales = [list(d.coordinateTransformations[0].scale) for d in datasets]
    assert scales == [[12, 10, 10.5], [12, 20, 10.5]]
    assert list(datasets[1].coordinateTransformations[1].translation) == [0, 5, 0]
    assert dict(group.attrs)["napari_d2r"] == {"version": "0.1", "input": {"name": "a.tif"}}

    array = group["0"]
    assert (array.shards, array.chunks) == ((32, 160, 32), (16, 16, 16))
    assert array.metadata.dimension_names == ("z", "y", "x")
    assert "checksum" in json.dumps(array.metadata.to_dict()["codecs"], default=str)
    np.testing.assert_array_equal(group["1"][:], halve(data, (1, 2, 1)))

    volume = open_volume(path)
    assert volume.voxel_size == VOXEL
    assert volume.dtype == dtype
    np.testing.assert_array_equal(volume.read(), data)
    np.testing.assert_array_equal(output.array[:], data)


def test_what_is_written_can_be_seen_at_once(tmp_path):
    output = create_output(tmp_path / "o.ome.zarr", **SETTINGS)
    array = output.array
    fill(output, only={0})
    np.testing.assert_array_equal(array[:32, :32, :32], DATA[:32, :32, :32])
    assert not (tmp_path / "o.ome.zarr").exists()
    assert output.partial_path.is_dir()


def test_resume_skips_finished_shards(tmp_path):
    path = tmp_path / "o.ome.zarr"
    fill(create_output(path, **SETTINGS), only={0, 3, 5})
    output = create_output(path, **SETTINGS, resume=True)
    assert output.done == {0, 3, 5}
    fill(output)
    output.publish({})
    np.testing.assert_array_equal(open_volume(path).read(), DATA)


def test_resume_without_anything_to_resume_starts(tmp_path):
    assert create_output(tmp_path / "o.ome.zarr", **SETTINGS, resume=True).done == frozenset()


@pytest.mark.parametrize(
    "change", [{"identity": "other"}, {"voxel_size": VoxelSize(9, 9, 9)}, {"chunk": 32}]
)
def test_resume_refuses_a_changed_job(tmp_path, change):
    path = tmp_path / "o.ome.zarr"
    fill(create_output(path, **SETTINGS), only={0})
    with pytest.raises(InputError, match="the input, the model or the settings changed"):
        create_output(path, **{**SETTINGS, **change}, resume=True)
    assert create_output(path, **SETTINGS, resume=True).done == {0}


def test_an_interrupted_run_is_not_thrown_away_unasked(tmp_path):
    path = tmp_path / "o.ome.zarr"
    fill(create_output(path, **SETTINGS), only={0, 1})
    with pytest.raises(InputError, match=r"2 shards are finished\); go on with --resume"):
        create_output(path, **SETTINGS)
    assert create_output(path, **SETTINGS, overwrite=True).done == frozenset()


@pytest.mark.parametrize("tail", [b'{"shard": 4, "by', b"{", b"\x00\x00\x00", b'{"other": 1}\n'])
def test_a_torn_last_line_is_ignored_and_cut_off(tmp_path, tail):
    path = tmp_path / "o.ome.zarr"
    fill(create_output(path, **SETTINGS), only={0, 1})
    journal = tmp_path / "o.ome.zarr.partial.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + tail)
    output = create_output(path, **SETTINGS, resume=True)
    assert output.done == {0, 1}
    fill(output, only={2})
    assert journal.read_bytes().startswith(whole + b'{"shard": 2')
    assert create_output(path, **SETTINGS, resume=True).done == {0, 1, 2}


def test_looking_at_a_journal_leaves_the_line_that_is_being_written(tmp_path):
    fill(create_output(tmp_path / "o.ome.zarr", **SETTINGS), only={0})
    journal = tmp_path / "o.ome.zarr.partial.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"shard": 1, "by')
    before = journal.read_bytes()
    assert interrupted_shard(tmp_path / "o.ome.zarr") == (32, 32, 32)
    assert journal.read_bytes() == before


def test_a_torn_header_starts_anew(tmp_path):
    path = tmp_path / "o.ome.zarr"
    fill(create_output(path, **SETTINGS), only={0})
    (tmp_path / "o.ome.zarr.partial.jsonl").write_bytes(b'{"identity": "ab')
    assert create_output(path, **SETTINGS, resume=True).done == frozenset()


@pytest.mark.parametrize("damage", ["truncate", "empty", "delete", "other length"])
def test_a_damaged_shard_is_done_again(tmp_path, damage):
    path = tmp_path / "o.ome.zarr"
    fill(create_output(path, **SETTINGS))
    file = tmp_path / "o.ome.zarr.partial" / "0" / "c" / "0" / "1" / "1"
    content = file.read_bytes()
    if damage == "delete":
        file.unlink()
    else:
        new = {"truncate": content[:100], "empty": b"", "other length": content + b"x"}[damage]
        file.write_bytes(new)
    output = create_output(path, **SETTINGS, resume=True)
    assert len(output.shards()) - len(output.done) == 1
    fill(output)
    output.publish({})
    np.testing.assert_array_equal(open_volume(path).read(), DATA)


def test_shards_of_zeros_count_as_done(tmp_path):
    path = tmp_path / "o.ome.zarr"
    data = DATA.copy()
    data[:32, :32] = 0
    fill(create_output(path, **SETTINGS), data)
    output = create_output(path, **SETTINGS, resume=True)
    assert len(output.done) == len(output.shards())
    output.publish({})
    np.testing.assert_array_equal(open_volume(path).read(), data)


def test_zeros_over_an_older_shard_that_was_not_listed(tmp_path):
    """A kill between the write and its journal line; the second run computes zeros."""
    path = tmp_path / "o.ome.zarr"
    journal = tmp_path / "o.ome.zarr.partial.jsonl"
    output = create_output(path, **SETTINGS)
    before = journal.read_bytes()
    fill(output, only={0})
    journal.write_bytes(before)
    output = create_output(path, **SETTINGS, resume=True)
    assert output.done == frozenset()
    fill(output, np.zeros_like(DATA))
    output.publish({})
    assert not open_volume(path).read().any()


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from napari_d2r.io import _shards, create_output
from napari_d2r.volumes import VoxelSize

count = 0
real = _shards.sync_file
def dies(path):
    global count
    count += 1
    if count == 4:
        os._exit(137)
    real(path)
_shards.sync_file = dies
data = np.load(sys.argv[2])
output = create_output(sys.argv[1], shape=data.shape, dtype="uint8",
    voxel_size=VoxelSize(12, 10, 10.5), identity="abc", shard=(32, 32, 32), chunk=16)
for shard in output.shards():
    box = tuple(slice(a, b) for a, b in zip(shard.start, shard.stop))
    output.write(shard, data[box])
"""


def test_a_killed_process_can_be_resumed(tmp_path):
    np.save(tmp_path / "data.npy", DATA)
    path = tmp_path / "o.ome.zarr"
    command = [sys.executable, "-c", KILLED, str(path), str(tmp_path / "data.npy")]
    assert subprocess.run(command, check=False).returncode == 137
    assert len(list(tmp_path.glob("*.writing-*"))) == 1
    output = create_output(path, **SETTINGS, resume=True)
    assert output.done == {0, 1, 2}
    assert not list(tmp_path.glob("*.writing-*"))
    fill(output)
    output.publish({})
    np.testing.assert_array_equal(open_volume(path).read(), DATA)


def full_disk(code):
    def refuse(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch, code):
    path = tmp_path / "o.ome.zarr"
    output = create_output(path, **SETTINGS)
    fill(output, only={0, 1})
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "set", full_disk(code))
        with pytest.raises(DiskFullError, match=r"disk is full while writing o\.ome\.zarr; fini"):
            fill(output)
    output = create_output(path, **SETTINGS, resume=True)
    assert output.done == {0, 1}
    fill(output)
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "set", full_disk(code))
        with pytest.raises(DiskFullError):
            output.publish({})
    assert not path.exists()
    create_output(path, **SETTINGS, resume=True).publish({})
    np.testing.assert_array_equal(open_volume(path).read(), DATA)


def test_other_disk_errors_are_not_called_a_full_disk(tmp_path, monkeypatch):
    output = create_output(tmp_path / "o.ome.zarr", **SETTINGS)
    monkeypatch.setattr(LocalStore, "set", full_disk(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        fill(output)


def test_an_existing_output_is_replaced_only_at_the_end(tmp_path):
    path = tmp_path / "o.ome.zarr"
    first = create_output(path, **SETTINGS)
    fill(first)
    first.publish({"run": 1})
    with pytest.raises(InputError, match="exists already; choose another name or replace it"):
        create_output(path, **SETTINGS)
    with pytest.raises(InputError, match="exists already"):
        create_output(path, **SETTINGS, resume=True)
    second = create_output(path, **SETTINGS, overwrite=True)
    fill(second, 255 - DATA)
    np.testing.assert_array_equal(open_volume(path).read(), DATA)
    second.publish({"run": 2})
    np.testing.assert_array_equal(open_volume(path).read(), 255 - DATA)
    assert left(tmp_path) == ["o.ome.zarr"]


def test_overwrite_spares_what_is_no_store(tmp_path):
    path = tmp_path / "experiment"
    path.mkdir()
    (path / "only copy.tif").touch()
    with pytest.raises(InputError, match="not an OME-Zarr store, so --overwrite leaves it alone"):
        create_output(path, **SETTINGS, overwrite=True)
    (tmp_path / "o.ome.zarr.partial").mkdir()
    (tmp_path / "o.ome.zarr.partial" / "notes.txt").touch()
    with pytest.raises(InputError, match="is in the way"):
        create_output(tmp_path / "o.ome.zarr", **SETTINGS, overwrite=True)


def test_publishing_can_be_given_up_and_begun_again(tmp_path):
    path, shape = tmp_path / "o.ome.zarr", (8, 300, 40)
    settings = SETTINGS | {"shape": shape, "shard": (16, 64, 32)}
    output = create_output(path, **settings)
    fill(output, np.broadcast_to(np.arange(40, dtype=np.uint8), shape))
    steps = output.publish_stream({})
    done, total = next(steps)
    steps.close()
    assert (done, total) == (1, 6)  # 8 x 150 x 40 in shards of 16 x 64 x 32
    output.release()
    assert left(tmp_path) == ["o.ome.zarr.partial", "o.ome.zarr.partial.jsonl"]
    assert open_volume(output.partial_path).shape == shape
    kept = (output.partial_path / "1/c/0/0/0").stat().st_ino
    again = create_output(path, **settings, resume=True)
    assert len(again.done) == len(again.shards())
    assert list(again.publish_stream({"run": 2})) == [(n + 1, 6) for n in range(6)]
    again.release()
    assert left(tmp_path) == ["o.ome.zarr"]
    assert (path / "1/c/0/0/0").stat().st_ino == kept
    source = open_source(path)
    assert source.provenance == {"run": 2}
    np.testing.assert_array_equal(source.coarser[0][0, 0], np.arange(40))


@pytest.mark.parametrize("damage", ["truncate", "empty", "delete"])
def test_no_coarser_shard_is_made_of_damaged_ones(tmp_path, damage):
    """zarr reads zeros where a file is empty or gone."""
    shape = (8, 300, 40)
    settings = SETTINGS | {"shape": shape, "shard": (16, 64, 32)}
    output = create_output(tmp_path / "o.ome.zarr", **settings)
    fill(output, np.ones(shape, np.uint8))
    (coarser,) = output.coarser_shards()
    assert [shard.index for shard in output.sources(coarser[0])] == [0, 2]
    assert [shard.index for shard in output.sources(coarser[-1])] == [9]
    file = output.partial_path / "0/c/0/1/0"
    if damage == "delete":
        file.unlink()
    else:
        file.write_bytes(b"" if damage == "empty" else file.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=r"0/c/0/1/0 is \d+ bytes long, not \d+\); delete it"):
        output.coarsened(coarser[0])
    assert (output.coarsened(coarser[-1]) == 1).all()
    with pytest.raises(DamagedError, match=r"0/c/0/1/0 is \d+ bytes long, not \d+\); delete it"):
        list(output.slices())


def test_files_of_other_machines_may_be_seen_late(tmp_path, monkeypatch):
    """As on a network file system, which remembers for a while that a file is not there."""
    shape = (8, 300, 40)
    output = create_output(
        tmp_path / "o.ome.zarr", **SETTINGS | {"shape": shape, "shard": (16, 64, 32)}
    )
    fill(output, np.ones(shape, np.uint8))
    coarser = output.coarser_shards()[0][0]
    file, unseen = output.partial_path / "0/c/0/1/0", tmp_path / "unseen"
    patient = (
        lambda: output.shared.coarsened(coarser, output.sources(coarser)).min() == 1,
        lambda: output.await_seen() is None,
    )
    for ends_well in patient:
        file.rename(unseen)
        seen = threading.Timer(0.5, unseen.rename, [file])
        seen.start()
        try:
            assert ends_well()
        finally:
            seen.join()
    monkeypatch.setattr("napari_d2r.io._output._SEEN_S", 0.1)
    file.unlink()
    for never in patient:
        with pytest.raises(DamagedError, match="0/c/0/1/0 is 0 bytes long"):
            never()


def test_an_unfinished_store_is_not_published(tmp_path):
    output = create_output(tmp_path / "o.ome.zarr", **SETTINGS)
    fill(output, only={0})
    with pytest.raises(DamagedError, match=r"11 shards of o\.ome\.zarr\.partial are missing or"):
        output.publish({})


def test_wrong_values_are_a_mistake(tmp_path):
    output = create_output(tmp_path / "o.ome.zarr", **SETTINGS)
    shard = output.shards()[0]
    with pytest.raises(ValueError, match=r"Shard 0 is \(32, 32, 32\) uint8"):
        output.write(shard, cut(shard)[1:])
    with pytest.raises(ValueError, match=r"not .* float32"):
        output.write(shard, cut(shard).astype(np.float32))
    assert output.done == frozenset()
    with pytest.raises(ValueError, match="not whole chunks"):
        create_output(tmp_path / "p.ome.zarr", **{**SETTINGS, "shard": (40, 32, 32)})


def test_slices_and_discard(tmp_path):
    output = create_output(tmp_path / "o.ome.zarr", **SETTINGS)
    fill(output)
    np.testing.assert_array_equal(np.stack(list(output.slices())), DATA)
    output.discard()
    assert left(tmp_path) == []


# --- pyramid ------------------------------------------------------------------------------


@given(st.tuples(*[st.integers(1, 5000)] * 3))
def test_levels_end_at_256_and_spare_short_axes(shape):
    levels = pyramid_levels(shape)
    assert levels[0].shape == shape
    assert max(levels[-1].shape) <= 256
    for finer, coarser in pairwise(levels):
        assert max(finer.shape) > 256
        for n, m, a, b in zip(finer.shape, coarser.shape, finer.spans, coarser.spans, strict=True):
            assert (m, b) == ((n + 1) // 2, 2 * a) if n >= 64 else (n, a)
    assert ome_zarr_num_bytes(shape, np.dtype("u2")) >= 2 * np.prod(shape)


@given(
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.sampled_from([1, 2])] * 3),
    st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]),
    st.integers(0, 1000),
)
def test_halve_is_the_rounded_mean_of_what_is_there(shape, steps, dtype, seed):
    values = np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)
    found = halve(values, steps)
    assert found.dtype == dtype
    for where in np.ndindex(found.shape):
        box = tuple(slice(i * s, (i + 1) * s) for i, s in zip(where, steps, strict=True))
        mean = values[box].astype(float).mean()
        expected = np.rint(mean) if np.dtype(dtype).kind in "iu" else mean
        assert found[where] == pytest.approx(expected)


def test_levels_of_several_shards_equal_one_pass(tmp_path):
    data = np.random.default_rng(3).integers(0, 65535, (70, 67, 530)).astype(np.uint16)
    path = tmp_path / "o.ome.zarr"
    settings = {**SETTINGS, "shape": data.shape, "dtype": "uint16", "chunk": 32}
    output = create_output(path, **{**settings, "shard": (64, 64, 256)})
    fill(output, data)
    output.publish({})
    one = halve(data, (2, 2, 2))
    np.testing.assert_array_equal(zarr.open_array(path / "1", mode="r")[:], one)
    np.testing.assert_array_equal(zarr.open_array(path / "2", mode="r")[:], halve(one, (1, 1, 2)))


def test_levels_lie_where_their_voxels_are(tmp_path):
    """A ramp along each axis keeps its value at every physical position."""
    path = tmp_path / "o.ome.zarr"
    ramp = np.add.outer(np.arange(64) * 12, np.add.outer(np.arange(64) * 10, np.arange(512) * 10.5))
    ramp = ramp.astype(np.float64)
    settings = {**SETTINGS, "shape": ramp.shape, "dtype": "f8", "chunk": 64}
    output = create_output(path, **{**settings, "shard": (64, 64, 256)})
    fill(output, ramp)
    output.publish({})
    group = zarr.open_group(path, mode="r")
    level = group.attrs["ome"]["multiscales"][0]["datasets"][1]
    scale, shift = (np.array(step[step["type"]]) for step in level["coordinateTransformations"])
    coarse = group["1"]
    for where in [(0, 0, 0), (3, 5, 7), (31, 31, 255)]:
        assert coarse[where] == pytest.approx((np.array(where) * scale + shift).sum())
