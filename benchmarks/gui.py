"""What a user of the Super-resolve widget waits for, and how smooth napari stays meanwhile.

xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX +render -noreset" \
    env QT_QPA_PLATFORM=xcb python benchmarks/gui.py [SECONDS]

On FIB-25 sample 1, every 8th slice, tiled to 64 x 512 x 512; the bundled model, r = 8. The
viewer shows XZ, where blocks appear. A timer of 10 ms beats on the GUI thread; a stall is the
time between two beats.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise

import napari
import numpy as np
from _common import print_table, truth_and_stack
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_d2r.jobs import BlockWritten

SHAPE = (64, 512, 512)
BROWSED = 20  # slices of the live preview


class Heart:
    """Beats every 10 ms; `stalls` are the gaps in ms since the last call."""

    def __init__(self) -> None:
        self.beats: list[float] = []
        self.timer = QTimer()
        self.timer.setInterval(10)
        self.timer.timeout.connect(lambda: self.beats.append(time.perf_counter()))
        self.timer.start()

    def stalls(self) -> np.ndarray:
        gaps = np.array([b - a for a, b in pairwise(self.beats)]) * 1000
        self.beats.clear()
        return gaps


def wait(condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """Run the event loop until a condition holds; how long it took."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > seconds:
            raise TimeoutError("it did not happen")
        QApplication.processEvents()
        time.sleep(0.001)
    return time.perf_counter() - began


def spin(seconds: float) -> None:
    """Run the event loop for a while."""
    end = time.perf_counter() + seconds
    wait(lambda: time.perf_counter() > end, seconds + 10)


def stalls_row(what: str, gaps: np.ndarray) -> list[str]:
    """The median, the 99th percentile and the worst, in ms."""
    return [what, *(f"{value:.0f} ms" for value in (*np.percentile(gaps, [50, 99]), gaps.max()))]


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ["NAPARI_D2R_HOME"] = home
        measure(seconds)


def measure(seconds: float) -> None:
    _, stack = truth_and_stack("fib25/fib25_training_sample1", 8)
    times = [-(-n // m) for n, m in zip(SHAPE, stack.shape, strict=True)]
    values = np.tile(stack.read(), times)[tuple(slice(n) for n in SHAPE)]
    viewer = napari.Viewer()
    source = viewer.add_image(
        values,
        name="tiled",
        scale=tuple(stack.voxel_size),
        units=("nm",) * 3,
        axis_labels=tuple("zyx"),
    )
    viewer.dims.order = (1, 0, 2)
    viewer.reset_view()
    spin(1)
    heart = Heart()
    browse(viewer, source, BROWSED)
    alone = heart.stalls()
    began = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget("napari-d2r", "Super-resolve")
    opened = time.perf_counter() - began
    planned = wait(lambda: widget._planned is not None and not widget._planner.is_busy)
    wait(lambda: widget.view.findings.inspection is not None)
    spin(1)
    opening = heart.stalls()

    latencies = preview(viewer, source, widget)
    browsing = heart.stalls()
    widget.view.live_preview.setChecked(False)
    spin(0.5)

    heart.stalls()
    blocks: list[BlockWritten] = []
    widget.view.run.click()
    began = time.perf_counter()
    widget._run._runner.told.connect(
        lambda event: blocks.append(event) if isinstance(event, BlockWritten) else None
    )
    wait(lambda: bool(blocks))
    written = time.perf_counter() - began
    drawn: list[object] = []
    widget._run.layer.events.set_data.connect(drawn.append)
    wait(lambda: bool(drawn))
    visible = time.perf_counter() - began
    spin(seconds)
    running = heart.stalls()
    browse(viewer, source, 10)
    scrolling = heart.stalls()
    widget.view.run.click()
    cancelled = wait(lambda: not widget._run.is_running)
    done, total = widget._run.progress.done, widget._run.progress.total
    spin(1)

    print_table(
        ["what", "took"],
        [
            ["widget open", f"{opened:.2f} s"],
            ["plan ready, with torch imported and the model loaded", f"{planned:.2f} s"],
            ["click to first block written", f"{written:.2f} s"],
            ["click to first block visible", f"{visible:.2f} s"],
            ["Cancel to idle", f"{cancelled:.2f} s"],
            ["live preview of an XZ slice, median", f"{np.median(latencies):.2f} s"],
            ["live preview of an XZ slice, worst", f"{max(latencies):.2f} s"],
            ["blocks written meanwhile", f"{done:g} of {total:g}"],
        ],
    )
    print()
    print_table(
        ["GUI stalls", "median", "99 %", "worst"],
        [
            stalls_row("while the widget opens and plans", opening),
            stalls_row(f"napari alone, {BROWSED} slices browsed", alone),
            stalls_row("live preview, as many slices browsed", browsing),
            stalls_row(f"a run, {seconds:g} s watched", running),
            stalls_row("a run, and slices browsed", scrolling),
        ],
    )
    viewer.close()


def preview(viewer: napari.Viewer, source: napari.layers.Image, widget: object) -> list[float]:
    """Seconds from each step of the slider to the restored slice; the first loads the model."""
    from napari_d2r.widgets._layers import METADATA, PREVIEW

    def layer() -> napari.layers.Image | None:
        kinds = {x.metadata.get(METADATA, {}).get("kind"): x for x in viewer.layers}
        return kinds.get(PREVIEW)

    widget.view.live_preview.setChecked(True)
    wait(lambda: layer() is not None)
    latencies = []
    for y in np.linspace(10, SHAPE[1] - 10, BROWSED).astype(int):
        place = source.data_to_world((30, y, 200))
        viewer.dims.point = place
        latencies.append(wait(lambda place=place: np.isclose(layer().translate[1], place[1])))
    return latencies


def browse(viewer: napari.Viewer, source: napari.layers.Image, number: int) -> None:
    """Step through XZ slices, a few a second."""
    for y in np.linspace(15, SHAPE[1] - 15, number).astype(int):
        viewer.dims.point = source.data_to_world((30, y, 200))
        spin(0.2)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
