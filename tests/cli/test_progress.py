"""What is told of a running job, on a terminal and elsewhere."""

from __future__ import annotations

import sys
import time

import pytest

from napari_d2r.cli import _progress
from napari_d2r.jobs import (
    Progress,
    StageStarted,
    Workers,
)


class Terminal:
    """A stream that says it is watched."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_progress_is_one_bar_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    reporter = _progress.Reporter()
    reporter(StageStarted("super-resolve", 1, 2))
    for done in range(5):
        reporter(Progress(done, 4, "shards", eta_s=8.0 - 2 * done))
        time.sleep(0.11)  # the bar is drawn at most ten times a second
    reporter.close()
    assert "[1/2] super-resolve\n" in terminal.text
    assert "\r" in terminal.text
    assert "3/4 shards, 2 s left" in terminal.text


def test_elsewhere_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress.time, "monotonic", lambda: 100.0)
    reporter = _progress.Reporter()
    for done in range(1001):
        reporter(Progress(done, 1000, "shards", eta_s=0.0))
    assert capsys.readouterr().err.splitlines() == [
        "  0 %, 0/1000 shards, 0 s left",
        "  100 %, 1000/1000 shards, 0 s left",
    ]


def test_how_many_others_compute_stands_beside_the_progress_of_their_stage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reporter = _progress.Reporter()
    for event in (Workers(3), Progress(4, 4, "shards"), Workers(1), Progress(4, 4, "shards")):
        reporter(event)
    reporter(StageStarted("write TIFF"))
    reporter(Progress(9, 9, "slices"))
    assert capsys.readouterr().err.splitlines() == [
        "  100 %, 4/4 shards, 3 workers",
        "  100 %, 4/4 shards, 1 worker",
        "write TIFF",
        "  100 %, 9/9 slices",
    ]
