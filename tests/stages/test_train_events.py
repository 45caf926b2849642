"""What a training tells while it runs: a volume that fills, signs of life, and a quick stop."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_d2r.errors import InputError
from napari_d2r.jobs import (
    TRAINING_LOSS,
    VALIDATION_GAIN,
    BlockWritten,
    CancelToken,
    CheckpointSaved,
    Event,
    Finished,
    Outcome,
    Progress,
    Scalars,
    StageStarted,
    TrainJob,
    VolumeBegun,
)
from napari_d2r.stages import _pseudo_hr
from napari_d2r.stages import train as stage
from napari_d2r.stages._beats import CountingToken, in_beats
from napari_d2r.stages._pseudo_hr import SlabFile, read_slabs
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.training import _loop
from napari_d2r.volumes import IntensityRange, Volume


def stream(
    job: TrainJob, volume: Volume, folder: Path, cancel: CancelToken | None = None, **keep: bool
) -> Iterator[Event]:
    yield from run_train(resolve_train(job, volume, folder, **keep), **keep, cancel=cancel)


def of_type(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def gap_by_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs of one gap, so that a small stack has several."""
    monkeypatch.setattr(_pseudo_hr, "_GAPS_AT_ONCE", 1)


# the pseudo-HR volume -----------------------------------------------------------------


