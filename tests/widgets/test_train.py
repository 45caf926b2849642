"""The Train widget as it is used: clicked in a real viewer, with a real child process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from napari_d2r.api import super_resolve
from napari_d2r.checkpoints import bundled_model, load_model
from napari_d2r.jobs import SuperResolveJob, TrainJob
from napari_d2r.volumes import Volume

pytest.importorskip("pytestqt")

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QWidget,
)

pytestmark = [
    pytest.mark.usefixtures("no_threads_left"),
    pytest.mark.slow,
]

START_MS = 90_000  # a child loads torch first, on whatever machine this is


class Clicker:
    """One open Train widget, by the names of its controls."""

    def __init__(self, widget: QWidget, qtbot: Any) -> None:
        self.widget, self.qtbot = widget, qtbot

    def button(self, name: str) -> QPushButton:
        return self.widget.findChild(QPushButton, name)

    def text(self, name: str) -> str:
        return self.widget.findChild(QLabel, name).text()

    def bar(self, number: int) -> QProgressBar:
        return self.widget.findChild(QProgressBar, f"stage_{number}")

    def click(self, name: str) -> None:
        self.qtbot.waitUntil(self.button(name).isEnabled, timeout=START_MS)
        self.qtbot.mouseClick(self.button(name), Qt.MouseButton.LeftButton)

    def choose_folder(self, folder: Path) -> None:
        line = self.widget.findChild(QLineEdit, "project")
        QApplication.clipboard().setText(str(folder))
        line.selectAll()
        line.paste()
        self.qtbot.keyClick(line, Qt.Key.Key_Return)

    def wait_for(self, name: str, *words: str) -> None:
        self.qtbot.waitUntil(
            lambda: any(word in self.text(name) for word in words), timeout=START_MS
        )

    def wait_for_run(self, text: str) -> None:
        run = self.button("run")
        self.qtbot.waitUntil(lambda: run.text() == text and run.isEnabled(), timeout=START_MS)

    def wait_until_learning(self) -> None:
        self.qtbot.waitUntil(lambda: "left" in self.bar(1).text(), timeout=START_MS)


@pytest.fixture
def train(open_widget: Callable[[str], Any], qtbot: Any) -> Callable[[], Clicker]:
    return lambda: Clicker(open_widget("Train"), qtbot)


@pytest.fixture
def long_job(tiny_job: TrainJob) -> TrainJob:
    """As the tiny one, but stage I would go on until its time budget ends it."""
    fields = tiny_job.model_dump(mode="json")
    fields["prior"]["optimizer"]["max_steps"] = 10_000_000
    fields["prior"]["optimizer"]["validate_every"] = 5
    return TrainJob.checked(fields | {"max_minutes": 6.0})


def children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "napari_d2r" in child.cmdline()
    ]


def test_from_a_layer_to_a_finished_model(
    train: Any, add_stack: Any, viewer: Any, tiny_job: TrainJob, stack: Volume, tmp_path: Path
) -> None:
    from napari_d2r.widgets._models import model_list, models_changed

    news: list[bool] = []
    models_changed.connect(lambda: news.append(True))
    add_stack()
    ui = train()
    ui.wait_for("plan", "9 × 64 × 64 voxels")
    assert "15 minutes" in ui.text("plan")
    ui.widget.form.set_job(tiny_job)
    ui.choose_folder(tmp_path / "my project")
    ui.wait_for("plan", "until the steps")
    ui.click("run")
    ui.wait_for("status", "Finished")
    assert "prior" in ui.text("status") and "dB" in ui.text("status")
    assert [ui.bar(n).text() for n in (1, 2, 3)] == ["done"] * 3
    assert ui.widget.findChild(QWidget, "preview").names == ("linear", "prediction", "target")

    layer = viewer.layers["stack [pseudo-HR, not measured]"]
    assert layer.data.shape == (33, 64, 64) and isinstance(layer.data, np.ndarray)
    assert not isinstance(layer.data, np.memmap)  # its file went with the end of the training
    np.testing.assert_allclose(layer.scale, (10, 10, 10))
    np.testing.assert_allclose(layer.translate, (100, 20, 30))
    assert layer.contrast_limits == [0, 1] and "not measured" in str(layer.metadata)
    np.testing.assert_allclose(  # measured slices are in it, in the unit range
        np.corrcoef(layer.data[::4].ravel(), stack.read().ravel())[0, 1], 1, atol=1e-3
    )

    model = tmp_path / "my project" / "my project model"
    assert news and model in [entry.path for entry in model_list()]
    ui.wait_for("plan", "finished model")
    assert not ui.button("run").isEnabled() and ui.button("start_over").isVisible()


def test_a_reference_is_learned_from_where_one_is_named(
    train: Any, add_stack: Any, tiny_job: TrainJob, phantom_files: Any, tmp_path: Path
) -> None:
    add_stack()
    ui = train()
    ui.widget.form.set_job(tiny_job)
    ui.choose_folder(tmp_path / "project")
    name = ui.widget.findChild(QLineEdit, "reference")
    ui.qtbot.keyClicks(name, str(phantom_files[0]))  # the stack itself, which is not isotropic
    ui.qtbot.keyClick(name, Qt.Key.Key_Return)
    ui.wait_for("plan", "must be isotropic")
    assert not ui.button("run").isEnabled()
    name.clear()
    ui.qtbot.keyClicks(name, str(phantom_files[1]))
    ui.qtbot.keyClick(name, Qt.Key.Key_Return)
    ui.wait_for("plan", "Learns from 33 × 64 × 64 voxels of the reference reference.tif")
    assert ui.widget.form.job.reference == phantom_files[1]
    ui.widget.view.copy_command.trigger()
    assert f'reference="{phantom_files[1]}"' in QApplication.clipboard().text()
    ui.widget.form.set_job(ui.widget.form.job)
    assert name.text() == str(phantom_files[1])


def test_what_the_bundled_model_has_learned_is_where_a_training_starts(
    train: Any, add_stack: Any, tiny_job: TrainJob, tmp_path: Path
) -> None:
    add_stack()
    ui = train()
    ui.widget.form.set_job(tiny_job)  # whose networks are not those of the bundled model
    ui.choose_folder(tmp_path / "project")
    start = ui.widget.findChild(QComboBox, "start_from")
    ui.qtbot.keyClicks(start, "the bundled")
    ui.wait_for_run("Run")
    ui.widget.view.copy_command.trigger()
    assert 'start_from="bundled"' in QApplication.clipboard().text()
    ui.click("run")
    ui.qtbot.waitUntil(lambda: "Finished" in ui.text("status"), timeout=3 * START_MS)
    for role in ("prior", "student"):
        begun = load_model(bundled_model(role))
        adapted = load_model(tmp_path / "project" / "project model" / role)
        assert adapted.card.trained_by.start_from == Path("bundled")
        assert adapted.card.steps == 4
        for name, weights in begun.network.state_dict().items():  # four steps do not lead far
            torch.testing.assert_close(
                adapted.network.state_dict()[name], weights, atol=0.02, rtol=0
            )
        assert adapted.card.weights_sha256 != begun.card.weights_sha256


def test_pause_close_cancel_another_day_resume_and_use_the_model(
    train: Any,
    add_stack: Any,
    viewer: Any,
    long_job: TrainJob,
    stack: Volume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "project"
    layer = add_stack()
    ui = train()
    ui.widget.form.set_job(long_job)
    ui.choose_folder(folder)
    ui.wait_for_run("Run")
    ui.click("run")
    ui.wait_until_learning()
    assert ui.button("run").text() == "Pause" and not ui.widget.form.isEnabled()

    ui.click("run")
    ui.wait_for("status", "Paused")
    assert not children()
    ui.wait_for_run("Resume")
    ui.click("run")
    ui.wait_until_learning()

    viewer.window.remove_dock_widget(ui.widget)  # the training goes on without it
    assert len(children()) == 1
    ui = train()
    ui.wait_for("status", "Training")
    assert ui.button("run").text() == "Pause"
    ui.wait_until_learning()
    ui.click("cancel")
    ui.wait_for("status", "Cancelled")
    assert str(folder) in ui.text("status") and not children()

    viewer.window.remove_dock_widget(ui.widget)  # another day: nothing is open but the widget
    viewer.layers.remove(layer)
    viewer.layers.clear()
    ui = train()
    assert not ui.button("run").isEnabled()
    ui.choose_folder(folder)
    ui.wait_for_run("Resume")
    assert "“stack” (9 × 64 × 64 voxels of 40 × 10 × 10 nm)" in ui.text("plan")
    ui.widget.form.factor.setValue(3.0)
    ui.wait_for("plan", "settings differ")
    assert not ui.button("run").isEnabled()
    ui.widget.form.factor.setValue(1.0)
    ui.widget.form.minutes.setValue(0.02)
    ui.wait_for_run("Resume")
    ui.click("run")
    ui.wait_for("status", "Finished")
    pseudo_hr = viewer.layers["stack [pseudo-HR, not measured]"]
    np.testing.assert_allclose(pseudo_hr.translate, (100, 20, 30))
    result = super_resolve(
        stack, tmp_path / "out.tif", model=folder / "project model", job=SuperResolveJob()
    )
    assert result.path.exists()

    ui.widget.form.layer.choose(add_stack())
    ui.widget.form.minutes.setValue(6)
    answers = iter([QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
    monkeypatch.setattr(QMessageBox, "question", lambda *arguments: next(answers))
    ui.wait_for("plan", "finished model")
    ui.click("start_over")
    assert not children() and "Finished" in ui.text("status")
    ui.click("start_over")
    ui.wait_until_learning()
    ui.click("cancel")
    ui.wait_for("status", "Cancelled")


def test_a_closed_viewer_ends_the_child_with_its_state_saved(
    train: Any, add_stack: Any, viewer: Any, long_job: TrainJob, tmp_path: Path
) -> None:
    add_stack()
    ui = train()
    ui.widget.form.set_job(long_job)
    ui.choose_folder(tmp_path / "project")
    ui.wait_for_run("Run")
    ui.click("run")
    ui.wait_until_learning()
    (child,) = children()
    began = time.monotonic()
    viewer.close()
    ui.qtbot.waitUntil(lambda: not child.is_running(), timeout=3_000)
    assert time.monotonic() - began < 3
    state = tmp_path / "project" / "project model" / "work" / "prior.safetensors"
    assert state.is_file()


def test_a_lost_child_is_a_sentence_and_the_button_comes_back(
    train: Any, add_stack: Any, viewer: Any, long_job: TrainJob, tmp_path: Path
) -> None:
    add_stack()
    ui = train()
    ui.widget.form.set_job(long_job)
    ui.choose_folder(tmp_path / "project")
    ui.wait_for_run("Run")
    ui.click("run")
    ui.wait_until_learning()
    (child,) = children()
    child.kill()
    ui.wait_for("status", "ended from outside")
    assert "Resume goes on" in ui.text("status")
    ui.wait_for_run("Resume")


UNUSABLE = [
    (np.zeros((16, 16), np.uint8), {}, "single 2D image"),
    (
        np.zeros((9, 64, 64, 3), np.uint8),
        {"rgb": True, "scale": (40, 10, 10), "units": "nm"},
        "Layers > Split RGB",
    ),
    (np.zeros((2, 8, 16, 16), np.uint8), {}, "4 axes"),
    (np.zeros((3, 64, 64), np.uint8), {"scale": (40, 10, 10), "units": "nm"}, "at least 4"),
    (np.zeros((9, 64, 64), np.int64), {"scale": (40, 10, 10), "units": "nm"}, "int64"),
    (np.zeros((9, 64, 64), np.uint8), {}, "voxel size"),
    (np.zeros((9, 64, 64), np.uint8), {"scale": (10, 10, 10), "units": "nm"}, "nothing to do"),
]


def test_layers_that_cannot_be_learned_from_say_why(train: Any, viewer: Any) -> None:
    ui = train()
    for data, keywords, sentence in UNUSABLE:
        layer = viewer.add_image(data, **keywords)
        ui.wait_for("plan", sentence)
        assert not ui.button("run").isEnabled()
        viewer.layers.remove(layer)


def test_without_a_layer_and_in_a_taken_folder_nothing_runs(
    train: Any, add_stack: Any, viewer: Any, tmp_path: Path
) -> None:
    ui = train()
    ui.wait_for("plan", "There is no image")
    viewer.add_image(np.zeros((9, 64, 64), np.uint8), name="pixels")
    ui.wait_for("voxel_size_note", "Please enter")
    edit = ui.widget.form.voxel_size
    for axis, edge in zip("zyx", (40, 10, 10), strict=True):
        edit.edges[axis].setValue(edge)
    ui.wait_for_run("Run")
    taken = tmp_path / "Bilder für Köln"
    taken.mkdir()
    (taken / "a.jpg").write_bytes(b"")
    ui.choose_folder(taken)
    ui.wait_for("plan", "holds other things")
    assert not ui.button("run").isEnabled()
    ui.choose_folder(taken / "a.jpg" / "deeper")
    ui.wait_for("plan", "cannot be written", "is a file")


def test_every_control_has_a_name_and_is_in_the_docs(train: Any, add_stack: Any) -> None:
    add_stack()
    ui = train()
    page = (Path(__file__).parents[2] / "docs" / "train.md").read_text("utf-8")
    advanced = ui.widget.form.advanced
    controls = [
        part
        for part in ui.widget.findChildren(QWidget)
        if part.objectName()
        and not part.objectName().startswith("qt_")
        and not advanced.isAncestorOf(part)
    ]
    names = {part.objectName() for part in controls if part.accessibleName()}
    assert {"layer", "project", "preset", "minutes", "factor", "run", "cancel", "plan"} <= names
    assert all(f"`{name}`" in page for name in names)

    first = ui.widget.form.layer
    order, part = ["layer"], first.nextInFocusChain()
    while part is not first:
        if part.objectName() in names and part.focusPolicy() & Qt.FocusPolicy.TabFocus:
            order.append(part.objectName())
        part = part.nextInFocusChain()
    assert order == [
        *("layer", "voxel_size_z", "voxel_size_y", "voxel_size_x", "project", "browse", "preset"),
        *("start_from", "reference", "browse_reference", "minutes", "factor"),
        *("run", "cancel", "start_over", "copy", "log"),
    ]
