"""How a super-resolution ends: with its TIFF or without, with its dock or without, in place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.QtCore import Qt

from napari_d2r._npe2 import METADATA
from napari_d2r.errors import DiskFullError
from napari_d2r.io import OmeZarrOutput, open_source
from napari_d2r.jobs import Event, Finished, Started
from napari_d2r.stages import _fill as stage
from napari_d2r.widgets import _save
from napari_d2r.widgets._cache_row import _used
from napari_d2r.widgets._super_resolve_run import SuperResolveRun

pytestmark = pytest.mark.usefixtures("no_threads_left")


@pytest.fixture
def widget(open_widget: Any, add_stack: Any, qtbot: Any) -> Any:
    """The widget, ready to interpolate the small phantom."""
    add_stack()
    widget = open_widget("Super-resolve")
    widget.form.model.setCurrentText("Linear interpolation")
    _wait_ready(widget, qtbot)
    return widget


def _wait_ready(widget: Any, qtbot: Any) -> None:
    qtbot.waitUntil(
        lambda: widget.view.run.isEnabled() and not widget._planner.is_busy, timeout=30000
    )


def _run(widget: Any, qtbot: Any) -> None:
    qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget._run.is_running, timeout=30000)


def test_a_tiff_that_fails_leaves_a_result_that_can_be_saved(
    widget: Any, qtbot: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    widget.form.save_to.setText(str(tmp_path / "nowhere" / "out.tif"))
    widget.form.save_to.editingFinished.emit()
    qtbot.waitUntil(lambda: "There is no folder" in widget.view.plan.text(), timeout=30000)
    assert not widget.view.run.isEnabled()

    used = []

    def refuse(*_: Any, **__: Any) -> None:
        used.append(_used())
        raise DiskFullError("The disk is full.")

    monkeypatch.setattr(_save, "save_tiff_stream", refuse)
    widget.form.save_to.setText(str(tmp_path / "out.tif"))
    widget.form.save_to.editingFinished.emit()
    qtbot.waitUntil(lambda: widget._planned is not None, timeout=30000)
    _run(widget, qtbot)
    expected = "The result is whole, but out.tif was not written (The disk is full); use Save as…."
    assert widget.view.status.text() == expected
    assert widget.view.save.isEnabled()
    assert widget._run.layer.metadata[METADATA]["is_complete"]
    assert np.asarray(widget._run.layer.data[4]).any()
    assert widget._run.result in used[0]
    assert _save.being_saved == []


@pytest.mark.parametrize("suffix", [".ome.zarr", ".tif"])
def test_nothing_is_told_after_the_end(
    widget: Any, qtbot: Any, tmp_path: Path, monkeypatch: Any, suffix: str
) -> None:
    told: list[Any] = []
    listen = SuperResolveRun._on_told
    monkeypatch.setattr(
        SuperResolveRun, "_on_told", lambda run, event: (told.append(event), listen(run, event))
    )
    widget.form.save_to.setText(str(tmp_path / f"out{suffix}"))
    widget.form.save_to.editingFinished.emit()
    _wait_ready(widget, qtbot)
    _run(widget, qtbot)
    kinds = [type(event) for event in told if isinstance(event, Event)]
    assert (kinds[0], kinds[-1]) == (Started, Finished)
    assert (kinds.count(Started), kinds.count(Finished)) == (1, 1)
    assert told[-1].result == tmp_path / f"out{suffix}"
    assert open_source(tmp_path / f"out{suffix}").provenance["source"] == "stack"


def test_a_cancel_in_the_image_pyramid_is_resumed(
    viewer: Any, add_stack: Any, open_widget: Any, qtbot: Any
) -> None:
    add_stack(np.random.default_rng(0).integers(0, 255, (9, 300, 280)).astype(np.uint8))
    widget = open_widget("Super-resolve")
    widget.form.model.setCurrentText("Linear interpolation")
    _wait_ready(widget, qtbot)
    stages = []

    def cancel_at_the_pyramid() -> None:
        stages.append(widget._run.stage)
        if "pyramid" in widget._run.stage:
            widget._run.cancel()

    coarsened = OmeZarrOutput.coarsened

    def slowly(*arguments: Any) -> Any:
        time.sleep(1)
        return coarsened(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmeZarrOutput, "coarsened", slowly)
        qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)
        widget._run.changed.connect(cancel_at_the_pyramid)
        qtbot.waitUntil(lambda: not widget._run.is_running, timeout=30000)
    assert "blocks are finished, and Resume goes on" in widget.view.status.text()
    assert widget._run.result is None
    _wait_ready(widget, qtbot)
    assert widget.view.run.text() == "Resume"
    _run(widget, qtbot)
    assert "Finished" in widget.view.status.text()
    assert [type(layer).__name__ for layer in viewer.layers] == ["Image", "Image"]
    assert len(open_source(widget._run.result).coarser) == 1


def test_a_result_is_stored_where_its_source_lies(viewer: Any, widget: Any, qtbot: Any) -> None:
    viewer.layers["stack"].units = ("um", "um", "um")
    viewer.layers["stack"].scale = (0.04, 0.01, 0.01)
    viewer.layers["stack"].translate = (0.1, 0.02, 0.03)
    widget.form.voxel_size.read(viewer.layers["stack"])
    _wait_ready(widget, qtbot)
    _run(widget, qtbot)
    assert open_source(widget._run.result).origin == pytest.approx((100, 20, 30))


def test_a_run_that_fails_behind_a_closed_dock_is_heard_of(
    viewer: Any, widget: Any, qtbot: Any, open_widget: Any, monkeypatch: Any, capsys: Any
) -> None:
    import threading

    gate = threading.Event()

    def fail(*_: Any) -> Any:
        gate.wait(20)
        raise ValueError("weights are upside down")

    monkeypatch.setattr(stage, "begin_shard", fail)
    qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)
    run = widget._run
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    del widget
    qtbot.wait(100)
    gate.set()
    qtbot.waitUntil(lambda: not run.is_running, timeout=30000)
    assert capsys.readouterr().out.count("upside down") == 1
    other = open_widget("Super-resolve")
    qtbot.waitUntil(lambda: "upside down" in other.view.status.text(), timeout=10000)
