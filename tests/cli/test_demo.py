"""The demo: sample, training, result and report in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_d2r import demo
from napari_d2r.jobs import (
    CancelToken,
    Finished,
    Outcome,
    StageStarted,
    Started,
    TrainJob,
)
from napari_d2r.samples import phantom_sample


def tiny_demo(monkeypatch: pytest.MonkeyPatch, tiny_job: TrainJob) -> None:
    monkeypatch.setattr(demo, "phantom_sample", lambda: phantom_sample((33, 64, 64), factor=8))
    monkeypatch.setattr(demo, "load_preset", lambda _: tiny_job)


def test_the_demo_leaves_the_whole_story(
    run: Any, tiny_job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_demo(monkeypatch, tiny_job)
    folder = tmp_path / "demo"
    for _ in range(2):  # a second one replaces the first
        told = run("demo", "--out", folder, "--max-minutes", 1)
        assert told.code == 0
        assert {path.name for path in folder.iterdir()} == {
            *("sample.tif", "truth.tif", "model", "result.ome.zarr", "report.json", "report.png")
        }
    assert "XZ" in told.out
    assert str(folder / "report.png") in told.out


def test_the_demo_is_one_stream_of_events(
    tiny_job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_demo(monkeypatch, tiny_job)
    cancel = CancelToken()
    events = []
    for event in demo.run_demo(tmp_path, max_minutes=1, say=events.append, cancel=cancel):
        events.append(event)
        if isinstance(event, StageStarted) and event.title.startswith("stage III"):
            cancel.cancel()
    assert [isinstance(e, Started) for e in events] == [True] + [False] * (len(events) - 1)
    assert [isinstance(e, Finished) for e in events] == [False] * (len(events) - 1) + [True]
    assert events[-1].outcome is Outcome.CANCELLED
