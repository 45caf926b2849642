"""Edits of a layer, a number or a model after the form was filled: what is planned follows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.QtCore import Qt

from napari_d2r.checkpoints import bundled_model, remember_model
from napari_d2r.errors import InputError
from napari_d2r.samples import phantom_sample
from napari_d2r.stages import _fill as stage
from napari_d2r.widgets import _super_resolve_form
from napari_d2r.widgets._layers import require_stack
from napari_d2r.widgets._model_choice import ModelChoice
from napari_d2r.widgets._models import models_changed
from napari_d2r.widgets._voxel_size_edit import VoxelSizeEdit

pytestmark = pytest.mark.usefixtures("no_threads_left")


def test_the_plan_and_the_findings_follow_an_edited_layer(
    add_stack: Any, open_widget: Any, qtbot: Any
) -> None:
    layer = add_stack()
    widgets = [open_widget(name) for name in ("Super-resolve", "Train")]
    widgets[0].form.model.setCurrentText("Linear interpolation")

    def wait(*plans: str) -> None:
        for widget, words in zip(widgets, plans, strict=True):
            qtbot.waitUntil(lambda w=widget, t=words: t in w.view.plan.text(), timeout=30_000)
            qtbot.waitUntil(widget.view.run.isEnabled, timeout=30_000)

    wait("33 × 64 × 64", "9 × 64 × 64")
    layer.scale = (80, 10, 10)
    wait("65 × 64 × 64", "factor 8")
    size = widgets[0].form.voxel_size
    size.edges["z"].setValue(40)
    assert "Entered by you" in widgets[0].form.voxel_size_note.text()
    layer.translate = (0, 0, 0)  # leaves what was entered
    wait("33 × 64 × 64", "factor 8")
    assert size.value.z == 40
    layer.data = layer.data[:7]
    for widget in widgets:
        qtbot.waitUntil(lambda w=widget: w.view.findings.is_looking, timeout=5_000)
        assert not widget.view.run.isEnabled()
    wait("25 × 64 × 64", "7 × 64 × 64")


def test_pixels_edited_in_place_do_not_meet_blocks_of_the_old_ones(
    add_stack: Any, open_widget: Any, qtbot: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(_super_resolve_form, "SHARD_SECONDS", 1e-9)
    layer = add_stack(phantom_sample((33, 160, 160), factor=4)[0].read().copy())  # nine blocks
    widget = open_widget("Super-resolve")
    widget.form.model.setCurrentText("Linear interpolation")
    fill, begun = stage.begin_shard, []

    def fail_at_the_third(*arguments: Any) -> Any:
        begun.append(arguments)
        if len(begun) == 3:
            raise ValueError("enough")
        return fill(*arguments)

    def run(words: str) -> None:
        qtbot.waitUntil(lambda: widget.view.run.text() == words, timeout=30_000)
        qtbot.waitUntil(widget.view.run.isEnabled, timeout=30_000)
        qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not widget._run.is_running, timeout=30_000)

    monkeypatch.setattr(stage, "begin_shard", fail_at_the_third)
    run("Run")
    layer.data[4, 77, 77] ^= 1  # one pixel, of which napari does not tell
    run("Resume")
    assert "the input" in widget.view.status.text() and "Start over" in widget.view.status.text()
    assert len(begun) == 3
    qtbot.waitUntil(widget.view.start_over.isEnabled, timeout=30_000)
    qtbot.mouseClick(widget.view.start_over, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget._run.is_running, timeout=30_000)
    assert len(begun) == 3 + 9
    assert np.array_equal(np.asarray(widget._run.layer.data)[::4], layer.data)


def test_an_edge_that_nobody_touched_stays_exact(viewer: Any, add_stack: Any, qtbot: Any) -> None:
    layer = add_stack(scale=(40, 10 / 3, 10 / 3))
    edit = VoxelSizeEdit()
    qtbot.addWidget(edit)
    edit.read(layer)
    for axis in "zyx":
        qtbot.keyClick(edit.edges[axis], Qt.Key.Key_Return)
    assert edit.is_from_layer and edit.value is not None
    assert edit.value.anisotropy == pytest.approx(12, abs=1e-7)
    edit.edges["z"].setValue(41)
    assert not edit.is_from_layer


def test_an_affine_that_scales_or_mirrors_is_refused(viewer: Any, add_stack: Any) -> None:
    layer = add_stack()
    layer.affine = np.array([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    require_stack(layer)
    for diagonal in ((2, 1, 1, 1), (1, 1, -1, 1)):
        layer.affine = np.diag(np.array(diagonal, float))
        with pytest.raises(InputError, match="reset its transform"):
            require_stack(layer)


def test_a_model_trained_anew_in_its_folder_is_told(tmp_path: Path, qtbot: Any) -> None:
    folder = (tmp_path / "model").resolve()
    shutil.copytree(bundled_model(), folder)
    remember_model(folder)
    choice = ModelChoice()
    qtbot.addWidget(choice)
    with qtbot.waitSignal(choice.changed, timeout=10_000):  # the list is there
        pass
    choice.choose_folder(folder)
    for card in folder.rglob("card.json"):
        facts = json.loads(card.read_text("utf-8"))
        card.write_text(json.dumps(facts | {"weights_sha256": "0" * 64}), "utf-8")
    with qtbot.waitSignal(choice.changed, timeout=10_000):
        models_changed.emit()
    assert choice.fields == {"model": folder}
