"""Damage of every kind is found, and only damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_d2r.errors import InputError
from napari_d2r.io import _output, create_output, open_volume
from napari_d2r.stages.verify import VerifyReport, verify_stream
from napari_d2r.volumes import VoxelSize

VALUES = np.random.default_rng(0).integers(1, 255, (40, 36, 300)).astype(np.uint8)
VALUES[:32, :32, :32] = 0  # a shard without a file


def begun(path: Path, *, resume: bool = False, overwrite: bool = False) -> None:
    output = create_output(
        path,
        shape=VALUES.shape,
        dtype="uint8",
        voxel_size=VoxelSize(10, 10, 10),
        identity="",
        shard=(32, 32, 32),
        chunk=16,
        resume=resume,
        overwrite=overwrite,
    )
    for shard in output.shards()[:-1] if not resume else output.shards():
        if shard.index not in output.done:
            box = tuple(slice(a, b) for a, b in zip(shard.start, shard.stop, strict=True))
            output.write(shard, VALUES[box])
    if resume:
        output.publish({})


def report(path: Path, **options: bool) -> VerifyReport:
    *_, last = verify_stream(path, **options)
    return last.result


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def delete(file: Path) -> None:
    file.unlink()


def flip_data(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(content)


def flip_index(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-12] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("level", ["0", "1"])
@pytest.mark.parametrize("damage", [cut, empty, delete, flip_data, flip_index])
def test_damage_of_a_published_store_is_found(
    tmp_path: Path, damage: Callable[[Path], None], level: str
) -> None:
    path = tmp_path / "out.ome.zarr"
    begun(path)
    begun(path, resume=True)
    whole = report(path)
    assert whole.is_finished
    assert whole.num_shards == 40 + 20
    assert whole.damaged == ()
    assert "all 60 shards are as they were written" in whole.lines()[0]

    file = path / level / "c" / "0" / "0" / "1"
    before = file.read_bytes()
    damage(file)
    found = report(path, mend=True)  # which a published store does not take
    names = [one.file for one in found.damaged]
    assert f"{level}/c/0/0/1" in names
    # Which of two files that are not there should be, nobody can say any more.
    assert set(names) <= {f"{level}/c/0/0/1", "0/c/0/0/0"}
    assert not found.is_mended
    assert "repeat the run" in found.lines()[0]
    file.write_bytes(before)
    assert report(path).damaged == ()


@pytest.mark.parametrize("damage", [cut, empty, delete, flip_data, flip_index])
def test_an_interrupted_run_is_mended(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "out.ome.zarr"
    begun(path)
    assert report(path).damaged == ()
    damage(tmp_path / "out.ome.zarr.partial" / "0" / "c" / "0" / "0" / "1")
    found = report(path)
    assert [one.file for one in found.damaged] == ["0/c/0/0/1"]
    assert "verify --mend" in found.lines()[0]
    assert report(path, mend=True).is_mended
    begun(path, resume=True)
    np.testing.assert_array_equal(open_volume(path).read(), VALUES)


@pytest.mark.parametrize("damage", [cut, empty, delete, flip_data, flip_index])
def test_a_run_that_was_interrupted_in_its_coarser_levels_is_mended(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    whole, path = tmp_path / "whole.ome.zarr", tmp_path / "out.ome.zarr"
    for one in (whole, path):
        begun(one)
    begun(whole, resume=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_output, "move_into_place", stopped)
        with pytest.raises(KeyboardInterrupt):
            begun(path, resume=True)
    assert (report(path).num_shards, report(path).damaged) == (60, ())
    damage(tmp_path / "out.ome.zarr.partial" / "1" / "c" / "0" / "0" / "1")
    assert [one.file for one in report(path, mend=True).damaged] == ["1/c/0/0/1"]
    begun(path, resume=True)
    for file in whole.rglob("c/*/*/*"):
        assert (path / file.relative_to(whole)).read_bytes() == file.read_bytes()


def stopped(*_: Path) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_run_is_mended_beside_the_result_that_it_will_replace(
    tmp_path: Path,
) -> None:
    path = tmp_path / "out.ome.zarr"
    begun(path)
    begun(path, resume=True)
    begun(path, overwrite=True)
    partial = tmp_path / "out.ome.zarr.partial"
    flip_data(partial / "0" / "c" / "0" / "0" / "1")
    assert report(path).damaged == ()
    found = report(partial, mend=True)
    assert [one.file for one in found.damaged] == ["0/c/0/0/1"]
    assert found.is_mended
    assert not (partial / "0" / "c" / "0" / "0" / "1").exists()


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.ome.zarr"):
        with pytest.raises(InputError, match="no OME-Zarr store that super-resolve wrote"):
            report(path)
