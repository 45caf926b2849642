"""Super-resolve interrupted: by its user, by errors, by what is closed or deleted meanwhile."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.QtCore import Qt

from napari_d2r import open_volume
from napari_d2r._npe2 import METADATA
from napari_d2r.io import interrupted_shard
from napari_d2r.jobs import Warned
from napari_d2r.samples import phantom_sample
from napari_d2r.stages import _fill as stage
from napari_d2r.widgets import _super_resolve_form

pytestmark = pytest.mark.usefixtures("no_threads_left")
_SHAPE = (33, 160, 160)  # nine blocks


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_super_resolve_form, "SHARD_SECONDS", 1e-9)


@pytest.fixture(scope="module")
def slices() -> Any:
    """A measured stack of 9 x 160 x 160."""
    return phantom_sample(_SHAPE, factor=4)[0].read()


@pytest.fixture
def widget(open_widget: Any, add_stack: Any, slices: Any, qtbot: Any) -> Any:
    """The widget, ready to interpolate; nine blocks."""
    add_stack(slices)
    widget = open_widget("Super-resolve")
    widget.form.model.setCurrentText("Linear interpolation")
    _wait_ready(widget, qtbot)
    return widget


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every block takes a little while; the list holds those begun."""
    fill, begun = stage.begin_shard, []

    def fill_slowly(volume: Any, grid: Any, box: Any, *rest: Any) -> Any:
        begun.append(box)
        time.sleep(0.2)
        return fill(volume, grid, box, *rest)

    monkeypatch.setattr(stage, "begin_shard", fill_slowly)
    return begun


def _wait_ready(widget: Any, qtbot: Any) -> None:
    qtbot.waitUntil(
        lambda: widget.view.run.isEnabled() and not widget._planner.is_busy, timeout=15000
    )


def _click_run(widget: Any, qtbot: Any) -> None:
    qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)


def _wait_end(widget: Any, qtbot: Any) -> str:
    qtbot.waitUntil(lambda: not widget._run.is_running, timeout=15000)
    return str(widget.view.status.text())


def _results(viewer: Any) -> list[Any]:
    return [
        layer
        for layer in viewer.layers
        if layer.metadata.get(METADATA, {}).get("kind") == "super-resolved"
    ]


def _wait_blocks(widget: Any, qtbot: Any, number: int) -> None:
    qtbot.waitUntil(
        lambda: widget._run.progress is not None and widget._run.progress.done >= number,
        timeout=10000,
    )


def _expected(viewer: Any, tmp_path: Path, slices: Any) -> Any:
    from napari_d2r import SuperResolveJob, Volume, VoxelSize, super_resolve

    stack = Volume(slices, VoxelSize(40, 10, 10))
    path = tmp_path / "expected.ome.zarr"
    super_resolve(stack, path, job=SuperResolveJob(method="linear", device="cpu"))
    return open_volume(path).read()


def test_cancel_keeps_blocks_and_resume_finishes_in_the_same_layer(
    viewer: Any, widget: Any, slow: list[Any], qtbot: Any, slices: Any, tmp_path: Path
) -> None:
    assert widget.view.run.text() == "Run"
    _click_run(widget, qtbot)
    _wait_blocks(widget, qtbot, 3)
    assert widget.view.run.text() == "Cancel"
    assert widget.view.progress.isVisible()
    assert "of 9 blocks" in widget.view.eta.text() and "left" in widget.view.eta.text()
    (layer,) = _results(viewer)
    assert layer.metadata[METADATA]["is_complete"] is False

    began = time.perf_counter()
    _click_run(widget, qtbot)
    assert widget.view.run.text() == "Cancelling…"
    assert "Resume goes on" in _wait_end(widget, qtbot)
    assert time.perf_counter() - began < 1
    finished = np.asarray(layer.data).copy()
    assert finished.any()

    _wait_ready(widget, qtbot)
    assert widget.view.run.text() == "Resume"
    assert widget.view.start_over.isVisible()
    assert "finished blocks are kept" in widget.view.plan.text()
    done = len(slow)
    _click_run(widget, qtbot)
    assert "Finished" in _wait_end(widget, qtbot)
    assert _results(viewer) == [layer]
    assert len(slow) < done + 9
    result = np.asarray(layer.data)
    assert np.array_equal(result, _expected(viewer, tmp_path, slices))
    assert np.array_equal(result[finished > 0], finished[finished > 0])


