"""``--events``: another process starts a job, watches it, stops it and goes on with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from napari_d2r.checkpoints import load_index
from napari_d2r.cli import _super_resolve, _train, main
from napari_d2r.errors import InputError, TrainingError
from napari_d2r.jobs import (
    BlockWritten,
    CancelToken,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Outcome,
    Progress,
    Scalars,
    StageStarted,
    Started,
    TrainJob,
    VolumeBegun,
    decode,
)

ENDLESS = ("--set", "prior.optimizer.max_steps=1000000")


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A process as the plugin starts it."""
    command = [sys.executable, "-m", "napari_d2r", *map(str, arguments), "--events"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def watched(
    process: subprocess.Popen[str], stop_at: Callable[[Event], bool] = lambda event: False
) -> list[Event]:
    """All events; asks to stop at the first that ``stop_at`` names, and reads on."""
    events = []
    for line in process.stdout:
        events.append(decode(line))
        if stop_at(events[-1]):
            process.stdin.write("cancel\n")
            process.stdin.flush()
            stop_at = lambda event: False  # noqa: E731
    assert process.wait(60) is not None
    return events


def of_stage(number: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, StageStarted) and event.index == number


def weights_of(folder: Path) -> dict[str, bytes]:
    paths = folder.rglob("weights.safetensors")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_cancelled_in_every_stage_and_resumed_it_is_bit_identical(
    phantom_files: tuple[Path, Path], tiny_job: TrainJob, tmp_path: Path
) -> None:
    """Four processes for one model, and one process for another of the same job."""
    steps = {"prior": 60, "student": 60}
    job = tiny_job.override([f"{n}.optimizer.max_steps={count}" for n, count in steps.items()])
    file = tmp_path / "job.yaml"
    file.write_text(job.to_yaml(), "utf-8")
    stack, model, whole = phantom_files[0], tmp_path / "model", tmp_path / "whole"
    for number in (1, 2, 3):
        with started("train", stack, model, "--job", file, "--resume") as process:
            events = watched(process, of_stage(number))
            assert process.returncode == 130, process.stderr.read()
        assert events[0] == Started("train", model)
        assert events[-1] == Finished(Outcome.CANCELLED)
        assert max(e.index for e in events if isinstance(e, StageStarted)) == number
        assert load_index(model) is None
    with started("train", stack, model, "--job", file, "--resume") as process:
        events = watched(process)
        assert process.returncode == 0, process.stderr.read()
    assert events[-1].outcome is Outcome.COMPLETED
    assert main(["train", str(stack), str(whole), "--job", str(file)]) == 0
    assert weights_of(model) == weights_of(whole)
    assert set(weights_of(model)) == {f"{name}/weights.safetensors" for name in steps}


def test_stdout_carries_events_and_nothing_else(
    phantom_files: tuple[Path, Path], tiny_yaml: Path, tmp_path: Path
) -> None:
    model, report = tmp_path / "model", tmp_path / "train.json"
    options = ("--job", tiny_yaml, "--json", report)
    with started("train", phantom_files[0], model, *options) as process:
        events = watched(process)
        assert (process.returncode, process.stderr.read()) == (0, "")
    assert [type(e) for e in events[:2]] == [Started, StageStarted]
    assert [isinstance(e, Finished) for e in events] == [False] * (len(events) - 1) + [True]
    kinds = {type(event) for event in events}
    assert {VolumeBegun, BlockWritten, Progress, Scalars, CheckpointSaved} <= kinds
    written = json.loads(report.read_text("utf-8"))
    told = events[-1].result
    assert (told["folder"], told["default"]) == (str(model), written["default"])
    gains = {name: gain["gain_db"] for name, gain in told["gains"].items()}
    assert gains == written["leave_one_out_gain_db"]
    assert all("linear interpolation" in gain["sentence"] for gain in told["gains"].values())


def test_nothing_trains_on_when_the_parent_is_gone(
    phantom_files: tuple[Path, Path], tiny_yaml: Path, tmp_path: Path
) -> None:
    """Its pipes close, as when the system closes those of a killed process."""
    model = tmp_path / "model"
    with started("train", phantom_files[0], model, "--job", tiny_yaml, *ENDLESS) as process:
        for line in process.stdout:
            if isinstance(decode(line), StageStarted):
                break
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
        assert process.wait(60) == 130
    assert (model / "work" / "prior.safetensors").is_file()


def test_a_broken_stdout_alone_stops_it_too(
    phantom_files: tuple[Path, Path], tiny_yaml: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    with started("train", phantom_files[0], model, "--job", tiny_yaml, *ENDLESS) as process:
        for line in process.stdout:
            if isinstance(decode(line), StageStarted):
                break
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 130, said
        assert "Traceback" not in said
        assert "BrokenPipe" not in said
    assert (model / "work" / "prior.safetensors").is_file()


def test_super_resolve_speaks_the_same_language(
    phantom_files: tuple[Path, Path], tiny_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.ome.zarr"
    with started("super-resolve", phantom_files[0], output, "--model", tiny_model) as process:
        events = watched(process)
        assert process.returncode == 0, process.stderr.read()
    assert isinstance(events[0], Started)
    assert any(isinstance(event, BlockWritten) for event in events)
    result = events[-1].result
    assert result["path"] == str(output)
    assert (result["shape"], result["voxel_size_nm"]) == ([33, 64, 64], [10, 10, 10])
    assert result["seconds"] > 0


def test_a_refusal_is_the_last_event_and_a_sentence(tmp_path: Path) -> None:
    with started("train", tmp_path / "missing.tif", tmp_path / "model") as process:
        [event] = watched(process)
        said = process.stderr.read()
        assert process.returncode == 2
    assert isinstance(event, Failed)
    assert event.message.endswith(".")
    assert said == f"napari-d2r: {event.message}\n"
    assert event.detail.startswith("Traceback")


# in this process ----------------------------------------------------------------------


def replaced(monkeypatch: pytest.MonkeyPatch, runs: Callable[..., Any]) -> None:
    monkeypatch.setattr(_train, "run_train_command", runs)
    monkeypatch.setattr(_super_resolve, "run_super_resolve_command", runs)


def raising(error: BaseException) -> Callable[..., Any]:
    def runs(*_: object) -> Outcome:
        raise error

    return runs


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (InputError("Not this one."), 2, "Not this one."),
        (TrainingError("The loss was not finite."), 1, "The loss was not finite."),
        (OSError(28, "No space left on device"), 4, "No space left on device"),
        (MemoryError(), 1, "There is not enough memory; learn from fewer voxels, by --set"),
        (RuntimeError("CUDA out of memory. Tried"), 1, "There is not enough memory; learn from"),
        (RuntimeError("can't allocate memory: you tried"), 1, "There is not enough memory;"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_failure_is_told_in_words(
    run: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, sentence: str
) -> None:
    replaced(monkeypatch, raising(error))
    plain = run("train", "stack.tif", "model")
    assert plain.code == code
    assert plain.err.startswith(f"napari-d2r: {sentence}")
    assert "--shard" not in plain.err
    assert plain.out == ""
    told = run("train", "stack.tif", "model", "--events")
    assert (told.code, told.err) == (code, plain.err)
    event = decode(told.out)
    assert isinstance(event, Failed)
    assert plain.err == f"napari-d2r: {event.message}\n"
    assert type(error).__name__ in event.detail


def test_super_resolve_without_memory_speaks_of_its_own_option(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(monkeypatch, raising(MemoryError()))
    assert "smaller --shard" in run("super-resolve", "stack.tif", "out.tif").err


def test_a_bug_is_told_and_still_raised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replaced(monkeypatch, raising(RuntimeError("index 3 of 2")))
    with pytest.raises(RuntimeError, match="index 3"):
        main(["train", "stack.tif", "model", "--events"])
    event = decode(capsys.readouterr().out)
    assert "index 3 of 2" in event.message
    assert "Traceback" in event.detail


def test_what_others_print_does_not_disturb_the_events(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chatty(_: object, cancel: CancelToken, reporter: Any) -> Outcome:
        sys.stdout.write("Downloading: 3 %\n")
        reporter(StageStarted("one"))
        reporter.print(["a table"])
        reporter.say("a note")
        return Outcome.COMPLETED

    replaced(monkeypatch, chatty)
    told = run("train", "stack.tif", "model", "--events")
    assert [decode(line) for line in told.out.splitlines()] == [StageStarted("one")]
    assert told.err == "Downloading: 3 %\na note\n"


@pytest.mark.parametrize("options", [("--json", "-"), ("--dry-run",)])
def test_options_that_need_stdout_do_not_go_with_events(run: Any, options: tuple[str, ...]) -> None:
    told = run("train", "stack.tif", "model", "--events", *options)
    assert told.code == 2
    assert options[0].strip("-").split("-")[0] in told.err
    assert isinstance(decode(told.out), Failed)
