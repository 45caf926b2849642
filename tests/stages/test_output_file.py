"""Results as one file: made of a whole store, or not there at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_d2r.errors import DiskFullError, InputError
from napari_d2r.io import OmeZarrOutput, _save_hdf5, open_source, open_volume, save_hdf5_stream
from napari_d2r.jobs import (
    BlockWritten,
    CancelToken,
    Outcome,
    Progress,
    StageStarted,
    SuperResolveJob,
)
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume, VoxelSize

pytestmark = pytest.mark.usefixtures("known_rate")
ORIGIN = (120.0, 30.0, -20.0)


def stream(job: SuperResolveJob, volume: Volume, output: Path, **how: Any) -> Any:
    keep = {"resume": how.get("resume", False)}
    return run_super_resolve(resolve_super_resolve(job, volume, output, **keep), **how)


@pytest.fixture(scope="module")
def store(wide: Volume, sharded: SuperResolveJob, tmp_path_factory: Any) -> Path:
    path = tmp_path_factory.mktemp("whole") / "out.ome.zarr"
    list(stream(sharded, wide, path, origin=ORIGIN))
    return path


def require_same(file: Path, store: Path) -> None:
    found, expected = open_source(file), open_source(store)
    assert np.allclose(found.origin, expected.origin)
    assert found.provenance["model"] == expected.provenance["model"]
    one, other = open_volume(file), open_volume(store)
    assert one.voxel_size == other.voxel_size
    np.testing.assert_array_equal(one.read(), other.read())
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("name", ["out.h5", "OUT.HDF5"])
def test_hdf5_holds_what_a_store_does(
    store: Path, wide: Volume, sharded: SuperResolveJob, tmp_path: Path, name: str
) -> None:
    *_, ended = stream(sharded, wide, tmp_path / name, origin=ORIGIN)
    assert ended.outcome is Outcome.COMPLETED
    require_same(tmp_path / name, store)
    with pytest.raises(InputError, match=r"exists; pass --overwrite"):
        list(stream(sharded, wide, tmp_path / name))


def test_cancelled_in_the_midst_of_the_file_it_goes_on(
    store: Path, wide: Volume, sharded: SuperResolveJob, tmp_path: Path
) -> None:
    path, cancel = tmp_path / "out.h5", CancelToken()
    is_writing = False
    for event in stream(sharded, wide, path, origin=ORIGIN, cancel=cancel):
        is_writing |= event == StageStarted("write HDF5", 2, 2)
        if is_writing and isinstance(event, Progress) and event.done == 3:
            assert len(list(tmp_path.glob("*.exporting"))) == 1
            cancel.cancel()
    assert event.outcome is Outcome.CANCELLED
    assert not path.exists()
    assert not list(tmp_path.glob("*.exporting"))
    events = list(stream(sharded, wide, path, origin=ORIGIN, resume=True))
    assert not any(isinstance(event, BlockWritten) for event in events)
    require_same(path, store)


def test_slices_that_are_missing_leave_no_file(tmp_path: Path) -> None:
    for values in ([np.zeros((4, 5))], [np.zeros((5, 4))] * 3):
        steps = save_hdf5_stream(
            tmp_path / "out.h5",
            values,
            shape=(3, 4, 5),
            dtype=np.uint8,
            voxel_size=VoxelSize(10, 10, 10),
        )
        with pytest.raises(ValueError, match=r"slices came|Slice 1 is"):
            list(steps)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_store_and_no_file(
    store: Path,
    wide: Volume,
    sharded: SuperResolveJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "out.h5"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(_save_hdf5.h5py.h5p, "create", full)
        with pytest.raises(DiskFullError, match=r"while writing out\.h5"):
            list(stream(sharded, wide, path, origin=ORIGIN))
    left = {"out.h5.ome.zarr.partial", "out.h5.ome.zarr.partial.jsonl"}
    assert {file.name for file in tmp_path.iterdir()} == left
    list(stream(sharded, wide, path, origin=ORIGIN, resume=True))
    require_same(path, store)


@pytest.mark.parametrize("suffix", [".tif", ".h5"])
def test_killed_once_the_file_stands_there_it_is_complete(
    wide: Volume,
    sharded: SuperResolveJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    path = tmp_path / f"out{suffix}"

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(OmeZarrOutput, "discard", killed)
        list(stream(sharded, wide, path))
    before = path.stat().st_mtime_ns
    assert len(list(tmp_path.iterdir())) > 1
    with pytest.raises(InputError, match="exists"):  # of a run that is not resumed
        list(stream(sharded, wide, path))
    *_, ended = stream(sharded, wide, path, resume=True)
    assert ended.outcome is Outcome.COMPLETED
    assert path.stat().st_mtime_ns == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_other_programs_open_it(wide: Volume, sharded: SuperResolveJob, tmp_path: Path) -> None:
    import h5py

    list(stream(sharded, wide, tmp_path / "out.h5"))
    with h5py.File(tmp_path / "out.h5") as file:
        assert [dimension.label for dimension in file["data"].dims] == ["z", "y", "x"]
        assert np.allclose(1000 * file["data"].attrs["element_size_um"], (10, 10, 10))
        found = file["data"][:]
    np.testing.assert_array_equal(found, open_volume(tmp_path / "out.h5").read())
