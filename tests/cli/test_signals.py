"""Real processes, really stopped: the exit code says who asked, and a resumed run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from napari_d2r.cli import _info, main
from napari_d2r.jobs import CancelToken, Outcome

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


def stopped_in_training(
    stack: Path, model: Path, job: Path, *signals: signal.Signals
) -> tuple[int, str]:
    """Train for ever; send signals once stage I has begun; exit code and stderr."""
    endless = ("--set", "prior.optimizer.max_steps=1000000")
    command = [sys.executable, "-m", "napari_d2r", "train", stack, model, "--job", job, *endless]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = process.stderr.readline()
            assert said.startswith("[1/3]"), said + process.stderr.read()
            for number in signals:
                process.send_signal(number)
            _, rest = process.communicate(timeout=100)
        finally:
            process.kill()
    return process.returncode, said + rest


def files_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)], ids=["ctrl-c", "scheduler"]
)
def test_a_stopped_training_says_who_asked(
    phantom_files: tuple[Path, Path], tiny_yaml: Path, tmp_path: Path, number: Any, code: int
) -> None:
    model = tmp_path / "model"
    returned, said = stopped_in_training(phantom_files[0], model, tiny_yaml, number)
    assert returned == code, said
    assert "what is finished is kept" in said
    assert "Traceback" not in said
    assert files_of(model) == [
        f"work/{name}" for name in ("computed_on", "identity", "job.yaml", "prior.safetensors")
    ]


def test_a_killed_training_leaves_no_model_and_can_be_started_anew(
    phantom_files: tuple[Path, Path], tiny_yaml: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    returned, _ = stopped_in_training(phantom_files[0], model, tiny_yaml, signal.SIGKILL)
    assert returned == -signal.SIGKILL
    assert not (model / "models.json").exists()
    arguments = ["train", phantom_files[0], model, "--job", tiny_yaml, "--overwrite"]
    assert main([str(argument) for argument in arguments]) == 0
    assert (model / "models.json").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
def test_a_signal_asks_and_a_second_one_insists(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, number: Any, code: int
) -> None:
    """In this process: the handler is in place while a command runs, and gone after it."""
    before = signal.getsignal(number)

    def command(signals: int) -> int:
        def runs(_: object, cancel: CancelToken, __: object) -> Outcome:
            for _ in range(signals):
                assert signal.getsignal(number) is not before
                os.kill(os.getpid(), number)
                assert cancel
            return Outcome.CANCELLED

        monkeypatch.setattr(_info, "run_info", runs)
        return main(["info", "stack.tif"])

    assert command(1) == code
    assert command(2) == 130
    assert signal.getsignal(number) is before


def test_an_evaluation_stops_when_asked(
    phantom_files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its stage looks at no token."""
    from napari_d2r.stages import evaluate

    def interrupts(*_: object, **__: object) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return score(*_, **__)

    score = evaluate.score_plane
    monkeypatch.setattr(evaluate, "score_plane", interrupts)
    monkeypatch.setattr(evaluate, "axial_shift", lambda *_: pytest.fail("it went on"))
    truth, report = str(phantom_files[1]), tmp_path / "report.json"
    assert main(["evaluate", truth, truth, "--factor", "4", "--json", str(report)]) == 130
    assert not report.exists()
