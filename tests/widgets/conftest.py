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

from napari_d2r.volumes import Volume


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
    until = time.monotonic() + 5  # plans and looks that nobody waits for end by themselves
    while left := [t.name for t in threading.enumerate() if t.name == "napari-d2r"]:
        assert time.monotonic() < until, left
        time.sleep(0.02)
