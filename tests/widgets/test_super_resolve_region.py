"""A part of a stack first: a rectangle, or what is on screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from napari_d2r import open_volume, super_resolve
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.volumes import Volume

pytestmark = pytest.mark.usefixtures("no_threads_left")


def test_a_rectangle_is_tried_first(
    viewer: Any,
    widget: Any,
    run: Any,
    stack: Volume,
    tmp_path: Path,
    qtbot: Any,
    choose_model: Any,
    result: Any,
) -> None:
    choose_model(widget, "Cubic")
    corners = np.array([[9, 19], [9, 50], [40, 50], [40, 19]], float)  # y, x in voxels
    shapes = viewer.add_shapes(
        [corners], scale=(10, 10), translate=(20, 30), units=("nm", "nm"), name="here"
    )
    region = widget.form.region
    region.setCurrentText("Rectangle in here")
    qtbot.waitUntil(lambda: "33 × 32 × 32" in widget.view.plan.text(), timeout=30000)
    run(widget)
    layer, source = result(), viewer.layers["stack"]
    assert np.allclose(layer.translate, source.data_to_world((0, 9, 19)))
    whole = super_resolve(
        stack, tmp_path / "whole.ome.zarr", job=SuperResolveJob(method="cubic", device="cpu")
    )
    expected = open_volume(whole.path).read()[:, 9:41, 19:51]
    assert np.abs(np.asarray(layer.data).astype(int) - expected).max() <= 1
    viewer.layers.remove(shapes)
    assert region.currentText() == "Whole stack"


def test_the_current_view_is_a_region(
    viewer: Any, widget: Any, qtbot: Any, choose_model: Any
) -> None:
    choose_model(widget, "Linear")
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
    qtbot.waitUntil(lambda: "64 × 3" in widget.view.plan.text(), timeout=30000)


def test_a_shapes_layer_without_a_rectangle_says_so(
    viewer: Any, widget: Any, choose_model: Any, qtbot: Any
) -> None:
    choose_model(widget, "Linear")
    viewer.add_shapes(name="here")
    widget.form.region.setCurrentText("Rectangle in here")
    qtbot.waitUntil(
        lambda: "here is empty; draw a rectangle" in widget.view.plan.text(), timeout=30000
    )
    assert not widget.view.run.isEnabled()
