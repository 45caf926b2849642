"""What all widgets lean on: jobs in threads, their keeper, and layers that grow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QThread
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_d2r.errors import InputError
from napari_d2r.jobs import CancelToken, Event, Failed, Finished, Outcome, Progress
from napari_d2r.widgets._feed import LayerFeed
from napari_d2r.widgets._growing import GrowingArray
from napari_d2r.widgets._latest import Latest
from napari_d2r.widgets._layers import placement
from napari_d2r.widgets._runner import JobRunner, keeper_of

pytestmark = pytest.mark.usefixtures("no_threads_left")


def _listen(runner: JobRunner) -> list[Any]:
    told: list[Any] = []
    runner.told.connect(told.append)
    return told


def _until_cancelled(cancel: CancelToken) -> Iterator[Event]:
    while not cancel:
        time.sleep(0.005)
        yield Progress(0, 1, "steps")
    yield Finished(Outcome.CANCELLED)


def test_events_arrive_in_order_on_the_gui_thread(qtbot: Any) -> None:
    def work(cancel: CancelToken) -> Iterator[Event]:
        assert threading.current_thread() is not threading.main_thread()
        for step in range(50):
            yield Progress(step, 50, "steps")
        yield Finished(Outcome.COMPLETED, "done")

    class Listener(QObject):
        steps: list[float] = []  # noqa: RUF012
        on_gui_thread = True

        def take(self, event: Event) -> None:
            self.on_gui_thread &= QThread.currentThread() is self.thread()
            if isinstance(event, Progress):
                self.steps.append(event.done)

    runner, listener = JobRunner(work), Listener()
    runner.told.connect(listener.take)
    with qtbot.waitSignal(runner.ended, timeout=5000):
        runner.start()
    assert listener.steps == list(range(50))
    assert listener.on_gui_thread
    assert not runner.is_running


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("Choose another stack."), "Choose another stack."),
        (RuntimeError("shape mismatch"), "RuntimeError: shape mismatch"),
        (MemoryError(), "not enough memory"),
        (OSError(28, "No space left on device"), "The disk is full"),
    ],
)
def test_every_failure_becomes_a_sentence(qtbot: Any, error: Exception, sentence: str) -> None:
    def work(cancel: CancelToken) -> Iterator[Event]:
        yield Progress(0, 1, "steps")
        raise error

    runner = JobRunner(work)
    told = _listen(runner)
    with qtbot.waitSignal(runner.ended, timeout=5000):
        runner.start()
    assert isinstance(told[-1], Failed)
    assert sentence in told[-1].message
    assert "Traceback" in told[-1].detail


def test_closing_the_window_stops_what_runs_even_from_a_floating_dock(qtbot: Any) -> None:
    window, dock, inner = QMainWindow(), QDockWidget(), QWidget()
    qtbot.addWidget(window)
    dock.setWidget(inner)
    window.addDockWidget(dock.allowedAreas() & dock.allowedAreas().RightDockWidgetArea, dock)
    window.show()
    dock.setFloating(True)
    runner = JobRunner(_until_cancelled)
    keeper_of(inner).keep("a job", runner)
    runner.start()
    dock.close()  # the dock is not the window
    qtbot.wait(50)
    assert runner.is_running
    began = time.perf_counter()
    window.close()
    qtbot.waitUntil(lambda: not runner.is_running, timeout=3000)
    assert time.perf_counter() - began < 1


def test_only_the_latest_question_is_answered(qtbot: Any) -> None:
    begun = []

    def answer(question: int, cancel: CancelToken) -> Iterator[Event]:
        begun.append(question)
        until = time.perf_counter() + 0.2
        while time.perf_counter() < until and not cancel:
            time.sleep(0.005)
        yield Finished(Outcome.COMPLETED, -question)

    owner = QWidget()
    qtbot.addWidget(owner)
    latest = Latest("numbers", answer, owner, delay_ms=20)
    answers: list[tuple[int, int]] = []
    latest.answered.connect(lambda question, value: answers.append((question, value)))
    for question in range(10):
        latest.ask(1000 + question)
    qtbot.waitUntil(lambda: begun == [1009], timeout=2000)
    latest.ask(2000)  # while the other is being answered
    qtbot.waitUntil(lambda: bool(answers) and not latest.is_busy, timeout=2000)
    assert answers == [(2000, -2000)]
    assert begun == [1009, 2000]


def test_a_growing_layer_shows_new_blocks_and_tells_of_its_removal(
    viewer: Any, qtbot: Any, add_stack: Any
) -> None:
    source = add_stack()
    array = np.zeros((33, 64, 64), np.uint8)
    placed = placement(source, 4)
    feed = LayerFeed(viewer, array, name="growing", metadata={}, placed=placed)
    viewer.dims.point = (100 + 8 * 10, 20, 30)
    drawn: list[Any] = []
    feed.layer.events.set_data.connect(drawn.append)
    for z in range(16):  # one picture for many blocks
        feed.block_written((z, 0, 0), (z + 1, 64, 64))
    qtbot.waitUntil(lambda: bool(drawn), timeout=3000)
    feed.block_written((16, 0, 0), (33, 64, 64))  # not on screen
    qtbot.wait(700)
    assert len(drawn) == 1
    with qtbot.waitSignal(feed.removed, timeout=1000):
        viewer.layers.remove(feed.layer)
    assert not feed.is_shown


def test_a_result_that_begins_between_slices_lies_where_it_belongs(add_stack: Any) -> None:
    source = add_stack()
    plain, later = placement(source, 4), placement(source, 4, offset=0.5)
    step = source.scale[0] / 4
    np.testing.assert_allclose(later["translate"] - plain["translate"], (step / 2, 0, 0))


def test_growing_array_reads_what_was_taken_and_large_ones_the_store(tmp_path: Any) -> None:
    import zarr

    stored = zarr.create_array(
        tmp_path / "a.zarr", shape=(70, 20, 20), chunks=(10, 10, 10), dtype="uint8"
    )
    growing, through = GrowingArray(stored), GrowingArray(stored, max_bytes=10)
    stored[:10, :10, :10] = 5
    assert growing[3, 3, 3] == 0  # not taken yet
    assert through[3, 3, 3] == 5
    growing.take((0, 0, 0), (10, 10, 10))
    assert growing[3, 3, 3] == 5
    stored[60:, 10:, 10:] = 6
    growing.take_all()
    assert np.array_equal(growing, stored[:])
    assert np.array_equal(growing[:, 15], stored[:, 15])


def test_what_a_closed_dock_left_behind_hears_nothing(
    viewer: Any, open_widget: Any, add_stack: Any, qtbot: Any
) -> None:
    """Qt deletes the widgets at once; Python may hold them for long, and napari calls them."""
    from napari_d2r.widgets._models import models_changed

    add_stack()
    held = [open_widget(name) for name in ("Super-resolve", "Train", "Compare", "Resolution")]
    for widget in held:
        viewer.window.remove_dock_widget(widget)
        widget.deleteLater()
    qtbot.waitUntil(lambda: not any(isalive(widget) for widget in held), timeout=5000)
    models_changed.emit()
    again = add_stack(name="another")
    again.name = "renamed"
    viewer.dims.order = (1, 0, 2)
    viewer.scene.camera.zoom *= 1.5
    viewer.layers.move(0, 2)
    viewer.layers.remove(again)
