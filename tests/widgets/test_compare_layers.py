"""Compare while layers fill, change, come and go."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_d2r.errors import InputError
from napari_d2r.volumes import Volume

pytestmark = pytest.mark.usefixtures("no_threads_left")
LEFT = Qt.MouseButton.LeftButton
MIDDLE = (260.0, 330.0, 340.0)  # a measured slice of the phantom as `add_stack` places it


def test_a_filling_result_is_read_again_at_most_twice_a_second(
    compare: Any, trio: Any, qtbot: Any, settle: Any
) -> None:
    result = trio[1]
    again = []
    compare._fresh_soon.timeout.connect(lambda: again.append(time.monotonic()))
    until = time.monotonic() + 1.3
    while time.monotonic() < until:
        result.data[16] += 1
        result.refresh(extent=False, thumbnail=False, highlight=False)
        qtbot.wait(20)
    assert 2 <= len(again) <= 3
    qtbot.waitUntil(
        lambda: np.array_equal(compare.panes.pictures.of(1, "XY").values, result.data[16])
    )
    settle(compare)


def test_layers_may_be_renamed_replaced_and_removed(
    compare: Any, trio: Any, viewer: Any, qtbot: Any, control: Any
) -> None:
    stack, result, truth = trio
    result.name = "better"
    qtbot.waitUntil(lambda: control(compare, "pane_xy_2").view.title == "better")
    result.data = np.full_like(result.data, 77)
    qtbot.waitUntil(lambda: _shows(compare, 1, 77))
    viewer.layers.remove(truth)
    qtbot.waitUntil(lambda: len(compare.panes.panes) == 6)
    viewer.layers.remove(stack)
    viewer.layers.remove(result)
    status = control(compare, "status")
    qtbot.waitUntil(lambda: "nothing to compare" in status.text())
    assert not compare.panes.panes


def _shows(compare: Any, stack: int, value: int) -> bool:
    picture = compare.panes.pictures.of(stack, "XY")
    return picture is not None and bool((picture.values == value).all())


def test_a_result_that_comes_later_is_taken_in(
    viewer: Any, add_stack: Any, open_widget: Any, qtbot: Any, control: Any, settle: Any
) -> None:
    stack = add_stack()
    compare = open_widget("Compare")
    settle(compare)
    titles = [control(compare, f"pane_xz_{number}").view.title for number in (1, 2)]
    assert titles == ["stack (linear)", "stack"]  # alone: interpolated, and as it is
    result = add_stack(
        np.zeros((33, 64, 64), np.uint8),
        name="result",
        scale=(10, 10, 10),
        metadata={"napari_d2r": {"source": "stack", "factor": 4}},
    )
    second = control(compare, "layer_2")
    qtbot.waitUntil(lambda: second.layer == result)
    assert control(compare, "layer_1").layer == stack
    settle(compare)


def test_pixels_beside_nanometres_are_refused_in_words(
    compare: Any, add_stack: Any, qtbot: Any, control: Any
) -> None:
    raw = add_stack(name="raw", units=("pixel",) * 3, scale=(1, 1, 1), translate=(0, 0, 0))
    control(compare, "layer_2").setCurrentText(raw.name)
    status = control(compare, "status")
    qtbot.waitUntil(lambda: "raw is in pixels" in status.text())
    assert not compare.panes.panes


def test_reads_happen_off_the_gui_thread_and_end_at_the_last_place(
    viewer: Any, add_stack: Any, open_widget: Any, qtbot: Any, control: Any, settle: Any
) -> None:
    data = np.random.default_rng(1).integers(0, 255, (40, 64, 64), np.uint8)
    readers = []

    class Slow:
        shape, dtype, ndim, size = data.shape, data.dtype, 3, data.size

        def __getitem__(self, key: Any) -> Any:
            readers.append(threading.current_thread())
            time.sleep(0.06)
            return data[key]

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return data

    add_stack(data, name="fast", scale=(10, 10, 10))
    add_stack(Slow(), name="slow", scale=(10, 10, 10), visible=False)  # not read by napari
    compare = open_widget("Compare")
    settle(compare)
    readers.clear()
    pane = control(compare, "pane_xy_1")
    places = range(100, 500, 10)
    for _ in places:
        qtbot.keyClick(pane, Qt.Key.Key_PageDown)
    settle(compare)
    assert readers and threading.main_thread() not in readers
    assert len(readers) < len(places)  # places that were passed in the meantime are left out
    for stack in (0, 1):
        np.testing.assert_array_equal(compare.panes.pictures.of(stack, "XY").values, data[39])


def test_micrometres_a_time_series_and_several_resolutions_change_no_position(
    viewer: Any,
    add_stack: Any,
    open_widget: Any,
    qtbot: Any,
    phantom: tuple[Volume, Volume],
    control: Any,
    settle: Any,
) -> None:
    truth = np.array(phantom[1].data)
    in_um = {"units": ("um",) * 3, "translate": (0.1, 0.02, 0.03), "scale": (0.01,) * 3}
    add_stack([truth, truth[::2, ::2, ::2]], name="truth", multiscale=True, **in_um)
    add_stack()
    viewer.add_image(np.zeros((2, 3, 8, 8), np.uint8), units=("s", "nm", "nm", "nm"))
    compare = open_widget("Compare")
    settle(compare)
    viewer.dims.set_point(1, 0.31 if str(viewer.dims.units[1]) == "micrometer" else 310)
    qtbot.waitUntil(lambda: compare.panes.position[0] == pytest.approx(310))
    settle(compare)
    layers = [control(compare, f"layer_{number}").layer for number in (1, 2)]
    assert [layer.name for layer in layers] == ["stack", "truth"]
    np.testing.assert_array_equal(compare.panes.pictures.of(1, "XY").values, truth[21])
    before = np.asarray(viewer.dims.point)
    qtbot.keyClick(control(compare, "pane_xy_1"), Qt.Key.Key_PageDown)
    after = np.asarray(viewer.dims.point)
    assert (after - before)[1] == pytest.approx(before[1] * 10 / 310)
    settle(compare)


def test_a_layer_that_cannot_be_read_is_named_and_holds_up_no_other(
    viewer: Any, add_stack: Any, open_widget: Any, qtbot: Any, control: Any
) -> None:
    data = np.random.default_rng(1).integers(0, 255, (9, 64, 64), np.uint8)

    class Broken:
        shape, dtype, ndim, size = data.shape, data.dtype, 3, data.size

        def __getitem__(self, key: Any) -> Any:
            raise InputError("broken.tif is damaged or gone.")

    add_stack(Broken(), name="broken", visible=False)
    add_stack(data, name="good")
    compare = open_widget("Compare")
    control(compare, "layer_1").setCurrentText("broken")
    control(compare, "layer_2").setCurrentText("good")
    qtbot.waitUntil(lambda: compare.panes.pictures.of(1, "YZ") is not None)
    assert control(compare, "status").text() == "broken.tif is damaged or gone."
    qtbot.waitUntil(lambda: not compare.reader.is_busy)
