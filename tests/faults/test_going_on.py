"""One fault at a time: what is said, and that what follows is as if it had not happened."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_d2r.cli import main
from napari_d2r.errors import InputError, NotFiniteError
from napari_d2r.io import ShardStore, save_volume
from napari_d2r.jobs import TrainJob
from napari_d2r.samples import make_phantom
from napari_d2r.stages import _fill, _super_resolve_plan
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.volumes import Volume, VoxelSize

SIZE = VoxelSize(40, 10, 10)
VALUES = make_phantom((17, 32, 264))[::4]  # wide enough for a coarser level


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run of five shards, and a coarser level."""
    monkeypatch.setattr(_super_resolve_plan, "measure_rate", lambda *_: 3e6)
    save_volume(Volume(VALUES, SIZE, "wide"), tmp_path / "wide.tif")
    paths = [str(tmp_path / name) for name in ("wide.tif", "out.ome.zarr")]
    return ["super-resolve", *paths, "--model", "linear", "--shard", "64"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def whole(command: list[str], tmp_path: Path) -> dict[str, bytes]:
    """What the run leaves that no fault befalls."""
    assert main(command) == 0
    files = files_of(tmp_path)
    shutil.rmtree(tmp_path / "out.ome.zarr")
    return files


def stop_at_shard(command: list[str], error: BaseException, number: int = 3) -> int:
    """The exit code of a run that an error befalls as its third shard, or another, is put."""
    put, count = ShardStore.put, 0

    def fails(store: ShardStore, shard: Any, values: np.ndarray, *rest: Any) -> int:
        nonlocal count
        count += 1
        if count == number:
            raise error
        return put(store, shard, values, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardStore, "put", fails)
        return main(command)


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (errno.ENOSPC, 4, "The disk is full while writing out.ome.zarr; finished shards are kept"),
        (errno.EDQUOT, 4, "The disk is full while writing out.ome.zarr; finished shards are kept"),
        (errno.EROFS, 1, "Read-only file system"),
        (errno.EIO, 1, "Input/output error"),
    ],
)
def test_a_disk_that_takes_no_more(
    command: list[str],
    whole: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: int,
    code: int,
    says: str,
) -> None:
    assert stop_at_shard(command, OSError(number, os.strerror(number))) == code
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out.ome.zarr").exists()
    assert main([*command, "--resume"]) == 0
    assert files_of(tmp_path) == whole


@pytest.mark.parametrize("number", [1, 2, 4, 5])
@pytest.mark.parametrize(("error", "code"), [(errno.ENOSPC, 4), (errno.EIO, 1)])
def test_a_disk_that_fails_at_any_shard(
    command: list[str], whole: dict[str, bytes], tmp_path: Path, number: int, error: int, code: int
) -> None:
    assert stop_at_shard(command, OSError(error, os.strerror(error)), number) == code
    assert not (tmp_path / "out.ome.zarr").exists()
    assert main([*command, "--resume"]) == 0
    assert files_of(tmp_path) == whole


