"""From starting napari to a super-resolved sample on screen: three clicks, offline.

xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX +render -noreset" \
    env QT_QPA_PLATFORM=xcb python benchmarks/first_minute.py

The clicks are File > Open Sample > phantom, Plugins > D2R > Super-resolve, and Run.
"""

import os
import tempfile
import time

STARTED = time.perf_counter()


def main() -> None:
    """Print how far the story was after how many seconds."""
    import napari
    from _common import print_table
    from qtpy.QtWidgets import QApplication

    def until(condition, seconds: float = 300.0) -> None:
        end = time.perf_counter() + seconds
        while not condition():
            if time.perf_counter() > end:
                raise TimeoutError("it did not happen")
            QApplication.processEvents()
            time.sleep(0.002)

    rows = []

    def reached(what: str) -> None:
        rows.append([what, f"{time.perf_counter() - STARTED:.1f} s"])

    viewer = napari.Viewer()
    reached("napari is open")
    viewer.open_sample("napari-d2r", "phantom")
    reached("click 1: the sample is shown")
    _, widget = viewer.window.add_plugin_dock_widget("napari-d2r", "Super-resolve")
    until(lambda: widget.view.run.isEnabled() and widget._planned is not None)
    reached("click 2: Super-resolve is open, its plan ready")
    widget.view.run.click()
    until(lambda: widget._run.layer is not None)
    until(lambda: not widget._run.is_running)
    reached("click 3: the result is complete")
    shape = widget._run.layer.data.shape
    print_table([f"result of {' x '.join(map(str, shape))} voxels", "after"], rows)
    viewer.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["NAPARI_D2R_HOME"] = home
        main()
