r"""Make the pictures of the documentation, by using the plugin as a person would.

    xvfb-run -s "-screen 0 1600x1000x24 +extension GLX +render -noreset" \\
        python docs/screenshots.py [SCENE ...]

Pictures go to ``docs/images``. The stack is every 8th slice of FIB-25 sample 1 (FlyEM, Janelia,
CC BY 3.0) where ``NAPARI_D2R_DATA`` has it, else the phantom.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
from napari.settings import get_settings
from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QApplication, QWidget

from napari_d2r.io import open_volume
from napari_d2r.samples import phantom_sample
from napari_d2r.volumes import Volume, VoxelSize

HERE = Path(__file__).parent
IMAGES = HERE / "images"
FACTOR = 8
SIZE = (1500, 940)
DOCK_WIDTH = 430
PATIENCE_S = 300.0


def sample() -> tuple[Volume, Volume]:
    """The stack, and the truth that it was taken from."""
    data = Path(os.environ.get("NAPARI_D2R_DATA", HERE.parents[1] / "shared" / "data"))
    path = data / "fib25" / "fib25_training_sample1.tif"
    if not path.is_file():
        return phantom_sample()
    truth = open_volume(path)
    z, y, x = truth.voxel_size
    values = truth.read()[: 31 * FACTOR + 1]
    stack = Volume(values[::FACTOR], VoxelSize(z * FACTOR, y, x), "FIB-25")
    return stack, Volume(values, truth.voxel_size, "truth")


class Session:
    """One napari window with the stack in it."""

    def __init__(self, theme: str = "dark") -> None:
        get_settings().appearance.theme = theme
        self.viewer = napari.Viewer(show=True)
        self.window: QWidget = self.viewer.window._qt_window
        self.window.resize(*SIZE)
        self.stack, self.truth = sample()
        self.layer = self.add(self.stack)
        self.viewer.canvas.overlays.scale_bar.visible = True
        self.wait(1)

    def add(self, volume: Volume, **keywords: Any) -> Any:
        """A volume as a layer in nm."""
        return self.viewer.add_image(
            volume.read(),
            name=volume.name,
            scale=tuple(volume.voxel_size),
            units=("nm",) * 3,
            axis_labels=("z", "y", "x"),
            **keywords,
        )

    def open(self, name: str) -> QWidget:
        """A widget of the plugin, as the menu opens it."""
        dock, widget = self.viewer.window.add_plugin_dock_widget("napari-d2r", name)
        self.window.resizeDocks([dock], [DOCK_WIDTH], Qt.Orientation.Horizontal)
        self.wait(1)
        return widget

    def from_the_side(self) -> None:
        """Show the XZ slice in the middle."""
        self.viewer.dims.order = (1, 0, 2)
        self.viewer.dims.set_point(1, self.stack.shape[1] / 2 * self.stack.voxel_size.y)
        self.viewer.reset_view()
        self.wait(0.5)

    def wait(self, seconds: float) -> None:
        """Let the window live."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            QApplication.processEvents()
            time.sleep(0.01)

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Let the window live until something has happened."""
        until = time.monotonic() + PATIENCE_S
        while not happened():
            if time.monotonic() > until:
                raise TimeoutError("the scene did not come about")
            self.wait(0.1)

    def click_run(self, widget: QWidget) -> None:
        """Press Run once it can be pressed."""
        run = child(widget, "run")
        self.wait_until(run.isEnabled)
        run.click()

    def shoot(self, name: str) -> None:
        """The whole window, as it is."""
        self.wait(1)
        IMAGES.mkdir(exist_ok=True)
        self.viewer.screenshot(str(IMAGES / f"{name}.png"), canvas_only=False, flash=False)

    def close(self) -> None:
        """Close the window and all that runs in it."""
        self.viewer.close()
        self.wait(1)


def child(widget: QWidget, name: str) -> Any:
    """The control of that object name."""
    found = widget.findChild(QObject, name)
    assert found is not None, name
    return found


def super_resolved(session: Session) -> tuple[QWidget, Any]:
    """The widget, and the result beside its stack."""
    session.viewer.layers.selection.active = session.layer
    widget = session.open("Super-resolve")
    before = len(session.viewer.layers)
    session.click_run(widget)
    session.wait_until(lambda: len(session.viewer.layers) > before)
    result = session.viewer.layers[-1]
    run = child(widget, "run")
    session.wait_until(lambda: not run.text().startswith("Cancel"))
    session.wait_until(run.isEnabled)  # planned anew
    return widget, result


def stack() -> None:
    """The stack as it was measured, from the side."""
    session = Session()
    session.from_the_side()
    session.shoot("stack")
    session.close()


def super_resolve(theme: str = "dark") -> None:
    """The result on the stack, from the side."""
    session = Session(theme)
    session.from_the_side()
    _, result = super_resolved(session)
    session.viewer.layers.selection.active = result
    session.shoot("super-resolve" if theme == "dark" else "super-resolve-light")
    session.close()


def super_resolve_light() -> None:
    """The same in the light theme."""
    super_resolve("light")


def compare() -> None:
    """Stack (as linear), result and truth from three sides."""
    session = Session()
    session.add(session.truth, visible=False)
    super_resolved(session)
    widget = session.open("Compare")
    dock, bottom = widget.parentWidget(), Qt.DockWidgetArea.BottomDockWidgetArea
    session.window.addDockWidget(bottom, dock)
    session.window.resizeDocks([dock], [460], Qt.Orientation.Vertical)
    child(widget, "planes").setCurrentText("XZ")
    middle = [(low + high) / 2 for low, high, _ in session.viewer.dims.range]
    session.viewer.dims.set_point(range(3), middle)
    session.wait(3)
    session.shoot("compare")
    session.close()


def resolution() -> None:
    """What was gained, slice by slice."""
    session = Session()
    widget, _ = super_resolved(session)
    session.viewer.window.remove_dock_widget(widget)
    session.viewer.layers.selection.active = session.layer
    widget = session.open("Resolution")
    gain = child(widget, "gain")
    session.wait_until(gain.isEnabled)
    gain.click()
    session.wait_until(lambda: "left-out slices" in child(widget, "status").text())
    session.shoot("resolution")
    session.close()


def train() -> None:
    """A training under way."""
    session = Session()
    widget = session.open("Train")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        child(widget, "project").setText("neuropil-d2r")  # a name that says nothing of this machine
        session.click_run(widget)
        session.wait(100)
        session.shoot("train")
        child(widget, "cancel").click()
        session.wait_until(lambda: child(widget, "run").text() != "Pause")
        session.close()


SCENES = (stack, super_resolve, super_resolve_light, compare, resolution, train)


def main(names: list[str]) -> None:
    """Make the scenes named, or all."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["NAPARI_D2R_HOME"] = home
        os.environ["NAPARI_CONFIG"] = str(Path(home) / "settings.yaml")
        for scene in SCENES:
            if not names or scene.__name__ in names:
                scene()


main(sys.argv[1:])
