"""What a model leaves open is asked for beside it, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_d2r import SuperResolveJob, open_volume, super_resolve
from napari_d2r._npe2 import METADATA
from napari_d2r.api import train
from napari_d2r.jobs import SamplerSettings, TrainJob
from napari_d2r.volumes import Volume

pytestmark = pytest.mark.usefixtures("no_threads_left")
_NAFNET = "{width: 4, encoder_blocks: [1], middle_blocks: 1, decoder_blocks: [1]}"
_SAMPLER = ("direction", "solver", "steps", "samples")


@pytest.fixture(scope="module")
def models(stack: Volume, tiny_job: TrainJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with an IRSDE prior and a student."""
    folder = tmp_path_factory.mktemp("irsde") / "model"
    settings = [
        f"prior.network={{architecture: nafnet, options: {_NAFNET}}}",
        "targets.sampler={solver: dpm++, steps: 2}",
    ]
    train(stack, folder, job=tiny_job.override(settings))
    return folder


@pytest.fixture(autouse=True)
def quick_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is tried for its rate at every change of the form."""
    from napari_d2r.stages import _super_resolve_plan

    monkeypatch.setattr(_super_resolve_plan, "_known_rates", {})
    monkeypatch.setattr(_super_resolve_plan, "measure_rate", lambda *_: 3e6)


@pytest.fixture
def widget(widget: Any, control: Any) -> Any:
    """Super-resolve on the small phantom, without eight bits, which take seconds to try."""
    control(widget, "engine").setCurrentText("torch")
    return widget


@pytest.fixture
def shown(widget: Any, control: Any, qtbot: Any) -> Any:
    """Wait until these controls of the folded-out method are seen, and no others."""
    fold = control(widget, "method")
    everything = {*_SAMPLER, "refine_with", "degradation"}

    def wait(*names: str) -> None:
        qtbot.waitUntil(lambda: not fold.isHidden(), timeout=15_000)
        fold.expand(animate=False)
        qtbot.waitUntil(
            lambda: {n for n in everything if control(widget, n).isVisible()} == {*names},
            timeout=15_000,
        )

    return wait


def test_a_diffusion_model_is_drawn_from_as_the_form_says(
    widget: Any, shown: Any, control: Any, run: Any, result: Any, models: Path, stack: Volume,
    tmp_path: Path,
) -> None:  # fmt: skip
    widget.form.model.choose_folder(models / "prior")
    shown(*_SAMPLER)
    assert control(widget, "steps").value() == 2  # as the card says
    assert widget.form.wish.job.sampler is None
    control(widget, "steps").setValue(3)
    control(widget, "solver").setCurrentText("ddim")
    control(widget, "direction").setCurrentText("xz")
    assert "Finished" in run(widget)

    asked = SamplerSettings(steps=3, solver="ddim", direction="xz")
    job = SuperResolveJob(model=models / "prior", sampler=asked)
    expected = super_resolve(stack, tmp_path / "expected.ome.zarr", job=job)
    assert np.array_equal(result().data, open_volume(expected.path).read())
    assert result().metadata[METADATA]["sampler"] == asked.model_dump(mode="json")
    assert "[D2R sample ×4]" in result().name

    widget.view.copy_command.trigger()
    command = QApplication.clipboard().text()
    assert "--direction xz --solver ddim --steps 3 --samples 1" in command
    widget.form.model.choose_folder(models / "student")  # whose card says nothing of this
    shown("refine_with")
    assert widget.form.wish.job.sampler is None
    widget.form.model.choose_folder(models / "prior")
    shown(*_SAMPLER)
    assert control(widget, "steps").value() == 2


def test_a_prediction_is_refined_by_a_diffusion_model(
    widget: Any, shown: Any, control: Any, run: Any, result: Any, models: Path, qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shown("refine_with")  # of the bundled model
    widget.form.model.choose_folder(models)
    box = control(widget, "refine_with")
    entry = f"{models.name}, prior"
    qtbot.waitUntil(lambda: box.findText(entry) >= 0, timeout=15_000)  # beside the student
    box.setCurrentText(entry)
    shown("refine_with", *_SAMPLER)
    assert control(widget, "steps").value() == 4
    control(widget, "steps").setValue(2)
    assert "Finished" in run(widget)
    about = result().metadata[METADATA]
    assert about["refined_with"]
    assert (about["sampler"]["steps"], about["sampler"]["start"]) == (2, 30)
    widget.view.copy_command.trigger()
    assert f"--refine-with {models / 'prior'} --direction mean" in QApplication.clipboard().text()

    box.setCurrentText("nothing")
    shown("refine_with")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(models / "student"))
    box.setCurrentText("Choose a folder…")
    assert widget.form.wish.job.refine_with == models / "student"
    qtbot.waitUntil(lambda: "is no IRSDE model" in widget.view.plan.text(), timeout=15_000)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    box.setCurrentText("Choose a folder…")
    assert box.currentText() == "model, student"  # as before
    widget.form.model.setCurrentText("Linear interpolation")
    assert widget.form.wish.job.refine_with is None


def test_an_interpolation_is_told_how_slices_were_measured(
    viewer: Any, widget: Any, shown: Any, control: Any, run: Any, result: Any
) -> None:
    widget.form.model.setCurrentText("Linear interpolation")
    shown("degradation")
    control(widget, "degradation").setCurrentText("block")
    assert "Finished" in run(widget)
    moved = result().translate - viewer.layers["stack"].translate
    assert np.allclose(moved, (5, 0, 0))  # half an output voxel
    widget.view.copy_command.trigger()
    assert "--model linear --degradation block" in QApplication.clipboard().text()
