"""Both themes of napari: every text at 4.5:1 or more, lines of plots and the focus at 3:1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("napari")
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QCheckBox, QComboBox, QDockWidget, QLineEdit, QProgressBar, QWidget
from superqt import QCollapsible

from napari_d2r.widgets import _compare_profile, _curves, _resolution_plot

pytestmark = pytest.mark.usefixtures("no_threads_left")
_NAMES = ("Super-resolve", "Train", "Resolution", "Compare")
_FRAME, _INDICATOR, _ARROW = 3, 26, 30  # pixels around, before and after a text
_SEEN = 100  # pixels: a frame around the smallest control has more
_LINES = {
    *_curves._COLOURS,
    *(colour for colour, *_ in _compare_profile._STYLES),
    *(_resolution_plot.BLUE, _resolution_plot.ORANGE, _resolution_plot.GREY),
}


def _luminance(colours: NDArray[Any]) -> NDArray[np.float64]:
    """Relative luminance of sRGB colours (..., 3), as WCAG 2 defines it."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def _contrast(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Of colours, between 1 and 21."""
    first, second = _luminance(one), _luminance(other)
    return (np.maximum(first, second) + 0.05) / (np.minimum(first, second) + 0.05)


def _pixels(widget: QWidget) -> NDArray[np.int_]:
    """What a widget shows, (rows, columns, 3)."""
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), -1, 4)
    return rows[:, : image.width(), 2::-1].astype(int)


def _paper(pixels: NDArray[np.int_]) -> NDArray[np.int_]:
    """The most frequent colour."""
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    return colours[counts.argmax()]


def _text_of(widget: QWidget) -> str:
    if isinstance(widget, QComboBox):
        return widget.currentText()
    if isinstance(widget, QProgressBar):
        return ""  # told in words below it
    text = widget.text() if hasattr(widget, "text") else ""
    if isinstance(widget, QLineEdit) and not text:
        text = widget.placeholderText()
    return text.strip()


def _pale_texts(widget: QWidget) -> Iterator[tuple[str, str, float]]:
    """Class, text and contrast of each text on screen that is below 4.5:1."""
    seen = 0
    for part in widget.findChildren(QWidget):
        text = _text_of(part)
        if not part.isVisible() or not part.isEnabled() or not text:
            continue
        left = _INDICATOR if isinstance(part, QCheckBox) else _FRAME
        right = _ARROW if isinstance(part, QComboBox) else _FRAME
        pixels = _pixels(part)[_FRAME:-_FRAME, left:-right]
        if not pixels.size:
            continue  # folded away
        contrast = _contrast(pixels, _paper(pixels)).max()
        seen += 1
        if contrast < 4.5:
            yield type(part).__name__, text, round(float(contrast), 2)
    assert seen > 5  # there were texts


def _unseen_focus(widget: QWidget, qtbot: Any) -> Iterator[str]:
    """Controls that Tab reaches and whose look hardly changes."""
    for part in widget.findChildren(QWidget):
        takes_tab = part.focusPolicy() & Qt.FocusPolicy.TabFocus and part.focusProxy() is None
        if not takes_tab or not part.isVisible() or not part.isEnabled():
            continue
        part.setFocus(Qt.FocusReason.TabFocusReason)
        qtbot.waitUntil(part.hasFocus, timeout=5_000)
        focused = _pixels(part)
        part.clearFocus()
        changed = (_contrast(focused, _pixels(part)) >= 3).sum()
        if changed < _SEEN:
            yield f"{type(part).__name__} {part.objectName()}: {changed} pixels"


def _dock_of(widget: QWidget) -> QDockWidget:
    while not isinstance(widget, QDockWidget):
        widget = widget.parentWidget()
    return widget


@pytest.fixture
def shown(viewer: Any, add_stack: Any, qtbot: Any) -> Iterator[Any]:
    """Iterates over the four widgets, each on top and large enough."""
    add_stack()
    window = viewer.window._qt_window
    window.resize(1500, 950)
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=10_000)
    widgets = []
    for name in _NAMES:
        tabbed = name != "Compare"
        _, widget = viewer.window.add_plugin_dock_widget("napari-d2r", name, tabify=tabbed)
        for folded in widget.findChildren(QCollapsible):
            folded.expand(animate=False)
        widgets.append(widget)
    widgets[0].form.model.setCurrentText("Linear interpolation")
    widgets[0].view.show_status("How it ended.")

    def each() -> Iterator[QWidget]:
        for widget in widgets:
            _dock_of(widget).raise_()
            qtbot.waitUntil(lambda w=widget: not w.visibleRegion().isEmpty(), timeout=10_000)
            yield widget

    yield each


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_texts_lines_and_focus_stand_out(viewer: Any, shown: Any, theme: str, qtbot: Any) -> None:
    viewer.theme = theme
    for widget in shown():
        assert list(_pale_texts(widget)) == []
        assert list(_unseen_focus(widget, qtbot)) == []
        for folded in widget.findChildren(QCollapsible):
            arrow = _pixels(folded.toggleButton())[_FRAME:-_FRAME, _FRAME:_INDICATOR]
            assert _contrast(arrow, _paper(arrow)).max() >= 3
        for box in widget.findChildren(QCheckBox):
            edge = _pixels(box)[:, :_INDICATOR]
            assert (_contrast(edge, _paper(_pixels(widget))) >= 3).sum() > _SEEN / 2
        plots = [p for p in widget.findChildren(QWidget) if p.objectName().endswith("_curves")]
        paper = _paper(_pixels(plots[0] if plots and plots[0].isVisible() else widget))
        for line in _LINES:
            colour = np.array([int(line[n : n + 2], 16) for n in (1, 3, 5)])
            assert _contrast(colour, paper) >= 3, (line, theme)
