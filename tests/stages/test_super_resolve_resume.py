"""Super-resolution interrupted in every way, and resumed as if nothing had happened."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from napari_d2r.errors import DiskFullError, InputError
from napari_d2r.io import OmeZarrOutput
from napari_d2r.jobs import (
    BlockWritten,
    CancelToken,
    Event,
    Finished,
    Outcome,
    SuperResolveJob,
    Warned,
)
from napari_d2r.stages import _fill
from napari_d2r.stages import super_resolve as stage
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume, VoxelSize

pytestmark = pytest.mark.usefixtures("known_rate")
ANISOTROPIC = VoxelSize(40, 10, 10)
LINEAR = SuperResolveJob(method="linear", device="cpu")


def stream(
    job: SuperResolveJob,
    volume: Volume,
    output: Path,
    *,
    cancel: CancelToken | None = None,
    **keep: bool,
) -> Iterator[Event]:
    plan = resolve_super_resolve(job, volume, output, **keep)
    yield from run_super_resolve(plan, **keep, cancel=cancel)


def run(job: SuperResolveJob, volume: Volume, output: Path, **keep: bool) -> np.ndarray:
    """Run to the end and read level 0 of the store."""
    *_, ended = stream(job, volume, output, **keep)
    assert ended.outcome is Outcome.COMPLETED
    return level0(output)


def level0(path: Path) -> np.ndarray:
    return zarr.open_array(path / "0", mode="r")[:]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(wide: Volume, sharded: SuperResolveJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``whole.ome.zarr`` and, beside it, ``whole.tif``: nobody interrupted these."""
    folder = tmp_path_factory.mktemp("whole")
    list(stream(sharded, wide, folder / "whole.tif"))
    run(sharded, wide, folder / "whole.ome.zarr")
    return folder / "whole.ome.zarr"


def stop_after(blocks: int, events: Iterator[Event], cancel: CancelToken) -> Finished:
    """Ask to stop once so many shards are written."""
    written = 0
    for event in events:
        written += isinstance(event, BlockWritten)
        if written == blocks:
            cancel.cancel()
    assert isinstance(event, Finished)
    assert written == blocks  # it stops at the next boundary
    return event


