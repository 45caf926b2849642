"""``train`` begun by torchrun: real processes, one model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from napari_d2r.checkpoints import load_model
from napari_d2r.cli import main
from napari_d2r.errors import InputError
from napari_d2r.jobs import TrainJob
from napari_d2r.stages.train import resolve_train
from napari_d2r.volumes import Volume

pytestmark = pytest.mark.skipif(os.name == "nt", reason="torchrun needs POSIX here")
ROLES = ("prior", "student")
TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    *("-m", "napari_d2r", "train"),
)


@contextmanager
def begun(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """torchrun and the two that it begins, one group of processes; none is left behind."""
    with subprocess.Popen(
        [*TORCHRUN, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def names_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_two_processes_make_one_model(
    phantom_files: tuple[Path, Path], tiny_model: Path, tiny_yaml: Path, tmp_path: Path
) -> None:
    """As one process does: the same files, the same losses, and one voice."""
    model, report = tmp_path / "model", tmp_path / "report.json"
    with begun(phantom_files[0], model, "--job", tiny_yaml, "--json", report) as process:
        out, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert out.count("models in ") == said.count("[3/3]") == 1
    assert names_of(model) == names_of(tiny_model)
    assert json.loads(report.read_text("utf-8"))["leave_one_out_gain_db"].keys() == set(ROLES)
    for role in ROLES:
        card, alone = (load_model(folder / role).card for folder in (model, tiny_model))
        assert card.compute.num_processes == 2
        assert alone.compute.num_processes == 1
        assert card.steps == alone.steps
        assert card.scores == pytest.approx(alone.scores, abs=1e-3)


def test_ctrl_c_stops_all_at_one_step_and_one_goes_on(
    phantom_files: tuple[Path, Path], tiny_yaml: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    arguments = (phantom_files[0], model, "--job", tiny_yaml)
    endless = [f"--set={stage}.optimizer.max_steps=null" for stage in ROLES]
    hour, moment = (["--set", f"max_minutes={minutes}"] for minutes in (60, 0.0001))
    with begun(*arguments, *endless, *hour) as process:
        while (said := process.stderr.readline()) and "[1/3]" not in said:
            pass
        os.killpg(process.pid, signal.SIGINT)  # to torchrun, which passes it on, and to both
        _, rest = process.communicate(timeout=600)
    assert process.returncode != 0
    assert len(re.findall("the training so far is kept", rest)) == 1, rest
    assert "TrainingError" not in rest
    assert names_of(model) == [
        f"work/{name}" for name in ("computed_on", "identity", "job.yaml", "prior.safetensors")
    ]
    resumed = [*map(str, arguments), *endless, *moment, "--resume"]
    assert main(["train", *resumed]) == 0


def test_a_batch_that_is_too_small_to_be_shared_is_refused(
    stack: Volume, tiny_job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "3", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="batch of 2 crops cannot be shared by 3 processes"):
        resolve_train(tiny_job, stack, tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    plan = resolve_train(tiny_job, stack, tmp_path)
    assert plan.num_processes == 2
    assert "no time limit on 2 x cpu" in plan.lines()[-1]