def test_names_with_spaces_and_letters_of_all_kinds(
    command: list[str], whole: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "Gehirn – Schnitte, 2. Übung 脳"
    folder.mkdir()
    stack, result = folder / "größer 脳.tif", folder / "α β.ome.zarr"
    shutil.copy(tmp_path / "wide.tif", stack)
    odd = [
        str(stack) if "wide" in part else str(result) if "out" in part else part for part in command
    ]
    assert stop_at_shard(odd, OSError(errno.EIO, "Input/output error")) == 1
    assert main([*odd, "--resume"]) == 0
    shard = "0/c/0/0/0"
    assert (result / shard).read_bytes() == whole[f"out.ome.zarr/{shard}"]


def test_an_input_of_no_bytes_is_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wide.tif").write_bytes(b"")
    assert main(command) == 2
    assert "wide.tif is an empty file" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["wide.tif"]


def test_numbers_that_are_none_in_one_shard_end_the_run_and_keep_the_others(
    command: list[str],
    whole: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin, count = _fill.begin_shard, 0

    def begins(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == 5:
            raise NotFiniteError("The network computed values that are not numbers.")
        return begin(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fill, "begin_shard", begins)
        assert main(command) == NotFiniteError.exit_code
    assert "not numbers" in capsys.readouterr().err
    assert not (tmp_path / "out.ome.zarr").exists()
    journal = (tmp_path / "out.ome.zarr.partial.jsonl").read_text("utf-8")
    assert journal.count('"shard"') > 2  # the header has that word too
    assert main([*command, "--resume"]) == 0
    assert files_of(tmp_path) == whole


def test_a_damaged_shard_is_not_delivered(
    command: list[str],
    whole: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One byte was flipped, which its length does not tell."""
    stop_at_shard(command, OSError(errno.EIO, "Input/output error"))
    shard = tmp_path / "out.ome.zarr.partial" / "0" / "c" / "0" / "0" / "1"
    content = bytearray(shard.read_bytes())
    content[40] ^= 1
    shard.write_bytes(content)
    assert main([*command, "--resume"]) == 1
    said = "delete it by verify out.ome.zarr.partial --mend, and go on with --resume"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out.ome.zarr").exists()
    assert main(["verify", str(tmp_path / "out.ome.zarr.partial"), "--mend"]) == 0
    assert "1 of 5 shards are damaged" in capsys.readouterr().out
    assert main([*command, "--resume"]) == 0
    assert files_of(tmp_path) == whole


@pytest.mark.parametrize("anew", [["--overwrite"], ["--overwrite", "--resume"]])
@pytest.mark.parametrize("where", ["", "0", "1"])
def test_damaged_metadata_are_said(
    command: list[str],
    whole: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    where: str,
    anew: list[str],
) -> None:
    stop_at_shard(command, OSError(errno.EIO, "Input/output error"))
    (tmp_path / "out.ome.zarr.partial" / where / "zarr.json").write_bytes(b"{")
    assert main([*command, "--resume"]) == 2
    assert "are damaged; start again with --overwrite" in capsys.readouterr().err
    assert main([*command, *anew]) == 0
    assert files_of(tmp_path) == whole


def test_an_input_that_changes_in_mid_run_is_not_delivered(
    command: list[str],
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put = ShardStore.put

    def puts(store: ShardStore, shard: Any, values: np.ndarray, *rest: Any) -> int:
        save_volume(Volume(255 - VALUES, SIZE, "wide"), tmp_path / "wide.tif")
        return put(store, shard, values, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(ShardStore, "put", puts)
        assert main(command) == 2
    assert "wide.tif was changed during the run" in capsys.readouterr().err
    assert not (tmp_path / "out.ome.zarr").exists()
    assert main([*command, "--resume"]) == 2
    assert "cannot be resumed" in capsys.readouterr().err
    (tmp_path / "wide.tif").write_bytes(whole["wide.tif"])
    assert main([*command, "--resume"]) == 0
    assert files_of(tmp_path) == whole


def test_both_options_go_on_with_what_fits_and_drop_what_does_not(
    command: list[str], whole: dict[str, bytes], tmp_path: Path
) -> None:
    both = [*command, "--overwrite", "--resume"]
    stop_at_shard([*command, "--factor", "2"], OSError(errno.EIO, "Input/output error"))
    stop_at_shard(both, OSError(errno.EIO, "Input/output error"))
    journal = tmp_path / "out.ome.zarr.partial.jsonl"
    before = journal.read_bytes()
    assert before.count(b"shard") == 3  # once in its header
    stop_at_shard(both, OSError(errno.EIO, "Input/output error"))
    assert journal.read_bytes().startswith(before)
    assert main(both) == 0
    assert files_of(tmp_path) == whole


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.tif"])
def test_a_result_that_is_whole_is_kept(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    command[2] = str(tmp_path / name)
    assert main(command) == 0
    before = files_of(tmp_path)
    store = name if name.endswith(".zarr") else f"{name}.ome.zarr"
    (tmp_path / f"{store}.partial.jsonl").write_bytes(b"")  # of a run that was killed at its end
    for options in (["--resume"], ["--resume", "--overwrite"]):
        capsys.readouterr()
        assert main([*command, *options]) == 0
        told = capsys.readouterr()
        assert f"{name} is complete, of the same input, model and settings" in told.err
        assert "million voxels per second" not in told.out
        assert files_of(tmp_path) == before
    changed = [*command, "--factor", "2", "--resume"]
    assert main(changed) == 2
    assert f"{name} exists, and is of another input, model or settings" in capsys.readouterr().err
    assert files_of(tmp_path) == before
    assert main([*changed, "--overwrite"]) == 0
    assert files_of(tmp_path).keys() == before.keys()
    assert files_of(tmp_path) != before


def weights_of(folder: Path) -> dict[str, bytes]:
    return {name: blob for name, blob in files_of(folder).items() if name.endswith("safetensors")}


def test_a_training_on_a_full_disk(
    stack: Volume, tiny_model: Path, tiny_job: TrainJob, tmp_path: Path
) -> None:
    sync, count = os.fsync, 0

    def fails(handle: int) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    folder = tmp_path / "model"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "fsync", fails)
        list(run_train(resolve_train(tiny_job, stack, folder)))
    assert not (folder / "models.json").exists()
    list(run_train(resolve_train(tiny_job, stack, folder, resume=True), resume=True))
    assert weights_of(folder) == weights_of(tiny_model)
    assert sorted(files_of(folder)) == sorted(files_of(tiny_model))


@pytest.mark.parametrize("left", ["nothing", "its job", "its job and a torn mark"])
def test_a_training_that_was_killed_as_it_began(
    stack: Volume, tiny_job: TrainJob, tmp_path: Path, left: str
) -> None:
    work = tmp_path / "model" / "work"
    work.mkdir(parents=True)
    if left != "nothing":
        (work / "job.yaml").write_text("")
        (work / "prior.safetensors").write_bytes(b"of another run, whose mark is gone")
    if left.endswith("mark"):
        (work / "identity.tmp").write_text("ab")
    plan = resolve_train(tiny_job, stack, tmp_path / "model", resume=True)
    events = run_train(plan, resume=True)
    for _ in range(3):
        next(events)
    events.close()
    assert (work / "identity").is_file()
    assert not (work / "prior.safetensors").exists()


def test_a_folder_named_work_is_not_taken_for_ours(
    stack: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="other things than a model"):
        resolve_train(tiny_job, stack, tmp_path, overwrite=True)
