"""How far a result may be off, as a second layer that lies exactly on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from qtpy.QtWidgets import QPushButton

from napari_d2r import open_volume
from napari_d2r._npe2 import METADATA
from napari_d2r.errors import InputError
from napari_d2r.jobs import CancelToken, Outcome
from napari_d2r.widgets._save import save_result

pytestmark = pytest.mark.usefixtures("no_threads_left")


def test_a_second_layer_lies_on_the_result(
    viewer: Any,
    widget: Any,
    ready: Any,
    qtbot: Any,
    choose_model: Any,
    result: Any,
    tmp_path: Path,
) -> None:
    choose_model(widget, "Linear")
    widget.form.uncertainty.setChecked(True)
    widget.form.save_to.setText(str(tmp_path / "out.tif"))
    widget.form.save_to.editingFinished.emit()
    ready(widget)
    widget.view.run.click()
    qtbot.waitUntil(lambda: not widget._run.is_running, timeout=20000)
    assert "Finished" in widget.view.status.text()

    made = result()
    (beside,) = (one for one in viewer.layers if one.name.endswith("uncertainty"))
    assert beside.metadata[METADATA]["kind"] == "uncertainty"
    assert not beside.visible
    assert np.allclose(beside.scale, made.scale)
    assert np.allclose(beside.translate, made.translate)
    assert beside.units == made.units
    assert beside.data.shape == made.data.shape
    values = np.asarray(beside.data)
    assert not values[::4].any()
    assert values[1:4].any()
    np.testing.assert_array_equal(open_volume(tmp_path / "out.uncertainty.tif").read(), values)
    np.testing.assert_array_equal(open_volume(tmp_path / "out.tif").read(), made.data)

    save = widget.findChild(QPushButton, "save")
    save.save_to(tmp_path / "later.ome.zarr")
    qtbot.waitUntil(lambda: not save.is_saving, timeout=20000)
    later = open_volume(tmp_path / "later.uncertainty.ome.zarr")
    np.testing.assert_array_equal(later.read(), values)
    with pytest.raises(InputError, match=r"taken\.uncertainty\.tif exists"):
        (tmp_path / "taken.uncertainty.tif").touch()
        list(save_result(tmp_path / "later.ome.zarr", tmp_path / "taken.tif", CancelToken()))
    stopped = CancelToken()
    stopped.cancel()
    *_, last = save_result(tmp_path / "later.ome.zarr", tmp_path / "none.ome.zarr", stopped)
    assert last.outcome is Outcome.CANCELLED
    assert not list(tmp_path.glob("none*"))


def test_without_the_wish_there_is_no_second_layer(
    viewer: Any, widget: Any, run: Any, choose_model: Any
) -> None:
    choose_model(widget, "Linear")
    assert "Finished" in run(widget)
    assert len(viewer.layers) == 2


def test_what_cannot_be_told_is_said_before_the_run(
    widget: Any, choose_model: Any, qtbot: Any
) -> None:
    choose_model(widget, "Cubic")
    widget.form.uncertainty.setChecked(True)
    qtbot.waitUntil(lambda: "is not known" in widget.view.plan.text(), timeout=15000)
    assert not widget.view.run.isEnabled()
