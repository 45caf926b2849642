"""A real viewer on a real display; without either these tests skip and say why."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_d2r._npe2 import METADATA
from napari_d2r.volumes import AxialGrid, Volume, interpolate_axial

PATIENCE = 5  # times what is enough on a quiet machine


def _why_not() -> str:
    """Why no viewer can be opened here; empty where one can."""
    try:
        import napari  # noqa: F401
        import pytestqt  # noqa: F401
        import qtpy.QtCore  # noqa: F401
    except ImportError as error:
        return f"napari, pytest-qt and a Qt binding are needed: {error}"
    has_screen = sys.platform != "linux" or os.environ.get("DISPLAY")
    if not has_screen or os.environ.get("QT_QPA_PLATFORM") in {"offscreen", "minimal"}:
        return "no display; run under xvfb-run, see CONTRIBUTING.md"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    reason = _why_not()
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.display)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of a test goes to the cache, or among the models, of whoever runs it."""
    folder = tmp_path / "home of the plugin"
    monkeypatch.setenv("NAPARI_D2R_HOME", str(folder))
    return folder


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Any]) -> Any:
    """A shown napari viewer."""
    return make_napari_viewer(show=True)


@pytest.fixture
def open_widget(viewer: Any) -> Callable[[str], Any]:
    """Open a widget of the plugin as the menu does; returns the widget."""

    def open_(name: str) -> Any:
        _, widget = viewer.window.add_plugin_dock_widget("napari-d2r", name)
        return widget

    return open_


@pytest.fixture
def add_stack(viewer: Any, stack: Volume) -> Callable[..., Any]:
    """Add the small phantom (9 x 64 x 64, 40 x 10 x 10 nm) as a layer; keywords go to napari."""

    def add(data: Any = None, **keywords: Any) -> Any:
        placed = {
            "name": "stack",
            "scale": tuple(stack.voxel_size),
            "units": ("nm", "nm", "nm"),
            "axis_labels": ("z", "y", "x"),
            "translate": (100.0, 20.0, 30.0),
            "contrast_limits": (10, 240),
        }
        values = np.array(stack.read()) if data is None else data
        return viewer.add_image(values, **(placed | keywords))

    return add


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    """Fails when a job's thread outlives its test."""
    yield
    # Plans and looks that nobody waits for end by themselves.
    until = time.monotonic() + PATIENCE * 20
    while left := [t.name for t in threading.enumerate() if t.name == "napari-d2r"]:
        assert time.monotonic() < until, left
        time.sleep(0.02)


@pytest.fixture
def widget(open_widget: Any, add_stack: Any) -> Any:
    """Super-resolve, on the small phantom."""
    add_stack()
    return open_widget("Super-resolve")


@pytest.fixture
def choose_model() -> Callable[[Any, str], None]:
    """Choose a model of Super-resolve by a part of its name."""

    def choose(widget: Any, model: str) -> None:
        box = widget.form.model
        box.setCurrentIndex(next(i for i in range(box.count()) if model in box.itemText(i)))

    return choose


@pytest.fixture
def qtbot(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Waits longer than a test says before it gives up: where all is well, nothing waits longer."""

    def patient(wait: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, timeout=5000, **how: wait(*args, timeout=PATIENCE * timeout, **how)

    for name in ("waitUntil", "waitSignal"):
        monkeypatch.setattr(qtbot, name, patient(getattr(qtbot, name)))
    return qtbot


@pytest.fixture
def ready(qtbot: Any) -> Callable[[Any], None]:
    """Wait until Super-resolve may run."""

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
        from qtpy.QtCore import Qt

        qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not widget._run.is_running, timeout=20000)
        ready(widget)
        return str(widget.view.status.text())

    return run_


@pytest.fixture
def result(viewer: Any) -> Callable[[], Any]:
    """The latest layer that Super-resolve has made."""

    def latest() -> Any:
        return next(
            layer
            for layer in reversed(viewer.layers)
            if layer.metadata.get(METADATA, {}).get("kind") == "super-resolved"
        )

    return latest


@pytest.fixture
def control() -> Callable[[Any, str], Any]:
    """A control of a widget by its object name."""

    def find(widget: Any, name: str) -> Any:
        from qtpy.QtWidgets import QWidget

        found = widget.findChild(QWidget, name)
        assert found is not None, name
        return found

    return find


@pytest.fixture
def trio(add_stack: Callable[..., Any], phantom: tuple[Volume, Volume]) -> tuple[Any, Any, Any]:
    """Stack, a result that is its interpolation, and its truth."""
    truth = np.array(phantom[1].data)
    made = interpolate_axial(np.array(phantom[0].data), AxialGrid(9, 4).positions())
    stack = add_stack()
    reference = add_stack(truth, name="truth", scale=(10, 10, 10))
    provenance = {"napari_d2r": {"source": "stack", "factor": 4}}
    result = add_stack(made, name="result", scale=(10, 10, 10), metadata=provenance)
    return stack, result, reference


@pytest.fixture
def settle(qtbot: Any) -> Callable[[Any], None]:
    """Wait until everything that should be on screen in Compare is."""

    def wait(widget: Any) -> None:
        def is_settled() -> bool:
            panes = widget.panes
            return bool(panes.cells()) and not panes.missing() and not widget.reader.is_busy

        qtbot.wait(30)  # what was just asked for begins with the next events
        qtbot.waitUntil(is_settled, timeout=10_000)

    return wait


@pytest.fixture
def compare(viewer: Any, open_widget: Callable[[str], Any], trio: Any, settle: Any) -> Any:
    """Compare in a window of some size, with its pictures on screen."""
    viewer.window.resize(1300, 900)
    widget = open_widget("Compare")
    settle(widget)
    return widget
