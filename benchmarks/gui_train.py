"""How fluid napari stays while a training runs in its child process, and how fast it stops.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX +render -noreset" \
        env QT_QPA_PLATFORM=xcb python benchmarks/gui_train.py [MINUTES]

A timer is due every 10 ms; a stall is how much later than that it came. Meanwhile the user
browses: the slider of the viewer moves four times a second.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_d2r.samples import phantom_sample

DUE_MS, BROWSE_MS = 10, 250


class Heartbeat:
    """Gaps between two beats of a timer, in ms above what was asked for."""

    def __init__(self) -> None:
        self.stalls: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setInterval(DUE_MS)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now = time.perf_counter()
        self.stalls.append(max(0.0, 1000 * (now - self._last) - DUE_MS))
        self._last = now

    def row(self, name: str) -> str:
        """A line of the table, and a fresh start."""
        stalls, self.stalls = np.array(self.stalls), []
        p99, worst = np.percentile(stalls, 99), stalls.max()
        return f"| {name} | {len(stalls)} | {np.median(stalls):.1f} | {p99:.0f} | {worst:.0f} |"


def main(minutes: float) -> None:
    application = QApplication.instance() or QApplication([])

    def until(is_so: Callable[[], bool], seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while not is_so() and time.monotonic() < end:
            application.processEvents()
            time.sleep(0.001)

    viewer = napari.Viewer(show=True)
    stack, _ = phantom_sample((257, 256, 256), factor=8)
    viewer.add_image(stack.data, name="phantom", scale=tuple(stack.voxel_size), units="nm")
    _, widget = viewer.window.add_plugin_dock_widget("napari-d2r", "Train")
    widget.form.project.setText(str(Path(tempfile.mkdtemp()) / "project"))
    widget.form.minutes.setValue(minutes)
    until(widget.view.run.isEnabled)
    browse = QTimer()
    browse.timeout.connect(
        lambda: viewer.dims.set_current_step(0, (viewer.dims.current_step[0] + 1) % 32)
    )
    browse.start(BROWSE_MS)

    rows = []
    heart = Heartbeat()
    until(lambda: len(heart.stalls) > 500)
    rows.append(heart.row("nothing runs"))
    widget.view.run.click()
    until(lambda: widget.view.stages.isVisible() and "left" in bar(widget, 1).text())
    rows.append(heart.row("from Run to the first steps"))
    end = time.monotonic() + 60 * minutes / 4
    until(lambda: time.monotonic() > end)
    rows.append(heart.row("stage I"))
    began = time.perf_counter()
    widget.view.run.click()
    until(lambda: "Paused" in widget.view.status.text())
    paused = time.perf_counter() - began
    until(lambda: widget.view.run.text() == "Resume" and widget.view.run.isEnabled())
    rows.append(heart.row("pause"))
    widget.view.run.click()
    until(lambda: bar(widget, 2).text().endswith(("left", "done")))
    heart.row("")
    until(lambda: bar(widget, 3).text().endswith(("left", "done")))
    rows.append(heart.row("stage II, its layer filling"))
    until(lambda: "Finished" in widget.view.status.text())
    rows.append(heart.row("stage III, to the end"))
    print("| while | beats | median stall, ms | 99 % | worst |\n|---|---|---|---|---|")
    print("\n".join(rows))
    print(f"\nfrom Pause to an idle computer: {paused:.1f} s")
    viewer.close()


def bar(widget, number):
    from qtpy.QtWidgets import QProgressBar

    return widget.findChild(QProgressBar, f"stage_{number}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
