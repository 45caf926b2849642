"""The whole story, as a microscopist lives it: by mouse, by keyboard, with a nasty folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_d2r.volumes import Volume

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


def test_super_resolve_and_save_by_keyboard_alone(
    viewer: Any,
    add_stack: Any,
    open_widget: Any,
    control: Control,
    qtbot: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_stack()
    widget = open_widget("Super-resolve")
    target = tmp_path / "by keyboard.ome.zarr"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(target), ""))
    here = control(widget, "layer")

    def tab_to(name: str) -> Any:
        """Walk the chain that Tab walks: a window without a manager is never active."""
        nonlocal here
        wanted = control(widget, name)
        qtbot.waitUntil(lambda: wanted.isEnabled() and wanted.isVisible(), timeout=30000)
        for _ in range(200):
            takes_tab = bool(here.focusPolicy() & Qt.FocusPolicy.TabFocus)
            if here is wanted and takes_tab and here.isVisible():
                return wanted
            here = here.nextInFocusChain()
        raise AssertionError(f"{name} is not reached by Tab")

    model = tab_to("model")
    linear = next(n for n in range(model.count()) if "Linear" in model.itemText(n))
    while model.currentIndex() != linear:
        before = model.currentIndex()
        qtbot.keyClick(model, Qt.Key.Key_Down)
        assert model.currentIndex() != before
    qtbot.keyClick(tab_to("run"), Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: "Finished" in control(widget, "status").text(), timeout=30000)
    qtbot.keyClick(tab_to("save"), Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: "Saved as" in control(widget, "status").text(), timeout=30000)
    assert target.is_dir()


def test_a_nasty_folder_is_told_before_a_voxel_is_computed(
    viewer: Any,
    open_widget: Any,
    control: Control,
    run_to_end: Any,
    qtbot: Any,
    phantom: tuple[Volume, Volume],
    tmp_path: Path,
) -> None:
    """One missing, one twice, black border, no z in the headers, x and y that differ, umlauts."""
    folder = tmp_path / "Präparat 3 (größer)"
    folder.mkdir()
    slices = np.array(phantom[1].read())[:24]
    slices[:, :, :6] = 0
    slices[12] = slices[11]
    for number, plane in enumerate(slices):
        if number != 5:
            tifffile.imwrite(
                folder / f"slice {number:03d}.tif",
                plane,
                resolution=(1e7 / 7.5, 1e7 / 8),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    viewer.open(str(folder), plugin="napari-d2r")
    widget = open_widget("Super-resolve")
    findings = control(widget, "findings")
    model = control(widget, "model")
    model.setCurrentIndex(next(n for n in range(model.count()) if "Linear" in model.itemText(n)))
    for words in ("Slice 5 is missing", "same image", "6 columns on the left", "not square"):
        qtbot.waitUntil(lambda words=words: words in findings.text(), timeout=20000)
    assert not control(widget, "run").isEnabled()  # nobody knows the distance of the slices
    assert len(viewer.layers) == 1
    edges = {axis: control(widget, f"voxel_size_{axis}") for axis in "zyx"}
    assert (edges["y"].value(), edges["x"].value()) == (8, 7.5)  # what the headers do say
    edges["z"].setValue(40)
    qtbot.waitUntil(lambda: "7.5" in control(widget, "plan").text(), timeout=10000)
    assert "finer" in control(widget, "plan").text()  # x and y differ, and which one counts
    run_to_end(widget)
    assert np.allclose(viewer.layers[-1].scale, (7.5, 8, 7.5))