def test_the_pseudo_hr_volume_can_be_watched_while_it_fills(
    gap_by_gap: None, small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    """Through one map, opened at the start: what a block event names never changes again."""
    seen, array, stop = [], None, 0
    for event in stream(tiny_job, small, tmp_path / "model"):
        if isinstance(event, VolumeBegun):
            array = np.load(event.path, mmap_mode="r")
            begun = event
        elif isinstance(event, BlockWritten):
            assert event.start == (stop, 0, 0)
            stop = event.stop[0]
            assert event.stop[1:] == array.shape[1:]
            seen.append(np.array(array[event.start[0] : stop]))
            assert not array[stop:].any()
    assert (array.shape, array.dtype) == (begun.shape, np.dtype(begun.dtype))
    assert begun.shape == (17, 32, 32)
    assert begun.voxel_size == (10, 10, 10)
    assert begun.origin == (0, 0, 0)
    assert len(seen) == 5
    whole = np.concatenate(seen)
    assert np.array_equal(whole, array)
    measured = IntensityRange.of(small).to_unit(small.read())
    np.testing.assert_allclose(whole[::4], measured, atol=1e-6)
    assert not begun.path.exists()


def test_it_says_where_it_belongs(wide: Volume, tiny_job: TrainJob, tmp_path: Path) -> None:
    """A central part of the stack is restored, finer by k and not by the factor."""
    job = tiny_job.override(["prior=null", "targets={kind: linear, factor: 2, max_voxels: 100000}"])
    events = stream(job, wide, tmp_path / "model")
    begun = next(event for event in events if isinstance(event, VolumeBegun))
    assert begun.shape == (17, 76, 70)
    assert begun.voxel_size == (20, 10, 10)
    assert begun.origin == (0, 10 * 27, 0)
    array = np.load(begun.path, mmap_mode="r")
    while not isinstance(next(events), BlockWritten):
        pass
    events.close()
    y, x = int(begun.origin[1] / 10), int(begun.origin[2] / 10)
    measured = IntensityRange.of(wide).to_unit(wide.read())[:, y : y + 76, x : x + 70]
    np.testing.assert_allclose(array[::2], measured, atol=1e-6)


def test_raw_targets_announce_no_volume(small: Volume, tiny_job: TrainJob, tmp_path: Path) -> None:
    events = list(stream(tiny_job.override(["targets.kind=none"]), small, tmp_path / "model"))
    assert not of_type(events, VolumeBegun)
    assert not of_type(events, BlockWritten)


def test_stage_two_goes_on_at_the_slab_it_had_reached(
    gap_by_gap: None,
    small: Volume,
    tiny_job: TrainJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = list(stream(tiny_job, small, tmp_path / "whole"))
    boxes, fill = [], _pseudo_hr.fill_shard
    monkeypatch.setattr(
        _pseudo_hr, "fill_shard", lambda v, g, box, *r: boxes.append(box) or fill(v, g, box, *r)
    )
    folder = tmp_path / "model"
    for asked in (2, 1):  # stopped after two slabs, then at once
        cancel = CancelToken()
        for event in stream(tiny_job, small, folder, cancel, resume=True):
            asked -= isinstance(event, BlockWritten)
            if asked == 0:
                cancel.cancel()
        assert event == Finished(Outcome.CANCELLED)
        assert [box.start[0] for box in boxes] == [0, 4]
    resumed = list(stream(tiny_job, small, folder, resume=True))
    assert [box.start[0] for box in boxes] == [0, 4, 8, 12, 16]
    first, *others = of_type(resumed, BlockWritten)
    assert (first.start[0], first.stop[0]) == (0, 8)
    assert others == of_type(whole, BlockWritten)[2:]
    for name in ("prior", "student"):
        file = f"{name}/weights.safetensors"
        assert (folder / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_time_spent_on_stage_two_counts_in_later_sessions(
    small: Volume, tiny_job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tiny_job.override(["prior=null", "targets.kind=linear", "max_minutes=10"])
    cancel = CancelToken()
    for event in stream(job, small, tmp_path / "model", cancel):
        if isinstance(event, BlockWritten):
            cancel.cancel()
    mark = tmp_path / "model" / "work" / "pseudo_hr.json"
    facts = json.loads(mark.read_text("utf-8"))
    assert 0 < facts["seconds"] < 10
    mark.write_text(json.dumps(facts | {"seconds": 400.0}), "utf-8")
    budgets, fit = [], stage.fit
    monkeypatch.setattr(
        stage, "fit", lambda *a, **k: budgets.append(k["max_seconds"]) or fit(*a, **k)
    )
    list(stream(job, small, tmp_path / "model", resume=True))
    assert budgets == [pytest.approx(job.student.optimizer.share * (600 - 400), abs=1)]


SHAPE = (6, 3, 2)


def test_a_slab_file_is_a_plain_npy_file_that_keeps_count(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(SHAPE, np.float32)
    file = SlabFile(tmp_path / "a.npy", SHAPE, resume=False)
    looked_at = np.load(tmp_path / "a.npy", mmap_mode="r")
    file.write(values[:4])
    file.note(1.5)
    file.write(values[4:5])  # killed before it was noted: done again
    file = SlabFile(tmp_path / "a.npy", SHAPE, resume=True)
    assert (file.num_done, file.seconds, file.is_complete) == (4, 1.5, False)
    file.write(values[4:])
    file.note(2)
    assert file.is_complete
    assert SlabFile(tmp_path / "a.npy", SHAPE, resume=True).seconds == 3.5
    assert np.array_equal(read_slabs(file.path), values)
    assert np.array_equal(looked_at, values)


@pytest.mark.parametrize("damage", ["mark", "array", "shape", "not asked"])
def test_a_slab_file_that_does_not_fit_is_begun_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npy"
    file = SlabFile(path, SHAPE, resume=False)
    file.write(np.ones(SHAPE, np.float32))
    file.note(1)
    if damage == "mark":
        path.with_suffix(".json").write_text('{"shape": [6,', "utf-8")
    elif damage == "array":
        path.write_bytes(path.read_bytes()[:100])
    shape = (7, 3, 2) if damage == "shape" else SHAPE
    file = SlabFile(path, shape, resume=damage != "not asked")
    assert (file.num_done, file.seconds) == (0, 0)
    assert not read_slabs(file.path).any()
    assert np.load(path).shape == shape


# signs of life ------------------------------------------------------------------------


def test_every_stage_tells_its_curves_and_the_time_left(
    small: Volume, tiny_job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_loop, "REPORT_EVERY_S", 0.0)
    curves: dict[int, set[str]] = {}
    left: dict[int, list[float | None]] = {}
    for event in stream(tiny_job, small, tmp_path / "model"):
        if isinstance(event, StageStarted):
            number = event.index
        elif isinstance(event, Scalars):
            curves.setdefault(number, set()).update(event.values)
        elif isinstance(event, Progress):
            left.setdefault(number, []).append(event.eta_s)
    for number in (1, 3):
        assert {TRAINING_LOSS, VALIDATION_GAIN} <= curves[number]
        assert "score" not in curves[number]
    for number in (1, 2, 3):
        assert left[number][-1] is not None
        assert left[number][-1] >= 0


def test_progress_goes_on_within_a_slow_slab(
    gap_by_gap: None,
    small: Volume,
    tiny_job: TrainJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill = _pseudo_hr.fill_shard

    def slow(*arguments: Any) -> Any:
        token, until = arguments[-1], time.monotonic() + 0.5
        while time.monotonic() < until:
            assert not token
            time.sleep(0.02)
        return fill(*arguments)

    monkeypatch.setattr(_pseudo_hr, "fill_shard", slow)
    monkeypatch.setattr(_pseudo_hr, "BEAT_S", 0.1)
    job = tiny_job.override(["prior=null", "targets.kind=linear"])
    events = stream(job, small, tmp_path / "model")
    told = []
    for event in events:
        told.append(event)
        if len(of_type(told, BlockWritten)) == 3:
            break
    events.close()
    blocks = [n for n, event in enumerate(told) if isinstance(event, BlockWritten)]
    within = [told[n + 2 : m] for n, m in itertools.pairwise(blocks)]
    for beats, start in zip(within, (4, 8), strict=True):
        assert 2 <= len(beats) <= 5
        assert all(start <= beat.done < start + 4 and beat.eta_s > 0 for beat in beats)
        assert beats[-1].done > start  # by the looks of the slab before


def test_work_in_beats_ends_when_nobody_listens_any_more() -> None:
    token, ended = CountingToken(None), threading.Event()

    def work() -> None:
        while not token:
            time.sleep(0.001)
        ended.set()

    beats = in_beats(work, token, lambda: Progress(0, 1, "beats"), 0.01)
    next(beats)
    beats.close()
    assert ended.is_set()


def test_what_the_work_raises_arrives() -> None:
    def work() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        list(in_beats(work, CountingToken(None), lambda: Progress(0, 1, "beats"), 9.0))


# stopping -----------------------------------------------------------------------------


def stopped(events: Iterator[Event], cancel: CancelToken, where: Any) -> float:
    """Seconds from asking to the last event, which says that it was cancelled."""
    asked = None
    for event in events:
        if asked is None and where(event):
            cancel.cancel()
        if asked is None and cancel:
            asked = time.monotonic()
    assert event == Finished(Outcome.CANCELLED)
    return time.monotonic() - asked


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_stage_stops_within_a_second(
    stack: Volume, tiny_job: TrainJob, tmp_path: Path, number: int
) -> None:
    endless = {1: "prior", 3: "student"}.get(number)
    job = tiny_job.override([f"{endless}.optimizer.max_steps=100000"]) if endless else tiny_job
    cancel = CancelToken()
    took = stopped(
        stream(job, stack, tmp_path / "model", cancel),
        cancel,
        lambda event: isinstance(event, StageStarted) and event.index == number,
    )
    assert took < 1


@pytest.mark.parametrize("judging", ["measure_halo", "leave_one_out"])
def test_judging_stops_within_a_second(
    stack: Volume,
    tiny_job: TrainJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    judging: str,
) -> None:
    cancel, real = CancelToken(), getattr(stage, judging)
    asked = []

    def asks(*arguments: Any, **named: Any) -> Any:
        asked.append(time.monotonic())
        cancel.cancel()
        return real(*arguments, **named)

    monkeypatch.setattr(stage, judging, asks)
    events = list(stream(tiny_job, stack, tmp_path / "model", cancel))
    assert events[-1] == Finished(Outcome.CANCELLED)
    assert time.monotonic() - asked[0] < 1
    assert isinstance(events[-2], CheckpointSaved)  # judged again by the next session
    assert not (tmp_path / "model" / "work" / "prior").exists()


# a folder that cannot be written ------------------------------------------------------


def test_a_folder_that_cannot_be_written_is_refused_before_training(
    small: Volume, tiny_job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written; choose another folder"):
        resolve_train(tiny_job, small, tmp_path / "file" / "model")
    plan = resolve_train(tiny_job, small, tmp_path / "model")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", denied)
        with pytest.raises(InputError, match="model cannot be written; choose another folder"):
            list(run_train(plan))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InputError, match="cannot be written"):
        resolve_train(tiny_job, small, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
