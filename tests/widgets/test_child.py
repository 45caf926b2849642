"""A training in a process of its own: told, stopped, lost, orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from napari_d2r.jobs import Failed, Finished, Outcome, Started, TrainJob

pytest.importorskip("pytestqt")

from napari_d2r.widgets._child import JobChild


@pytest.fixture
def endless_job(tiny_job: TrainJob) -> TrainJob:
    fields = tiny_job.model_dump(mode="json")
    fields["prior"]["optimizer"]["max_steps"] = 10_000_000
    return TrainJob.checked(fields)


@pytest.fixture
def start(
    qtbot: Any, phantom_files: tuple[Path, Path], tmp_path: Path
) -> Callable[[TrainJob], tuple[JobChild, list[Any]]]:
    def start_(job: TrainJob) -> tuple[JobChild, list[Any]]:
        path = tmp_path / "job.yaml"
        path.write_text(job.to_yaml(), "utf-8")
        arguments = ["train", str(phantom_files[0]), str(tmp_path / "model"), "--job", str(path)]
        child, told = JobChild(arguments, threads=1), []
        child.told.connect(told.append)
        child.start()
        return child, told

    return start_


def test_a_child_tells_everything_and_runs_behind_napari(
    start: Callable[..., Any], tiny_job: TrainJob, qtbot: Any
) -> None:
    child, told = start(tiny_job)
    qtbot.waitUntil(lambda: child.process_id != 0)
    if sys.platform != "win32":
        nice = min(19, psutil.Process().nice() + 10)
        qtbot.waitUntil(lambda: psutil.Process(child.process_id).nice() == nice)
    with qtbot.waitSignal(child.ended, timeout=60_000):
        pass
    assert isinstance(told[0], Started) and told[-1].outcome is Outcome.COMPLETED
    assert set(told[-1].result["gains"]) == {"prior", "student"}
    assert not child.is_running and child.wait(0)


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_a_child_that_is_killed_is_said_to_be(
    start: Callable[..., Any], endless_job: TrainJob, qtbot: Any
) -> None:
    child, told = start(endless_job)
    qtbot.waitUntil(lambda: len(told) > 3, timeout=60_000)
    with qtbot.waitSignal(child.ended, timeout=5_000):
        os.kill(child.process_id, signal.SIGKILL)
    assert isinstance(told[-1], Failed) and "ended from outside" in told[-1].message


def test_a_mistake_comes_back_as_its_sentence(qtbot: Any, tmp_path: Path) -> None:
    child, told = JobChild(["train", str(tmp_path / "no.tif"), str(tmp_path / "m")], threads=1), []
    child.told.connect(told.append)
    with qtbot.waitSignal(child.ended, timeout=60_000):
        child.start()
    assert isinstance(told[-1], Failed) and "does not exist" in told[-1].message
    assert sum(isinstance(event, (Failed, Finished)) for event in told) == 1


_NAPARI = """
import sys
from qtpy.QtCore import QCoreApplication
from napari_d2r.widgets._child import JobChild
application = QCoreApplication([])
child = JobChild(sys.argv[1:], threads=1)
child.told.connect(lambda event: print(child.process_id, type(event).__name__, flush=True))
child.start()
application.exec()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ends the parent by a signal")
def test_a_child_whose_napari_was_killed_saves_and_ends(
    phantom_files: tuple[Path, Path], endless_job: TrainJob, tmp_path: Path
) -> None:
    job, model = tmp_path / "job.yaml", tmp_path / "model"
    job.write_text(endless_job.to_yaml(), "utf-8")
    arguments = ["train", str(phantom_files[0]), str(model), "--job", str(job)]
    with subprocess.Popen(
        [sys.executable, "-c", _NAPARI, *arguments], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        line = ""
        while not line.endswith("Scalars\n"):
            line = parent.stdout.readline()
            assert line
        child = psutil.Process(int(line.split()[0]))
        parent.kill()
    child.wait(10)
    state = model / "work" / "prior.safetensors"
    assert state.is_file() and time.time() - state.stat().st_mtime < 20
    assert [path.name for path in model.iterdir()] == ["work"]
