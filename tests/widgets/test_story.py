"""The whole story, as a microscopist lives it, by mouse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QWidget

pytestmark = [pytest.mark.display, pytest.mark.usefixtures("no_threads_left")]
Control = Callable[[QWidget, str], Any]


@pytest.fixture
def control() -> Control:
    """A control by its object name."""

    def find(widget: QWidget, name: str) -> Any:
        found = widget.findChild(QWidget, name)
        assert found is not None, name
        return found

    return find


@pytest.fixture
def run_to_end(qtbot: Any, control: Control) -> Callable[[QWidget], None]:
    """Click Run once it can be clicked, and wait for the sentence at the end."""

    def run(widget: QWidget) -> None:
        button = control(widget, "run")
        qtbot.waitUntil(button.isEnabled, timeout=30000)
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(
            lambda: "Finished" in control(widget, "status").text() and button.text() == "Run",
            timeout=90000,
        )

    return run


@pytest.mark.slow
def test_from_the_sample_to_a_saved_and_reopened_result(
    viewer: Any,
    open_widget: Any,
    control: Control,
    run_to_end: Any,
    qtbot: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer.open_sample("napari-d2r", "phantom")
    truth, stack = viewer.layers
    widget = open_widget("Super-resolve")
    assert control(widget, "layer").layer.name == stack.name
    run_to_end(widget)
    result = viewer.layers[-1]
    assert np.allclose(result.scale, truth.scale)
    assert np.array_equal(np.asarray(result.data[::8]), np.asarray(stack.data))

    compare = open_widget("Compare")
    choices = [control(compare, f"layer_{n}") for n in (1, 2, 3)]
    wanted = [stack.name, result.name, truth.name]
    qtbot.waitUntil(lambda: [one.currentText() for one in choices] == wanted, timeout=5000)
    viewer.dims.set_point(0, 4 * 10.0)
    status = control(compare, "position")
    qtbot.waitUntil(lambda: "z 40" in status.text(), timeout=5000)

    resolution = open_widget("Resolution")
    control(resolution, "layer").choose(stack)
    qtbot.mouseClick(control(resolution, "gain"), Qt.MouseButton.LeftButton)
    sentence = control(resolution, "status")
    qtbot.waitUntil(lambda: "dB" in sentence.text(), timeout=90000)
    assert "linear" in sentence.text()

    target = tmp_path / "isotropic.tif"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(target), ""))
    qtbot.mouseClick(control(widget, "save"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "Saved as" in control(widget, "status").text(), timeout=30000)
    (again,) = viewer.open(str(target), plugin="napari-d2r")
    assert np.allclose(again.scale, (10, 10, 10))
    assert [str(unit) for unit in again.units] == ["nanometer"] * 3
    assert np.array_equal(np.asarray(again.data), np.asarray(result.data))
