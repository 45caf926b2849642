"""The context menu of the layer list: what napari's manifest does not reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("napari")
from npe2 import PluginManager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QMenu

pytestmark = pytest.mark.usefixtures("no_threads_left")
_LINE = "Copy Methods paragraph (D2R)"


@pytest.fixture(autouse=True)
def not_yet_used() -> Iterator[PluginManager]:
    """As in a napari that has just been started; before the viewer, which registers plugins."""
    manager = PluginManager.instance()
    if "napari-d2r" in manager:
        manager.deactivate("napari-d2r")
    yield manager


def _right_click(viewer: Any, layer: Any, qtbot: Any, choose: str = "") -> list[str]:
    """Open the menu of a layer and choose a line, or none; all lines that are there."""
    layers = viewer.window._qt_viewer.layers
    rows = [layers.model().index(row, 0) for row in range(len(viewer.layers))]
    (there,) = (layers.visualRect(row) for row in rows if row.data() == layer.name)
    lines: list[str] = []

    def look() -> None:
        menu = QApplication.activePopupWidget()
        if not isinstance(menu, QMenu):
            QTimer.singleShot(50, look)
            return
        actions = {action.text(): action for action in menu.actions() if action.isVisible()}
        lines.extend(actions)
        if choose:
            at = menu.actionGeometry(actions[choose]).center()
            qtbot.mouseClick(menu, Qt.MouseButton.LeftButton, pos=at)
        else:
            menu.close()

    QTimer.singleShot(50, look)
    qtbot.mouseClick(layers.viewport(), Qt.MouseButton.RightButton, pos=there.center())
    return lines


def test_a_right_click_on_a_result_copies_how_it_was_made(
    viewer: Any, add_stack: Any, open_widget: Any, not_yet_used: PluginManager, qtbot: Any
) -> None:
    source = add_stack()
    assert _LINE not in _right_click(viewer, source, qtbot)
    widget = open_widget("Super-resolve")  # the plugin is used from here on
    widget.form.model.setCurrentText("Linear interpolation")
    qtbot.waitUntil(widget.view.run.isEnabled, timeout=30_000)
    qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: widget.view.save.isEnabled(), timeout=30_000)
    _, result = viewer.layers

    clipboard = QApplication.clipboard()
    clipboard.setText("before")
    assert _LINE in _right_click(viewer, source, qtbot, choose=_LINE)
    assert clipboard.text() == "before"  # nothing is known about it, and that is said
    _right_click(viewer, result, qtbot, choose=_LINE)
    assert "was sampled 4 times finer along z" in clipboard.text()
    assert _LINE not in _right_click(viewer, viewer.add_points(name="points"), qtbot)

    not_yet_used.deactivate("napari-d2r")
    assert _LINE not in _right_click(viewer, result, qtbot)