def test_blocks_on_screen_come_first_and_show_at_once(
    viewer: Any, widget: Any, slow: list[Any], qtbot: Any
) -> None:
    viewer.dims.point = (100 + 160, 20, 30)
    viewer.scene.camera.center = (20 + 1500, 30 + 1500)  # the far corner, y and x
    _click_run(widget, qtbot)
    _wait_blocks(widget, qtbot, 1)
    assert slow[0].stop == _SHAPE
    (layer,) = _results(viewer)
    there = (100 + 160, 20 + 1550, 30 + 1550)
    qtbot.waitUntil(lambda: layer.get_value(there, world=True) > 0, timeout=2000)
    assert widget._run.is_running
    _click_run(widget, qtbot)
    _wait_end(widget, qtbot)


def test_start_over_forgets_the_blocks(
    viewer: Any, widget: Any, slow: list[Any], qtbot: Any
) -> None:
    _click_run(widget, qtbot)
    _wait_blocks(widget, qtbot, 2)
    _click_run(widget, qtbot)
    _wait_end(widget, qtbot)
    _wait_ready(widget, qtbot)
    slow.clear()
    qtbot.mouseClick(widget.view.start_over, Qt.MouseButton.LeftButton)
    assert "Finished" in _wait_end(widget, qtbot)
    assert len(slow) == 9


def test_a_run_goes_on_without_its_source_and_stops_without_its_result(
    viewer: Any, widget: Any, slow: list[Any], qtbot: Any
) -> None:
    _click_run(widget, qtbot)
    _wait_blocks(widget, qtbot, 1)
    viewer.layers.remove("stack")
    _wait_blocks(widget, qtbot, 3)
    assert widget._run.is_running
    viewer.layers.remove(_results(viewer)[0])
    assert "layer was deleted, so the run was stopped" in _wait_end(widget, qtbot)
    assert widget._run.progress.done < 9


def test_closing_the_widget_stops_nothing_and_another_takes_over(
    viewer: Any, widget: Any, slow: list[Any], qtbot: Any, open_widget: Any
) -> None:
    _click_run(widget, qtbot)
    _wait_blocks(widget, qtbot, 1)
    run = widget._run
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    del widget
    qtbot.wait(100)
    assert run.is_running
    other = open_widget("Super-resolve")
    qtbot.waitUntil(lambda: other.view.run.text() == "Cancel", timeout=3000)
    assert other.view.progress.isVisible()
    assert "Finished" in _wait_end(other, qtbot)
    assert other.view.save.isEnabled()


def test_closing_the_viewer_ends_all_and_leaves_a_store_to_resume(
    viewer: Any, widget: Any, slow: list[Any], qtbot: Any
) -> None:
    _click_run(widget, qtbot)
    _wait_blocks(widget, qtbot, 2)
    runner, path = widget._run._runner, Path(_results(viewer)[0].metadata[METADATA]["path"])
    began = time.perf_counter()
    viewer.close()
    qtbot.waitUntil(lambda: not runner.is_running, timeout=3000)
    assert time.perf_counter() - began < 3
    assert interrupted_shard(path) == (64, 64, 64)
    assert not path.exists()


