"""A training that begins with what another model has learned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from napari_d2r.api import train
from napari_d2r.checkpoints import load_card, load_model
from napari_d2r.cli import main
from napari_d2r.errors import InputError
from napari_d2r.jobs import TrainJob
from napari_d2r.stages.train import resolve_train
from napari_d2r.volumes import Volume


def gentle(job: TrainJob, start: Path | None) -> TrainJob:
    """One step, too small to be seen, by networks that are not those of the start."""
    changes = []
    for role in ("prior", "student"):
        changes += [
            f"{role}.optimizer.max_steps=1",
            f"{role}.optimizer.learning_rate=1.0e-9",
            f"{role}.network.options={{widths: [4, 4], blocks: [1, 1]}}",
        ]
    return job.override(changes).model_copy(update={"start_from": start})


def test_it_has_the_networks_and_weights_of_its_start(
    stack: Volume, tiny_job: TrainJob, tiny_model: Path, tmp_path: Path
) -> None:
    train(stack, tmp_path / "adapted", job=gentle(tiny_job, tiny_model))
    train(stack, tmp_path / "fresh", job=gentle(tiny_job, None))
    for role in ("prior", "student"):
        begun = load_model(tiny_model / role)
        adapted = load_model(tmp_path / "adapted" / role)
        assert adapted.card.options == begun.card.options
        assert adapted.card.trained_by is not None
        assert adapted.card.trained_by.start_from == tiny_model
        for name, weights in begun.network.state_dict().items():
            torch.testing.assert_close(adapted.network.state_dict()[name], weights)
        fresh, _ = load_card(tmp_path / "fresh" / role)
        assert fresh.options != begun.card.options


def test_the_bundled_model_is_a_start(stack: Volume, tmp_path: Path) -> None:
    job = TrainJob(start_from=Path("bundled"))
    plan = resolve_train(job, stack, tmp_path / "model")
    assert set(plan.learned) == {"prior", "student"}
    assert plan.job.start_from == Path("bundled")


def test_a_start_without_a_stage_is_refused(
    stack: Volume, tiny_job: TrainJob, tiny_model: Path, tmp_path: Path
) -> None:
    job = tiny_job.model_copy(update={"start_from": tiny_model / "student"})
    with pytest.raises(InputError, match="holds a student and no prior"):
        resolve_train(job, stack, tmp_path / "model")
    lone = job.override(["prior=null", "targets.kind=linear"])
    assert set(resolve_train(lone, stack, tmp_path / "model").learned) == {"student"}


def test_on_the_command_line(
    phantom_files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["train", str(phantom_files[0]), str(tmp_path / "model"), "--dry-run"]
    assert main([*common, "--from", "bundled"]) == 0
    assert main([*common, "--from", str(tmp_path / "nowhere")]) == 2
    assert "no model folder" in capsys.readouterr().err