def test_other_threads_than_at_the_beginning_are_said(
    wide: Volume, sharded: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, begun_with = tmp_path / "out.ome.zarr", torch.get_num_threads()

    def said(blocks: int) -> list[str]:
        """Of so many more shards."""
        cancel, told = CancelToken(), []
        for event in stream(sharded, wide, path, cancel=cancel, resume=True):
            told += [event.message] if isinstance(event, Warned) else []
            blocks -= isinstance(event, BlockWritten)
            if blocks == 0:
                cancel.cancel()
        return [message for message in told if "was begun on" in message]

    assert said(2) == said(1) == []
    monkeypatch.setattr(torch, "get_num_threads", lambda: begun_with + 7)
    for _ in range(2):  # it is not forgotten
        (message,) = said(1)
        assert f"begun on cpu by {begun_with} thread" in message
        assert f"goes on on cpu by {begun_with + 7} threads: its last bits may differ" in message


@pytest.mark.parametrize("blocks", [1, 6])
@pytest.mark.parametrize("suffix", [".ome.zarr", ".tif"])
def test_cancelled_and_resumed_is_as_if_nothing_had_happened(
    whole: Path,
    wide: Volume,
    sharded: SuperResolveJob,
    tmp_path: Path,
    blocks: int,
    suffix: str,
) -> None:
    path, cancel = tmp_path / f"broken{suffix}", CancelToken()
    ended = stop_after(blocks, stream(sharded, wide, path, cancel=cancel), cancel)
    assert ended.outcome is Outcome.CANCELLED
    assert not path.exists()
    assert ended.result.is_dir()
    assert "partial" in ended.result.name

    events = list(stream(sharded, wide, path, resume=True))
    assert sum(isinstance(e, BlockWritten) for e in events) == 6 - blocks
    if suffix == ".tif":
        assert path.read_bytes() == whole.with_name("whole.tif").read_bytes()
    else:
        names = whole.name.encode(), path.name.encode()
        assert files_of(path) == {k: v.replace(*names) for k, v in files_of(whole).items()}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_killed_between_shards_it_resumes(
    whole: Path, wide: Volume, sharded: SuperResolveJob, tmp_path: Path
) -> None:
    events = stream(sharded, wide, tmp_path / "out.ome.zarr")
    next(e for e in events if isinstance(e, BlockWritten))
    events.close()
    result = run(sharded, wide, tmp_path / "out.ome.zarr", resume=True)
    assert np.array_equal(result, level0(whole))


def test_resume_without_an_interrupted_run_begins(
    stack: Volume, job: SuperResolveJob, tmp_path: Path
) -> None:
    assert run(job, stack, tmp_path / "out.ome.zarr", resume=True).shape == (33, 64, 64)


def test_out_of_time_is_said_and_can_be_resumed(
    whole: Path,
    wide: Volume,
    sharded: SuperResolveJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, ticks = tmp_path / "out.ome.zarr", count()
    with monkeypatch.context() as patch:  # a clock that goes one second at every look
        clock = SimpleNamespace(perf_counter=lambda: float(next(ticks)))
        patch.setattr(stage, "time", clock)
        patch.setattr(_fill, "time", clock)
        limited = sharded.model_copy(update={"max_minutes": 0.1})
        events = list(stream(limited, wide, path))
    assert events[-1].outcome is Outcome.OUT_OF_TIME
    written = sum(isinstance(e, BlockWritten) for e in events)
    assert 1 <= written < 6
    assert not path.exists()
    assert events[-1].result.is_dir()
    # The time limit is not part of what a resumed run must repeat.
    assert np.array_equal(run(sharded, wide, path, resume=True), level0(whole))


def test_a_changed_run_is_not_resumed(
    wide: Volume, sharded: SuperResolveJob, tmp_path: Path
) -> None:
    path, cancel = tmp_path / "out.ome.zarr", CancelToken()
    stop_after(2, stream(sharded, wide, path, cancel=cancel), cancel)
    before = files_of(tmp_path)
    for change in ({"factor": 3.0}, {"seed": 1}, {"method": "linear"}):
        with pytest.raises(InputError, match="cannot be resumed"):
            list(stream(sharded.model_copy(update=change), wide, path, resume=True))
    brighter = Volume(wide.read() + np.uint8(1), ANISOTROPIC, "wide")
    with pytest.raises(InputError, match="cannot be resumed"):
        list(stream(sharded, brighter, path, resume=True))
    with pytest.raises(InputError, match="--resume"):  # nor silently thrown away
        list(stream(sharded, wide, path))
    assert files_of(tmp_path) == before


def test_an_older_output_stands_until_the_new_one_is_complete(
    wide: Volume, sharded: SuperResolveJob, tmp_path: Path
) -> None:
    path = tmp_path / "out.ome.zarr"
    linear = run(LINEAR, wide, path)
    with pytest.raises(InputError, match="exists; pass --overwrite"):
        resolve_super_resolve(sharded, wide, path)
    cancel = CancelToken()
    stop_after(3, stream(sharded, wide, path, overwrite=True, cancel=cancel), cancel)
    assert np.array_equal(level0(path), linear)
    result = run(sharded, wide, path, overwrite=True, resume=True)
    assert not np.array_equal(result, linear)
    assert [p.name for p in tmp_path.iterdir()] == ["out.ome.zarr"]


def test_a_full_disk_keeps_what_is_finished(
    wide: Volume, sharded: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.ome.zarr"
    put = OmeZarrOutput.put

    def fails_at_the_third(self: OmeZarrOutput, shard: Any, values: np.ndarray) -> int:
        if shard.index == 2:
            raise DiskFullError("The disk is full.")
        return put(self, shard, values)

    with monkeypatch.context() as patch, pytest.raises(DiskFullError):
        patch.setattr(OmeZarrOutput, "put", fails_at_the_third)
        list(stream(sharded, wide, path))
    assert not path.exists()
    # Little room is left now, but a resumed run needs less than the whole.
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=300_000))
    events = list(stream(sharded, wide, path, resume=True))
    assert sum(isinstance(e, BlockWritten) for e in events) == 4
    assert events[-1].outcome is Outcome.COMPLETED


def test_a_full_disk_at_the_tiff_keeps_the_shards(
    wide: Volume, sharded: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(DiskFullError):
        patch.setattr("tifffile.TiffWriter.write", full)
        list(stream(sharded, wide, tmp_path / "out.tif"))
    assert not (tmp_path / "out.tif").exists()
    events = list(stream(sharded, wide, tmp_path / "out.tif", resume=True))
    assert not any(isinstance(e, BlockWritten) for e in events)
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif"]