def test_closing_the_viewer_waits_for_no_tile_that_does_not_end(
    viewer: Any, widget: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill, gate, begun = stage.begin_shard, threading.Event(), []

    def stick_at_the_third(*arguments: Any) -> Any:
        begun.append(arguments)
        if len(begun) == 3:
            gate.wait(60)
        return fill(*arguments)

    monkeypatch.setattr(stage, "begin_shard", stick_at_the_third)
    _click_run(widget, qtbot)
    qtbot.waitUntil(lambda: len(begun) == 3, timeout=10000)
    runner = widget._run._runner
    path = Path(_results(viewer)[0].metadata[METADATA]["path"])
    granted: list[float] = []

    def wait(seconds: float) -> bool:
        granted.append(seconds)
        return runner.wait(seconds)

    monkeypatch.setattr(widget._run, "wait", wait)
    viewer.close()
    qtbot.waitUntil(lambda: bool(granted), timeout=10000)
    assert granted[0] <= 2
    assert runner.is_running
    assert interrupted_shard(path) == (64, 64, 64)
    gate.set()
    assert runner.wait(10)
    assert len(begun) == 3
    assert not path.exists()


def _raise(error: BaseException) -> Callable[..., Any]:
    def fill(*_: Any) -> Any:
        raise error

    return fill


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("weights are upside down"), "ValueError: weights are upside down"),
        (RuntimeError("mat1 and mat2 shapes"), "RuntimeError: mat1 and mat2"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
    ],
)
def test_a_model_that_raises_ends_in_a_sentence(
    viewer: Any, widget: Any, qtbot: Any, monkeypatch: Any, error: BaseException, words: str
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(stage, "begin_shard", _raise(error))
        _click_run(widget, qtbot)
        assert words in _wait_end(widget, qtbot)
    _wait_ready(widget, qtbot)
    _click_run(widget, qtbot)  # the button is back, and works
    assert "Finished" in _wait_end(widget, qtbot)


def test_what_stands_in_the_findings_is_not_said_again(widget: Any, qtbot: Any) -> None:
    warned: list[str] = []
    _click_run(widget, qtbot)
    widget._run.warned.connect(warned.append)
    for event in (Warned("It drifts.", "drift"), Warned("Something else.")):
        widget._run._on_told(event)
    assert warned == ["Something else."]
    assert "Finished" in _wait_end(widget, qtbot)


def test_out_of_memory_is_retried_in_smaller_parts(
    viewer: Any, widget: Any, qtbot: Any, monkeypatch: Any, slices: Any, tmp_path: Path
) -> None:
    fill = stage.begin_shard

    def fill_small(volume: Any, grid: Any, box: Any, *rest: Any) -> Any:
        if box.shape[1] > 32:
            raise MemoryError
        return fill(volume, grid, box, *rest)

    monkeypatch.setattr(stage, "begin_shard", fill_small)
    warned: list[str] = []
    _click_run(widget, qtbot)
    widget._run.warned.connect(warned.append)
    assert "Finished" in _wait_end(widget, qtbot)
    assert [w for w in warned if "Memory ran out" in w] == warned and len(warned) == 1
    monkeypatch.setattr(stage, "begin_shard", fill)
    result = np.asarray(_results(viewer)[0].data)
    assert np.array_equal(result, _expected(viewer, tmp_path, slices))


def test_a_full_disk_keeps_what_is_finished(
    viewer: Any, widget: Any, qtbot: Any, monkeypatch: Any
) -> None:
    from napari_d2r.io import _shards

    sync, calls = _shards.sync_file, []

    def fill_up(path: Path) -> None:
        calls.append(path)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path)

    with monkeypatch.context() as full:
        full.setattr(_shards, "sync_file", fill_up)
        _click_run(widget, qtbot)
        sentence = _wait_end(widget, qtbot)
    assert "disk is full" in sentence and "press Resume" in sentence and "--" not in sentence
    _wait_ready(widget, qtbot)
    assert widget.view.run.text() == "Resume"
    _click_run(widget, qtbot)
    assert "Finished" in _wait_end(widget, qtbot)
