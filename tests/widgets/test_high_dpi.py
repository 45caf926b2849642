"""On a screen of twice the pixels: nothing is cut off, and pictures use all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QLabel, QLineEdit, QWidget

pytestmark = pytest.mark.usefixtures("no_threads_left")
_FACTOR = "QT_SCALE_FACTOR"  # read once, when Qt starts, and so for a process of its own
_WITH_TEXT = (QLabel, QAbstractButton, QAbstractSpinBox)
_CHILD = "test_nothing_is_cut_off_and_pictures_use_all_pixels"


@pytest.mark.slow
def test_at_twice_the_scale() -> None:
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::{_CHILD}"],
        env=os.environ | {_FACTOR: "2"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert child.returncode == 0 and "1 passed" in child.stdout, child.stdout


def _cut(widget: QWidget) -> Iterator[str]:
    """Labels, buttons and numbers with less room than their text needs."""
    for part in widget.findChildren(QWidget):
        if part.visibleRegion().isEmpty() or not isinstance(part, _WITH_TEXT):
            continue
        metrics, room = part.fontMetrics(), part.findChild(QLineEdit) or part
        width, height = metrics.horizontalAdvance(part.text().replace("&", "")), metrics.height()
        if isinstance(part, QLabel) and part.wordWrap():
            width, height = 0, part.heightForWidth(part.width())
        if room.width() < width or part.height() < height:
            yield f"{part.objectName()} “{part.text()}”: {part.size()}, not {width}, {height}"


@pytest.mark.skipif(os.environ.get(_FACTOR) != "2", reason="for the child of the test above")
def test_nothing_is_cut_off_and_pictures_use_all_pixels(
    viewer: Any, add_stack: Any, open_widget: Any, qtbot: Any
) -> None:
    columns = np.arange(3000) % 251
    add_stack(np.broadcast_to(columns, (9, 64, 3000)).astype(np.uint8))
    for name in ("Super-resolve", "Train", "Resolution"):
        widget = open_widget(name)
        assert widget.devicePixelRatioF() == 2
        qtbot.wait(500)
        assert list(_cut(widget)) == []
        viewer.window.remove_dock_widget(widget)
        widget.deleteLater()

    add_stack(np.zeros((9, 64, 3000), np.uint8), name="other")
    compare = open_widget("Compare")
    qtbot.waitUntil(lambda: ("XY", 0) in compare.panes.panes, timeout=10_000)
    pane = compare.panes.panes["XY", 0]
    qtbot.waitUntil(lambda: any(pane.view.pictures), timeout=10_000)
    qtbot.waitUntil(lambda: not list(_cut(compare)), timeout=10_000)
    (shown,) = pane.view.pictures
    assert pane.grab().devicePixelRatio() == 2
    assert shown.image.width() >= 2 * shown.where.width() / pane.view.scale
