"""What becomes of a result: saved, kept, cleared, repeated elsewhere, described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

from napari_d2r import open_volume
from napari_d2r._npe2 import METADATA
from napari_d2r.widgets import copy_methods_paragraph

pytestmark = pytest.mark.usefixtures("no_threads_left")


def test_save_as_keeps_voxels_and_their_size(
    viewer: Any,
    widget: Any,
    run: Any,
    tmp_path: Path,
    qtbot: Any,
    monkeypatch: Any,
    choose_model: Any,
    result: Any,
) -> None:
    choose_model(widget, "Linear")
    assert not widget.view.save.isEnabled()
    run(widget)
    expected = np.asarray(result().data)
    for name in ("a result.tif", "a result.ome.zarr"):
        target = tmp_path / name
        monkeypatch.setattr(
            QFileDialog, "getSaveFileName", lambda *a, target=target, **k: (str(target), "")
        )
        with qtbot.waitSignal(widget.view.save.said, timeout=10000):
            qtbot.mouseClick(widget.view.save, Qt.MouseButton.LeftButton)
        assert widget.view.status.text() == f"Saved as {target}."
        saved = open_volume(target)
        assert np.array_equal(saved.read(), expected)
        assert np.allclose(tuple(saved.voxel_size), (10, 10, 10))
    with qtbot.waitSignal(widget.view.save.said, timeout=10000):  # the name is taken now
        qtbot.mouseClick(widget.view.save, Qt.MouseButton.LeftButton)
    assert "exists; choose another name" in widget.view.status.text()


@pytest.mark.parametrize("name", ["wished.ome.zarr", "wished.tif"])
def test_save_to_is_where_the_result_goes(
    viewer: Any,
    widget: Any,
    ready: Any,
    qtbot: Any,
    tmp_path: Path,
    name: str,
    choose_model: Any,
    result: Any,
) -> None:
    choose_model(widget, "Linear")
    widget.form.save_to.setText(str(tmp_path / name))
    widget.form.save_to.editingFinished.emit()
    assert widget.form.save_format.currentText() == ("TIFF" if "tif" in name else "OME-Zarr")
    ready(widget)
    qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)
    # once it is done the name is taken
    qtbot.waitUntil(lambda: "exists; choose another" in widget.view.plan.text(), timeout=15000)
    assert not widget.view.run.isEnabled()
    saved = open_volume(tmp_path / name)
    assert np.array_equal(saved.read(), np.asarray(result().data))


def test_copied_python_and_command_do_what_the_form_does(
    viewer: Any,
    open_widget: Any,
    run: Any,
    phantom_files: Any,
    tmp_path: Path,
    monkeypatch: Any,
    choose_model: Any,
    result: Any,
) -> None:
    import shlex

    from napari_d2r.cli import main

    viewer.open(str(phantom_files[0]), plugin="napari-d2r")
    widget = open_widget("Super-resolve")
    choose_model(widget, "Cubic")
    widget.form.target.setCurrentIndex(1)
    widget.form.factor.setValue(3)
    run(widget)
    expected = np.asarray(result().data)
    monkeypatch.chdir(tmp_path)

    widget.form.save_to.setText("by python.ome.zarr")
    widget.view.copy_python.trigger()
    exec(QApplication.clipboard().text(), {})
    widget.form.save_to.setText("by command.ome.zarr")
    widget.view.copy_command.trigger()
    words = shlex.split(QApplication.clipboard().text(), comments=True)
    assert main(words[1:]) == 0
    for name in ("by python.ome.zarr", "by command.ome.zarr"):
        assert np.array_equal(open_volume(name).read(), expected)


def test_a_layer_without_a_file_is_copied_with_a_placeholder(
    viewer: Any, widget: Any, ready: Any
) -> None:
    widget.view.copy_python.trigger()
    text = QApplication.clipboard().text()
    assert text.startswith("# STACK.tif stands for the layer “stack”")
    compile(text, "copied", "exec")
    widget.form.region.setCurrentText("Current view")
    widget.view.copy_command.trigger()
    assert " --roi 0:" in QApplication.clipboard().text()


def test_methods_paragraph_of_a_result(
    viewer: Any, widget: Any, run: Any, tiny_model: Path, capsys: Any, result: Any
) -> None:
    copy_methods_paragraph(viewer)
    assert "Select one layer that Super-resolve has made" in capsys.readouterr().out
    widget.form.model.choose_folder(tiny_model)
    run(widget)
    viewer.layers.selection = {result()}
    copy_methods_paragraph(viewer)
    text = QApplication.clipboard().text()
    about = result().metadata[METADATA]
    for words in (
        "40 × 10 × 10 nm",
        "10 × 10 × 10 nm",
        "4 times finer",
        about["weights_sha256"][:16],
        "arXiv:2411.16792",
        f"napari-d2r {about['version']}",
        "linear interpolation",
    ):
        assert words in text


def test_kept_results_are_counted_and_cleared_but_not_those_on_screen(
    viewer: Any,
    widget: Any,
    run: Any,
    qtbot: Any,
    monkeypatch: Any,
    own_folders: Path,
    choose_model: Any,
    result: Any,
) -> None:
    choose_model(widget, "Linear")
    run(widget)
    first = Path(result().metadata[METADATA]["path"])
    viewer.layers.remove(result())
    run(widget)
    second = Path(result().metadata[METADATA]["path"])
    assert first.exists() and second.exists() and first != second
    assert own_folders in second.parents
    qtbot.waitUntil(lambda: "Results kept: 2" in widget.view.cache.label.text(), timeout=5000)
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *a, **k: answers.pop(0))
    qtbot.mouseClick(widget.view.cache.clear, Qt.MouseButton.LeftButton)
    qtbot.wait(100)
    assert first.exists()
    qtbot.mouseClick(widget.view.cache.clear, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "Results kept: 1" in widget.view.cache.label.text(), timeout=5000)
    assert not first.exists() and second.exists()
