"""Sample, super-resolution, comparison and a saved file, by keys alone.

That each stop of Tab is seen is tested with the look of the widgets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("napari")
from napari._qt.dialogs.qt_notification import NapariQtNotification
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog, QWidget

pytestmark = pytest.mark.usefixtures("no_threads_left")
_CTRL_SHIFT = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier


class Keyboard:
    """Presses keys where the focus is, as a person without a mouse does."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self._viewer, self._qtbot = viewer, qtbot
        self._window.activateWindow()
        qtbot.waitUntil(self._window.isActiveWindow, timeout=30_000)

    @property
    def _window(self) -> Any:
        return self._viewer.window._qt_window  # not kept: a window must go when it is closed

    @property
    def focus(self) -> QWidget:
        """What has the focus."""
        return QApplication.focusWidget() or self._window

    def press(self, key: Any, modifiers: Any = Qt.KeyboardModifier.NoModifier) -> None:
        """One key."""
        self._qtbot.keyClick(self.focus, key, modifiers)

    def command(self, words: str) -> None:
        """A command of napari's palette."""
        self.press(Qt.Key.Key_P, _CTRL_SHIFT)
        palette = self._window._command_palette
        self._qtbot.waitUntil(palette.isVisible, timeout=10_000)
        self._qtbot.keyClicks(self.focus, words)
        self.press(Qt.Key.Key_Return)

    def tab_to(self, name: str, key: Any = Qt.Key.Key_Tab) -> Any:
        """Tab, or Shift and Tab, until a control has the focus."""
        control = self._window.findChild(QWidget, name)
        self._qtbot.waitUntil(lambda: control.isEnabled() and control.isVisible(), timeout=90_000)
        for _ in range(400):
            if self.focus is control:
                return control
            self.press(key)
        raise AssertionError(f"{name} is not reached by Tab")

    def dismiss_notifications(self) -> None:
        """None is left: when one closes, napari gives the focus to the canvas.

        Waiting is not enough: of two that overlap, napari never closes the first.
        """
        for notification in self._window.findChildren(NapariQtNotification):
            notification.close()


@pytest.fixture
def keyboard(viewer: Any, qtbot: Any) -> Iterator[Keyboard]:
    """A keyboard on the viewer; file dialogs are Qt's, into which a test can type."""
    attribute = Qt.ApplicationAttribute.AA_DontUseNativeDialogs
    QApplication.setAttribute(attribute, True)
    yield Keyboard(viewer, qtbot)
    QApplication.setAttribute(attribute, False)


@pytest.fixture
def answer_with(qtbot: Any) -> Callable[[Path], None]:
    """Type a path into the file dialog that comes next."""

    def answer(path: Path) -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, QFileDialog) or dialog.focusWidget() is None:
            QTimer.singleShot(100, lambda: answer(path))
            return
        qtbot.keyClicks(dialog.focusWidget(), str(path))
        accept(dialog)

    def accept(dialog: QFileDialog) -> None:
        """Enter, until it is not the list of completions that takes it."""
        qtbot.keyClick(QApplication.activePopupWidget() or dialog.focusWidget(), Qt.Key.Key_Return)
        if dialog.isVisible():
            QTimer.singleShot(100, lambda: accept(dialog))

    return answer


@pytest.mark.slow
def test_from_the_sample_to_a_saved_result_by_keyboard_alone(
    viewer: Any, keyboard: Keyboard, answer_with: Any, qtbot: Any, tmp_path: Path
) -> None:
    keyboard.command("Phantom offline")
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=90_000)
    keyboard.command("Super-resolve")
    window = viewer.window._qt_window
    qtbot.waitUntil(lambda: window.findChild(QWidget, "super_resolve") is not None, timeout=30_000)
    widget = window.findChild(QWidget, "super_resolve")
    qtbot.waitUntil(widget.form.layer.hasFocus, timeout=10_000)
    model = keyboard.tab_to("model")
    for _ in range(model.count()):
        if model.currentText() != "Linear interpolation":
            keyboard.press(Qt.Key.Key_Down)
    assert model.currentText() == "Linear interpolation"
    keyboard.tab_to("run")
    keyboard.press(Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: "Finished" in widget.view.status.text(), timeout=90_000)
    keyboard.dismiss_notifications()

    keyboard.command("Compare")
    qtbot.waitUntil(lambda: keyboard.focus.objectName() == "layer_1", timeout=30_000)
    qtbot.waitUntil(lambda: window.findChild(QWidget, "pane_xy_1") is not None, timeout=30_000)
    mode = keyboard.tab_to("mode")
    keyboard.press(Qt.Key.Key_Down)
    assert mode.currentText() == "blink"
    keyboard.tab_to("pane_xy_1")
    height = viewer.dims.point[0]
    keyboard.press(Qt.Key.Key_PageDown)
    qtbot.waitUntil(lambda: abs(viewer.dims.point[0] - height) == 10, timeout=10_000)

    keyboard.tab_to("save", Qt.Key.Key_Backtab)
    target = tmp_path / "by keyboard.ome.zarr"
    QTimer.singleShot(100, lambda: answer_with(target))
    keyboard.press(Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: "Saved as" in widget.view.status.text(), timeout=30_000)
    assert target.is_dir()
