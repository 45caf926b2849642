"""Live preview: the slice on screen, restored as one browses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.QtCore import Qt

from napari_d2r._npe2 import METADATA
from napari_d2r.volumes import Volume
from napari_d2r.widgets._layers import PREVIEW

pytestmark = pytest.mark.usefixtures("no_threads_left")


@pytest.fixture
def widget(open_widget: Any, add_stack: Any, tiny_model: Path, qtbot: Any) -> Any:
    """The widget with a trained row network."""
    add_stack()
    widget = open_widget("Super-resolve")
    widget.form.model.choose_folder(tiny_model / "prior")
    qtbot.waitUntil(
        lambda: (
            widget._planned is not None
            and widget._planned.plan.model is not None
            and widget._planned.wish.model_title == "prior"
        ),
        timeout=20000,
    )
    return widget


def _preview(viewer: Any) -> Any:
    found = [x for x in viewer.layers if x.metadata.get(METADATA, {}).get("kind") == PREVIEW]
    return found[0] if found else None


@pytest.mark.parametrize(("order", "orientation"), [((1, 0, 2), "XZ"), ((2, 0, 1), "YZ")])
def test_the_slice_on_screen_is_restored_where_it_belongs(
    viewer: Any, widget: Any, qtbot: Any, stack: Volume, order: Any, orientation: str
) -> None:
    from napari_d2r.inference import predict_slice

    viewer.dims.order = order
    viewer.reset_view()
    widget.view.live_preview.setChecked(True)
    source, across = viewer.layers["stack"], order[0]
    plan = widget._planned.plan
    for index in (20, 33):
        place = np.array(source.data_to_world((4, index, index)))
        viewer.dims.point = place
        qtbot.waitUntil(
            lambda place=place: (
                _preview(viewer) is not None
                and np.isclose(_preview(viewer).translate[across], place[across])
            ),
            timeout=10000,
        )
        layer = _preview(viewer)
        expected = predict_slice(
            stack, plan.grid, plan.predictor, orientation, index, intensity=plan.intensity, gap=4
        )
        assert layer.data.shape[across] == 1
        shown = np.asarray(layer.data).squeeze(across)
        assert np.abs(shown.astype(int) - expected).max() <= 1
        assert np.allclose(layer.scale, (10, 10, 10))
        assert layer.contrast_limits == source.contrast_limits
        measured = source.data_to_world((5, index, index))  # lies on a measured slice
        assert layer.get_value(measured, world=True) == stack.read()[5, index, index]
    assert viewer.layers.selection.active is source
    assert widget.form.layer.findText(PREVIEW) < 0  # not a stack to work on


def test_between_measured_slices_one_xy_slice_is_shown(
    viewer: Any, widget: Any, qtbot: Any
) -> None:
    widget.view.live_preview.setChecked(True)
    qtbot.waitUntil(lambda: _preview(viewer) is not None, timeout=10000)
    assert viewer.dims.range[0].step == 10  # the slider now stops between measured slices
    viewer.dims.point = (100 + 90, 20, 30)  # output slice 9, in the gap from 8 to 12
    qtbot.waitUntil(
        lambda: _preview(viewer) is not None and _preview(viewer).translate[0] == 190,
        timeout=10000,
    )
    assert _preview(viewer).data.shape == (1, 64, 64)


def test_off_takes_the_layer_away_and_deleting_it_switches_off(
    viewer: Any, widget: Any, qtbot: Any
) -> None:
    viewer.dims.order = (1, 0, 2)
    box = widget.view.live_preview
    box.setChecked(True)
    qtbot.waitUntil(lambda: _preview(viewer) is not None, timeout=10000)
    box.setChecked(False)
    assert [layer.name for layer in viewer.layers] == ["stack"]
    box.setChecked(True)
    qtbot.waitUntil(lambda: _preview(viewer) is not None, timeout=10000)
    viewer.layers.remove(_preview(viewer))
    assert not box.isChecked()
    viewer.dims.point = (100, 300, 30)
    qtbot.wait(300)
    assert _preview(viewer) is None


def test_a_closed_dock_takes_its_preview_along(viewer: Any, widget: Any, qtbot: Any) -> None:
    widget.view.live_preview.setChecked(True)
    qtbot.waitUntil(lambda: _preview(viewer) is not None, timeout=10000)
    dock = widget.parentWidget()
    dock.setFloating(True)
    dock.setFloating(False)
    dock.hide()  # as behind another tab
    assert _preview(viewer) is not None
    dock.show()
    qtbot.mouseClick(dock.title.close_button, Qt.MouseButton.LeftButton)
    assert [layer.name for layer in viewer.layers] == ["stack"]
    viewer.dims.point = (190, 20, 30)
    qtbot.wait(300)
    assert _preview(viewer) is None


def test_a_student_previews_with_the_row_network_beside_it(
    viewer: Any, widget: Any, qtbot: Any, tiny_model: Path
) -> None:
    from napari_d2r.inference import LateralPredictor
    from napari_d2r.widgets._live_preview import row_predictor

    widget.form.model.choose_folder(tiny_model / "student")
    qtbot.waitUntil(
        lambda: widget._planned is not None and widget._planned.wish.model_title == "student",
        timeout=10000,
    )
    assert not isinstance(widget._planned.plan.predictor, LateralPredictor)
    assert isinstance(row_predictor(widget._planned), LateralPredictor)
