"""Super-resolve by mouse: from a layer to a finer one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

from napari_d2r import open_volume, super_resolve
from napari_d2r._npe2 import METADATA
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.volumes import Volume
from napari_d2r.widgets import copy_methods_paragraph

pytestmark = pytest.mark.usefixtures("no_threads_left")
Click = Callable[[str], None]


@pytest.fixture
def widget(open_widget: Any, add_stack: Any) -> Any:
    """The widget on the small phantom."""
    add_stack()
    return open_widget("Super-resolve")


@pytest.fixture
def ready(qtbot: Any) -> Callable[[Any], None]:
    """Wait until a widget may run."""

    def wait(widget: Any) -> None:
        qtbot.waitUntil(
            lambda: widget.view.run.isEnabled() and not widget._planner.is_busy, timeout=15000
        )

    return wait


@pytest.fixture
def run(qtbot: Any, ready: Any) -> Callable[[Any], str]:
    """Click Run and wait for the end; returns the status line."""

    def run_(widget: Any) -> str:
        ready(widget)
        qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not widget._run.is_running, timeout=20000)
        ready(widget)
        return str(widget.view.status.text())

    return run_


def _choose(widget: Any, model: str) -> None:
    box = widget.form.model
    box.setCurrentIndex(next(i for i in range(box.count()) if model in box.itemText(i)))


def _result(viewer: Any) -> Any:
    return next(
        layer
        for layer in reversed(viewer.layers)
        if layer.metadata.get(METADATA, {}).get("kind") == "super-resolved"
    )


def test_three_clicks_give_what_the_engine_gives_where_the_source_lies(
    viewer: Any, widget: Any, run: Any, stack: Volume, tiny_model: Path, tmp_path: Path
) -> None:
    source = viewer.layers["stack"]
    source.colormap = "magma"
    widget.form.model.choose_folder(tiny_model)
    assert "Finished: 33 × 64 × 64" in run(widget)

    layer = _result(viewer)
    expected = super_resolve(stack, tmp_path / "expected.ome.zarr", model=tiny_model)
    assert np.array_equal(layer.data, open_volume(expected.path).read())
    assert np.allclose(layer.scale, (10, 10, 10))
    assert np.allclose(layer.translate, source.translate)
    assert layer.units == source.units
    assert layer.axis_labels == source.axis_labels
    assert layer.colormap.name == "magma"
    assert layer.contrast_limits == source.contrast_limits
    for j in (0, 3, 8):  # slice j of the stack and slice j r of the result share a place
        place = source.data_to_world((j, 5, 7))
        assert np.allclose(layer.world_to_data(place), (4 * j, 5, 7))
        assert np.array_equal(layer.data[4 * j], source.data[j])

    about = layer.metadata[METADATA]
    assert about["source"] == "stack"
    assert about["factor"] == 4
    assert about["model_path"].startswith(str(tiny_model))
    assert about["is_complete"] is True
    stored = open_volume(about["path"])
    assert tuple(stored.voxel_size) == (10, 10, 10)


def test_the_plan_follows_the_form(viewer: Any, widget: Any, ready: Any, qtbot: Any) -> None:
    _choose(widget, "Linear")
    ready(widget)
    assert "33 × 64 × 64 voxels of 10 x 10 x 10 nm" in widget.view.plan.text()
    widget.form.target.setCurrentIndex(1)
    assert widget.form.factor.isEnabled()
    widget.form.factor.setValue(2)
    qtbot.waitUntil(lambda: "17 × 64 × 64 voxels of 20 x" in widget.view.plan.text(), timeout=5000)
    widget.form.factor.setValue(2.5)
    qtbot.waitUntil(lambda: "not whole" in widget.view.plan.text(), timeout=5000)
    assert "--" not in widget.view.plan.text()  # no options of the command line in a form
    widget.form.keep_measured.setChecked(True)
    qtbot.waitUntil(lambda: "rounded to 2" in widget.view.plan.text(), timeout=5000)
    widget.form.target.setCurrentIndex(0)
    widget.form.voxel_size.edges["z"].setValue(10)
    qtbot.waitUntil(lambda: "nothing to do" in widget.view.plan.text(), timeout=5000)
    assert not widget.view.run.isEnabled()
    assert "--" not in widget.view.plan.text()


def test_a_layer_in_pixels_asks_for_its_voxel_size(
    viewer: Any, open_widget: Any, stack: Volume, run: Any, qtbot: Any
) -> None:
    source = viewer.add_image(stack.read(), name="pixels", translate=(1, 2, 3))
    widget = open_widget("Super-resolve")
    _choose(widget, "Linear")
    qtbot.wait(300)
    assert not widget.view.run.isEnabled()
    assert "voxel size of pixels is not known" in widget.view.plan.text()
    assert "Please enter" in widget.form.voxel_size_note.text()
    for axis, edge in zip("zyx", (40, 10, 10), strict=True):
        widget.form.voxel_size.edges[axis].setValue(edge)
    run(widget)
    layer = _result(viewer)
    assert np.allclose(layer.scale, (10, 10, 10))
    assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
    assert np.allclose(source.scale, (40, 10, 10))  # so that both lie on each other
    assert np.allclose(layer.translate, source.translate)
    assert np.allclose(source.translate, (40, 20, 30))


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (lambda v: v.add_image(np.zeros((64, 64), np.uint8), name="flat"), "a single 2D image"),
        (lambda v: v.add_image(np.zeros((9, 64, 64, 3), np.uint8), rgb=True), "RGB"),
        (lambda v: v.add_image(np.zeros((2, 9, 64, 64), np.uint8)), "4 axes"),
        (lambda v: v.add_labels(np.zeros((9, 64, 64), np.uint8)), "There is no image"),
        (lambda v: v.add_image(np.zeros((9, 64, 64), np.uint8), rotate=(0, 0, 30)), "is rotated"),
        (
            lambda v: v.add_image(np.zeros((9, 64, 64), np.uint8), scale=(4, 1, 1), units="nm"),
            "is constant",
        ),
        (
            lambda v: v.add_image(np.zeros((2, 64, 64), np.uint8), scale=(4, 1, 1), units="nm"),
            "at least 4 are needed",
        ),
        (
            lambda v: v.add_image(np.zeros((9, 64, 64), int), scale=(4, 1, 1), units="nm"),
            "holds int64 values",
        ),
        (lambda v: None, "There is no image"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_run(
    viewer: Any, open_widget: Any, qtbot: Any, add: Any, words: str
) -> None:
    add(viewer)
    widget = open_widget("Super-resolve")
    _choose(widget, "Linear")
    qtbot.waitUntil(lambda: words in widget.view.plan.text(), timeout=10000)
    assert not widget.view.run.isEnabled()


@pytest.mark.parametrize("kind", ["uint16", "float32", "zarr", "dask", "multiscale"])
def test_every_kind_of_layer_works(
    viewer: Any,
    add_stack: Any,
    open_widget: Any,
    run: Any,
    stack: Volume,
    kind: str,
    tmp_path: Path,
) -> None:
    values = np.array(stack.read())
    if kind == "uint16":
        values = values.astype(np.uint16) * 200
    elif kind == "float32":
        values = values.astype(np.float32) / 255
    data: Any = values
    if kind == "zarr":
        import zarr

        data = zarr.create_array(tmp_path / "s.zarr", data=values, chunks=(4, 32, 32))
    elif kind == "dask":
        import dask.array

        data = dask.array.from_array(values, chunks=(3, 32, 32))
    elif kind == "multiscale":
        data = [values, values[:, ::2, ::2]]
    limits = (float(values.min()), float(values.max()))
    add_stack(data, multiscale=kind == "multiscale", contrast_limits=limits)
    widget = open_widget("Super-resolve")
    _choose(widget, "Linear")
    run(widget)
    layer = _result(viewer)
    assert layer.data.dtype == values.dtype
    assert layer.data.shape == (33, 64, 64)
    assert np.array_equal(np.asarray(layer.data)[::4], values)
    assert np.allclose(layer.scale, (10, 10, 10))


def test_a_rectangle_is_tried_first(
    viewer: Any, widget: Any, run: Any, stack: Volume, tmp_path: Path, qtbot: Any
) -> None:
    _choose(widget, "Cubic")
    corners = np.array([[9, 19], [9, 50], [40, 50], [40, 19]], float)  # y, x in voxels
    shapes = viewer.add_shapes(
        [corners], scale=(10, 10), translate=(20, 30), units=("nm", "nm"), name="here"
    )
    region = widget.form.region
    region.setCurrentText("Rectangle in here")
    qtbot.waitUntil(lambda: "33 × 32 × 32" in widget.view.plan.text(), timeout=5000)
    run(widget)
    layer, source = _result(viewer), viewer.layers["stack"]
    assert np.allclose(layer.translate, source.data_to_world((0, 9, 19)))
    whole = super_resolve(
        stack, tmp_path / "whole.ome.zarr", job=SuperResolveJob(method="cubic", device="cpu")
    )
    expected = open_volume(whole.path).read()[:, 9:41, 19:51]
    assert np.abs(np.asarray(layer.data).astype(int) - expected).max() <= 1
    viewer.layers.remove(shapes)
    assert region.currentText() == "Whole stack"


def test_the_current_view_is_a_region(viewer: Any, widget: Any, qtbot: Any) -> None:
    _choose(widget, "Linear")
    viewer.dims.order = (1, 0, 2)  # XZ
    viewer.reset_view()
    _, width = viewer.canvas.size
    viewer.scene.camera.zoom = width / 320  # 32 of 64 voxels are seen
    viewer.scene.camera.center = (0, 100 + 160, 30 + 160)
    widget.form.region.setCurrentText("Current view")
    box = widget.form.wish.box
    assert box[1] == slice(0, 64)  # what is not shown is taken whole
    assert abs(box[2].start) <= 1
    assert abs(box[2].stop - 33) <= 1
    qtbot.waitUntil(lambda: "64 × 3" in widget.view.plan.text(), timeout=5000)


def test_save_as_keeps_voxels_and_their_size(
    viewer: Any, widget: Any, run: Any, tmp_path: Path, qtbot: Any, monkeypatch: Any
) -> None:
    _choose(widget, "Linear")
    assert not widget.view.save.isEnabled()
    run(widget)
    expected = np.asarray(_result(viewer).data)
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
    viewer: Any, widget: Any, ready: Any, qtbot: Any, tmp_path: Path, name: str
) -> None:
    _choose(widget, "Linear")
    widget.form.save_to.setText(str(tmp_path / name))
    widget.form.save_to.editingFinished.emit()
    assert widget.form.save_format.currentText() == ("TIFF" if "tif" in name else "OME-Zarr")
    ready(widget)
    qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)
    # once it is done the name is taken
    qtbot.waitUntil(lambda: "exists; choose another" in widget.view.plan.text(), timeout=15000)
    assert not widget.view.run.isEnabled()
    saved = open_volume(tmp_path / name)
    assert np.array_equal(saved.read(), np.asarray(_result(viewer).data))


def test_copied_python_and_command_do_what_the_form_does(
    viewer: Any, open_widget: Any, run: Any, phantom_files: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    import shlex

    from napari_d2r.cli import main

    viewer.open(str(phantom_files[0]), plugin="napari-d2r")
    widget = open_widget("Super-resolve")
    _choose(widget, "Cubic")
    widget.form.target.setCurrentIndex(1)
    widget.form.factor.setValue(3)
    run(widget)
    expected = np.asarray(_result(viewer).data)
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
    assert "works on whole stacks" in widget.view.status.text()
    assert QApplication.clipboard().text() == text


def test_methods_paragraph_of_a_result(
    viewer: Any, widget: Any, run: Any, tiny_model: Path, capsys: Any
) -> None:
    copy_methods_paragraph(viewer)
    assert "Select one layer that Super-resolve has made" in capsys.readouterr().out
    widget.form.model.choose_folder(tiny_model)
    run(widget)
    viewer.layers.selection = {_result(viewer)}
    copy_methods_paragraph(viewer)
    text = QApplication.clipboard().text()
    about = _result(viewer).metadata[METADATA]
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
    viewer: Any, widget: Any, run: Any, qtbot: Any, monkeypatch: Any, own_folders: Path
) -> None:
    _choose(widget, "Linear")
    run(widget)
    first = Path(_result(viewer).metadata[METADATA]["path"])
    viewer.layers.remove(_result(viewer))
    run(widget)
    second = Path(_result(viewer).metadata[METADATA]["path"])
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


def test_traps_are_named_before_anything_is_run(
    viewer: Any, add_stack: Any, open_widget: Any, stack: Volume, qtbot: Any
) -> None:
    values = np.array(stack.read())
    values[4] = values[3]  # one slice twice
    add_stack(values)
    widget = open_widget("Super-resolve")
    _choose(widget, "Linear")
    qtbot.waitUntil(lambda: "Warning: " in widget.view.findings.text(), timeout=10000)
    assert "same" in widget.view.findings.text() or "twice" in widget.view.findings.text()
    assert widget.view.findings.isVisible()
    qtbot.waitUntil(widget.view.run.isEnabled, timeout=5000)  # a warning does not forbid


def test_every_control_can_be_found_by_name_and_reached_by_keyboard(
    viewer: Any, widget: Any, ready: Any
) -> None:
    from qtpy.QtWidgets import QWidget

    ready(widget)
    names = """layer model voxel_size_z voxel_size_y voxel_size_x target factor keep_measured region
        save_to browse save_format device engine memory seed live_preview findings plan run
        start_over progress eta status save copy cache open_cache clear_cache"""
    page = (Path(__file__).parents[2] / "docs" / "super-resolve.md").read_text("utf-8")
    for name in names.split():
        control = widget.findChild(QWidget, name)
        assert control is not None, name
        assert control.accessibleName(), name
        assert f"`{name}`" in page, name
    reached = []
    control = widget.form.layer
    for _ in range(60):
        reached.append(control.objectName())
        control = control.nextInFocusChain()
    order = [n for n in names.split() if n in reached]
    assert [n for n in dict.fromkeys(reached) if n in order] == order


def test_a_voxel_size_in_micrometres_is_understood(
    viewer: Any, add_stack: Any, open_widget: Any
) -> None:
    add_stack(scale=(0.04, 0.01, 0.01), units="um", translate=(0, 0, 0))
    widget = open_widget("Super-resolve")
    assert np.allclose(tuple(widget.form.wish.voxel_size), (40, 10, 10))


def test_ten_runs_leave_nothing_behind(
    viewer: Any, widget: Any, run: Any, ready: Any, qtbot: Any, tiny_model: Path
) -> None:
    import gc
    import threading
    import weakref

    import psutil
    from qtpy.QtCore import QObject

    process = psutil.Process()
    widget.form.model.choose_folder(tiny_model)
    seen: list[weakref.ref[Any]] = []

    def once() -> None:
        run(widget)
        seen.append(weakref.ref(widget._run))
        viewer.layers.remove(_result(viewer))

    def measure() -> tuple[int, int, int, int]:
        qtbot.wait(100)
        gc.collect()
        return (
            process.num_fds(),
            threading.active_count(),
            len(process.children()),
            len(widget.findChildren(QObject)),
        )

    for _ in range(2):
        once()
    before = measure()
    for _ in range(8):
        once()
    after = measure()
    assert all(b <= a for a, b in zip(before, after, strict=True)), (before, after)
    assert sum(ref() is not None for ref in seen) <= 1  # the last one, whose result can be saved
