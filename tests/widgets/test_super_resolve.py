"""Super-resolve by mouse: from a layer to a finer one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari_d2r import open_volume, super_resolve
from napari_d2r._npe2 import METADATA
from napari_d2r.volumes import Volume

pytestmark = pytest.mark.usefixtures("no_threads_left")


def test_three_clicks_give_what_the_engine_gives_where_the_source_lies(
    viewer: Any, widget: Any, run: Any, stack: Volume, tiny_model: Path, tmp_path: Path, result: Any
) -> None:
    source = viewer.layers["stack"]
    source.colormap = "magma"
    widget.form.model.choose_folder(tiny_model)
    assert "Finished: 33 × 64 × 64" in run(widget)

    layer = result()
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


def test_the_plan_follows_the_form(
    viewer: Any, widget: Any, ready: Any, qtbot: Any, choose_model: Any
) -> None:
    choose_model(widget, "Linear")
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
    viewer: Any,
    open_widget: Any,
    stack: Volume,
    run: Any,
    qtbot: Any,
    choose_model: Any,
    result: Any,
) -> None:
    source = viewer.add_image(stack.read(), name="pixels", translate=(1, 2, 3))
    widget = open_widget("Super-resolve")
    choose_model(widget, "Linear")
    qtbot.wait(300)
    assert not widget.view.run.isEnabled()
    assert "voxel size of pixels is not known" in widget.view.plan.text()
    assert "Please enter" in widget.form.voxel_size_note.text()
    for axis, edge in zip("zyx", (40, 10, 10), strict=True):
        widget.form.voxel_size.edges[axis].setValue(edge)
    run(widget)
    layer = result()
    assert np.allclose(layer.scale, (10, 10, 10))
    assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
    assert np.allclose(source.scale, (40, 10, 10))  # so that both lie on each other
    assert np.allclose(layer.translate, source.translate)
    assert np.allclose(source.translate, (40, 20, 30))


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (lambda v: v.add_image(np.zeros((64, 64), np.uint8), name="flat"), "a single 2D image"),
        (
            lambda v: v.add_image(
                np.zeros((9, 64, 64, 3), np.uint8), rgb=True, scale=(4, 1, 1), units="nm"
            ),
            "Layers > Split RGB",
        ),
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
    viewer: Any, open_widget: Any, qtbot: Any, add: Any, words: str, choose_model: Any
) -> None:
    add(viewer)
    widget = open_widget("Super-resolve")
    choose_model(widget, "Linear")
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
    choose_model: Any,
    result: Any,
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
    choose_model(widget, "Linear")
    run(widget)
    layer = result()
    assert layer.data.dtype == values.dtype
    assert layer.data.shape == (33, 64, 64)
    assert np.array_equal(np.asarray(layer.data)[::4], values)
    assert np.allclose(layer.scale, (10, 10, 10))


def test_traps_are_named_before_anything_is_run(
    viewer: Any, add_stack: Any, open_widget: Any, stack: Volume, qtbot: Any, choose_model: Any
) -> None:
    values = np.array(stack.read())
    values[4] = values[3]  # one slice twice
    add_stack(values)
    widget = open_widget("Super-resolve")
    choose_model(widget, "Linear")
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
        save_to browse save_format degradation refine_with direction solver steps samples where
        workers scheduler site browse_site device engine memory seed live_preview findings plan run
        start_over progress eta status save copy cache open_cache clear_cache"""
    page = (Path(__file__).parents[2] / "docs" / "super-resolve.md").read_text("utf-8")
    for name in names.split():
        control = widget.findChild(QWidget, name)
        assert control is not None, name
        assert control.accessibleName(), name
        assert f"`{name}`" in page, name
    reached = []
    control = widget.form.layer
    for _ in range(120):
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
    viewer: Any, widget: Any, run: Any, ready: Any, qtbot: Any, tiny_model: Path, result: Any
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
        viewer.layers.remove(result())

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
    # one thing kept by each run would be eight; what Qt and OpenGL open for once is one or two
    assert all(b - a < 4 for a, b in zip(before, after, strict=True)), (before, after)
    assert sum(ref() is not None for ref in seen) <= 1  # the last one, whose result can be saved
