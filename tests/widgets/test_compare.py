"""Compare in a real viewer: positions both ways, views, profile, figure, docks."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QWidget

from napari_d2r.errors import InputError
from napari_d2r.volumes import AxialGrid, Volume, interpolate_axial
from napari_d2r.widgets._compare_pane import nice_length

pytestmark = pytest.mark.usefixtures("no_threads_left")
LEFT = Qt.MouseButton.LeftButton
MIDDLE = (260.0, 330.0, 340.0)  # a measured slice of the phantom as `add_stack` places it


@pytest.fixture
def trio(add_stack: Callable[..., Any], phantom: tuple[Volume, Volume]) -> tuple[Any, Any, Any]:
    """Stack, a result that is its interpolation, and its truth."""
    truth = np.array(phantom[1].data)
    made = interpolate_axial(np.array(phantom[0].data), AxialGrid(9, 4).positions())
    stack = add_stack()
    reference = add_stack(truth, name="truth", scale=(10, 10, 10))
    provenance = {"napari_d2r": {"source": "stack", "factor": 4}}
    result = add_stack(made, name="result", scale=(10, 10, 10), metadata=provenance)
    return stack, result, reference


@pytest.fixture
def compare(viewer: Any, open_widget: Callable[[str], Any], trio: Any, qtbot: Any) -> Any:
    """The widget in a window of some size, with its pictures on screen."""
    viewer.window.resize(1300, 900)
    widget = open_widget("Compare")
    _settle(widget, qtbot)
    return widget


def _settle(widget: Any, qtbot: Any) -> None:
    """Wait until everything that should be on screen is."""

    def is_settled() -> bool:
        panes = widget.panes
        return bool(panes.cells()) and not panes.missing() and not widget.reader.is_busy

    qtbot.wait(30)  # what was just asked for begins with the next events
    qtbot.waitUntil(is_settled, timeout=10_000)


def _child(widget: Any, name: str) -> Any:
    found = widget.findChild(QWidget, name)
    assert found is not None, name
    return found


def _choose(widget: Any, name: str, text: str) -> None:
    box = _child(widget, name)
    assert box.findText(text) >= 0
    box.setCurrentText(text)


def _colour(image: QImage, at: QPointF) -> Any:
    """The colour of the pixel that holds a point."""
    return image.pixelColor(int(at.x()), int(at.y()))


def _pane(widget: Any, name: str) -> Any:
    return _child(widget, f"pane_{name}")


def _drag(qtbot: Any, pane: Any, start: QPointF, stop: QPointF) -> None:
    """Press, move and let go at world positions (right, down)."""
    ends = [pane.to_pixels(each).toPoint() for each in (start, stop)]
    qtbot.mousePress(pane, LEFT, pos=ends[0])
    qtbot.mouseMove(pane, ends[1])
    qtbot.mouseRelease(pane, LEFT, pos=ends[1])


def test_three_planes_of_source_result_and_reference_are_shown(
    compare: Any, trio: Any, viewer: Any, phantom: tuple[Volume, Volume], qtbot: Any
) -> None:
    chosen = [_child(compare, f"layer_{number}").layer for number in (1, 2, 3, 4)]
    assert chosen == [*trio, None]
    boxes = [_child(compare, f"as_linear_{number}").isChecked() for number in (1, 2, 3)]
    assert boxes == [True, False, False]
    assert len(compare.panes.panes) == 9
    assert "stack (linear)" in _pane(compare, "xz_1").accessibleName()
    viewer.dims.set_point((0, 1, 2), (310, 330, 340))  # index 21, 31, 31 of the result
    _settle(compare, qtbot)
    truth = np.asarray(phantom[1].data)
    for plane, at in (("XY", truth[21]), ("XZ", truth[:, 31]), ("YZ", truth[:, :, 31])):
        np.testing.assert_array_equal(compare.panes.pictures.of(2, plane).values, at)
        linear, made = (compare.panes.pictures.of(stack, plane).values for stack in (0, 1))
        np.testing.assert_array_equal(linear, made)


def test_a_picture_on_screen_has_the_grey_of_its_voxel(
    compare: Any, trio: Any, phantom: tuple[Volume, Volume]
) -> None:
    trio[0].contrast_limits = (0, 255)
    QApplication.processEvents()
    pane = _pane(compare, "xy_3")
    image = pane.grab().toImage()
    truth = np.asarray(phantom[1].data)[16]  # z 260
    for y, x in ((10, 20), (40, 12), (50, 50)):
        grey = _colour(image, pane.to_pixels(QPointF(30.0 + 10 * x, 20.0 + 10 * y))).red()
        assert abs(grey - int(truth[y, x])) <= 1


def test_the_viewer_moves_the_cross_and_a_click_moves_the_viewer(
    compare: Any, viewer: Any, qtbot: Any
) -> None:
    assert compare.panes.position == MIDDLE
    assert _pane(compare, "xy_1").view.tag == "measured slice"
    viewer.dims.set_point(0, 270)
    assert compare.panes.position == (270, 330, 340)
    assert _pane(compare, "xy_1").view.tag == "between measured slices"
    pane = _pane(compare, "xz_2")
    at = pane.to_pixels(QPointF(150.0, 180.0)).toPoint()
    qtbot.mouseClick(pane, LEFT, pos=at)
    z, y, x = viewer.dims.point
    assert y == 330
    assert abs(z - 180) <= 10 and abs(x - 150) <= 10
    assert compare.panes.position == (z, y, x)
    assert set(pane.view.ticks) == {100.0 + 40 * j for j in range(9)}
    _settle(compare, qtbot)


def test_keys_move_by_one_voxel(compare: Any, viewer: Any, qtbot: Any) -> None:
    pane = _pane(compare, "xz_1")
    pane.setFocus()
    for key, expected in (
        (Qt.Key.Key_Right, (260, 330, 350)),
        (Qt.Key.Key_Up, (250, 330, 350)),
        (Qt.Key.Key_PageDown, (250, 340, 350)),
    ):
        qtbot.keyClick(pane, key)
        assert tuple(viewer.dims.point) == expected
    _settle(compare, qtbot)


def test_zoom_and_shift_are_common_and_come_back(compare: Any, qtbot: Any) -> None:
    panes = compare.panes.panes.values()
    before = compare.panes.panes["XY", 0].view.scale
    assert {pane.view.scale for pane in panes} == {before}  # in all, and down as to the right
    first = _pane(compare, "xy_1")
    first.setFocus()
    qtbot.keyClick(first, Qt.Key.Key_Plus)
    qtbot.keyClick(first, Qt.Key.Key_Plus)
    assert all(pane.view.scale == pytest.approx(before * 0.64) for pane in panes)
    qtbot.mousePress(first, Qt.MouseButton.RightButton, pos=QPoint(40, 60))
    qtbot.mouseMove(first, QPoint(30, 60))
    qtbot.mouseRelease(first, Qt.MouseButton.RightButton, pos=QPoint(30, 60))
    shifted = first.view.centre.x()
    assert shifted == pytest.approx(340 + (345 - 340) * 0.64 + 10 * before * 0.64)
    assert all(_pane(compare, f"{plane}_2").view.centre.x() == shifted for plane in ("xy", "xz"))
    qtbot.mouseClick(_child(compare, "fit"), LEFT)
    assert first.view.centre.x() == pytest.approx(345)
    _settle(compare, qtbot)


def test_equal_layers_differ_by_nothing_and_others_by_their_difference(
    compare: Any, phantom: tuple[Volume, Volume], qtbot: Any
) -> None:
    _choose(compare, "mode", "difference")
    _settle(compare, qtbot)
    assert len(compare.panes.panes) == 3
    for plane in ("XY", "XZ", "YZ"):
        assert not compare.panes.pictures.difference((0, 1), plane).values.any()
    _choose(compare, "first", "truth")
    _settle(compare, qtbot)
    linear = interpolate_axial(np.array(phantom[0].data), AxialGrid(9, 4).positions())
    expected = np.asarray(phantom[1].data).astype(float) - linear
    np.testing.assert_array_equal(
        compare.panes.pictures.difference((2, 1), "XZ").values, expected[:, 31]
    )
    qtbot.mouseClick(_child(compare, "difference_fit"), LEFT)
    limit = _child(compare, "difference_range").value()
    assert 0 < limit <= np.abs(expected).max()
    pane = _pane(compare, "xz_1")
    image = pane.grab().toImage()
    flat = np.argwhere(expected[:, 31] == 0)
    z, x = next((z, x) for z, x in flat if abs(z - 16) > 3 and abs(x - 31) > 3 and 5 < x < 40)
    colour = _colour(image, pane.to_pixels(QPointF(30.0 + 10 * x, 100.0 + 10 * z)))
    assert (colour.red(), colour.green(), colour.blue()) == (247, 247, 247)  # zero is neutral


def test_split_shows_the_first_left_of_its_line(compare: Any, trio: Any, qtbot: Any) -> None:
    trio[2].contrast_limits = trio[0].contrast_limits
    _choose(compare, "mode", "split")
    _choose(compare, "planes", "XZ")
    _choose(compare, "first", "result")
    _choose(compare, "second", "truth")
    _settle(compare, qtbot)
    pane = _pane(compare, "xz_1")
    _drag(qtbot, pane, pane.to_world(QPointF(pane._split_x(), 60)), QPointF(200.0, 250.0))
    share = _child(compare, "split_position").value() / 100
    assert pane.view.split == pytest.approx(share)
    image = pane.grab().toImage()
    made, truth = (compare.panes.pictures.of(stack, "XZ").values for stack in (1, 2))
    differ = np.argwhere(np.abs(made.astype(int) - truth) > 10)
    low, high = trio[0].contrast_limits
    sides = {True: 0, False: 0}
    for z, x in differ:
        at = pane.to_pixels(QPointF(30.0 + 10 * x, 100.0 + 10 * z))
        is_left = at.x() < pane._split_x()
        if abs(at.x() - pane._split_x()) < 12 or abs(x - 31) < 3 or abs(z - 16) < 3 or x < 10:
            continue
        if at.y() > pane.area.bottom() - 30 and at.x() > pane.area.center().x():
            continue  # the scale bar
        values = made if is_left else truth
        grey = np.clip((values[z, x] - low) / (high - low) * 255, 0, 255)
        assert abs(_colour(image, at).red() - grey) <= 2
        sides[is_left] += 1
    assert min(sides.values()) > 3


def test_blink_changes_by_space_by_button_and_by_itself(compare: Any, qtbot: Any) -> None:
    _choose(compare, "mode", "blink")
    _child(compare, "blink_rate").setValue(0)
    _settle(compare, qtbot)
    pane = _pane(compare, "xy_1")
    assert pane.view.title == "stack (linear)"
    pane.setFocus()
    qtbot.keyClick(pane, Qt.Key.Key_Space)
    assert pane.view.title == "result"
    qtbot.mouseClick(_child(compare, "blink"), LEFT)
    assert pane.view.title == "truth"
    _child(compare, "blink_rate").setValue(3)
    qtbot.waitUntil(lambda: pane.view.title == "stack (linear)", timeout=2000)


def test_profile_has_the_values_of_the_voxels_in_nm(
    compare: Any, phantom: tuple[Volume, Volume], qtbot: Any, tmp_path: Path
) -> None:
    qtbot.mouseClick(_child(compare, "profile"), LEFT)
    qtbot.waitUntil(lambda: len(compare.profile.values) == 3)
    profile = compare.profile
    np.testing.assert_allclose(profile.distances, np.arange(33) * 10.0)
    truth = np.asarray(phantom[1].data)
    np.testing.assert_array_equal(profile.values[2], truth[:, 31, 31])
    np.testing.assert_array_equal(profile.values[0][::4], truth[::4, 31, 31])
    assert "Distance (nm)" in profile.plot.getAxis("bottom").labelString()
    legend = profile.plot.getPlotItem().legend
    assert [label.text for _, label in legend.items] == ["stack (linear)", "result", "truth"]
    _drag(qtbot, _pane(compare, "xy_1"), QPointF(130.0, 120.0), QPointF(430.0, 520.0))
    assert _child(compare, "profile_along").currentText() == "drawn line"
    qtbot.waitUntil(lambda: profile.distances[-1] > 400)
    assert profile.distances[-1] == pytest.approx(500, abs=25)
    line = _pane(compare, "xy_2").view.line
    assert line is not None and line.p1().x() == pytest.approx(130, abs=10)
    qtbot.mouseClick(_child(compare, "profile_copy"), LEFT)
    clipboard = QApplication.clipboard().text().splitlines()
    assert clipboard[0].split("\t") == ["distance_nm", "stack (linear)", "result", "truth"]
    profile.save_csv(tmp_path / "profile.csv")
    table = np.genfromtxt(tmp_path / "profile.csv", delimiter=",", skip_header=1)
    np.testing.assert_allclose(table[:, 0], profile.distances, rtol=1e-5)
    np.testing.assert_allclose(table[:, 3], profile.values[2], rtol=1e-5)
    _settle(compare, qtbot)


def test_a_filling_result_is_read_again_at_most_twice_a_second(
    compare: Any, trio: Any, qtbot: Any
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
    _settle(compare, qtbot)


def test_layers_may_be_renamed_replaced_and_removed(
    compare: Any, trio: Any, viewer: Any, qtbot: Any
) -> None:
    stack, result, truth = trio
    result.name = "better"
    qtbot.waitUntil(lambda: _pane(compare, "xy_2").view.title == "better")
    result.data = np.full_like(result.data, 77)
    qtbot.waitUntil(lambda: _shows(compare, 1, 77))
    viewer.layers.remove(truth)
    qtbot.waitUntil(lambda: len(compare.panes.panes) == 6)
    viewer.layers.remove(stack)
    viewer.layers.remove(result)
    status = _child(compare, "status")
    qtbot.waitUntil(lambda: "nothing to compare" in status.text())
    assert not compare.panes.panes


def _shows(compare: Any, stack: int, value: int) -> bool:
    picture = compare.panes.pictures.of(stack, "XY")
    return picture is not None and bool((picture.values == value).all())


def test_a_result_that_comes_later_is_taken_in(
    viewer: Any, add_stack: Any, open_widget: Any, qtbot: Any
) -> None:
    stack = add_stack()
    compare = open_widget("Compare")
    _settle(compare, qtbot)
    titles = [_pane(compare, f"xz_{number}").view.title for number in (1, 2)]
    assert titles == ["stack (linear)", "stack"]  # alone: interpolated, and as it is
    result = add_stack(
        np.zeros((33, 64, 64), np.uint8),
        name="result",
        scale=(10, 10, 10),
        metadata={"napari_d2r": {"source": "stack", "factor": 4}},
    )
    second = _child(compare, "layer_2")
    qtbot.waitUntil(lambda: second.layer == result)
    assert _child(compare, "layer_1").layer == stack
    _settle(compare, qtbot)


def test_pixels_beside_nanometres_are_refused_in_words(
    compare: Any, add_stack: Any, qtbot: Any
) -> None:
    raw = add_stack(name="raw", units=("pixel",) * 3, scale=(1, 1, 1), translate=(0, 0, 0))
    _choose(compare, "layer_2", raw.name)
    status = _child(compare, "status")
    qtbot.waitUntil(lambda: "raw is in pixels" in status.text())
    assert not compare.panes.panes


def test_reads_happen_off_the_gui_thread_and_end_at_the_last_place(
    viewer: Any, add_stack: Any, open_widget: Any, qtbot: Any
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
    _settle(compare, qtbot)
    readers.clear()
    pane = _pane(compare, "xy_1")
    places = range(100, 500, 10)
    for _ in places:
        qtbot.keyClick(pane, Qt.Key.Key_PageDown)
    _settle(compare, qtbot)
    assert readers and threading.main_thread() not in readers
    assert len(readers) < len(places)  # places that were passed in the meantime are left out
    for stack in (0, 1):
        np.testing.assert_array_equal(compare.panes.pictures.of(stack, "XY").values, data[39])


def test_micrometres_a_time_series_and_several_resolutions_change_no_position(
    viewer: Any, add_stack: Any, open_widget: Any, qtbot: Any, phantom: tuple[Volume, Volume]
) -> None:
    truth = np.array(phantom[1].data)
    in_um = {"units": ("um",) * 3, "translate": (0.1, 0.02, 0.03), "scale": (0.01,) * 3}
    add_stack([truth, truth[::2, ::2, ::2]], name="truth", multiscale=True, **in_um)
    add_stack()
    viewer.add_image(np.zeros((2, 3, 8, 8), np.uint8), units=("s", "nm", "nm", "nm"))
    compare = open_widget("Compare")
    _settle(compare, qtbot)
    viewer.dims.set_point(1, 0.31 if str(viewer.dims.units[1]) == "micrometer" else 310)
    qtbot.waitUntil(lambda: compare.panes.position[0] == pytest.approx(310))
    _settle(compare, qtbot)
    layers = [_child(compare, f"layer_{number}").layer for number in (1, 2)]
    assert [layer.name for layer in layers] == ["stack", "truth"]
    np.testing.assert_array_equal(compare.panes.pictures.of(1, "XY").values, truth[21])
    before = np.asarray(viewer.dims.point)
    qtbot.keyClick(_pane(compare, "xy_1"), Qt.Key.Key_PageDown)
    after = np.asarray(viewer.dims.point)
    assert (after - before)[1] == pytest.approx(before[1] * 10 / 310)
    _settle(compare, qtbot)


def test_a_layer_that_cannot_be_read_is_named_and_holds_up_no_other(
    viewer: Any, add_stack: Any, open_widget: Any, qtbot: Any
) -> None:
    data = np.random.default_rng(1).integers(0, 255, (9, 64, 64), np.uint8)

    class Broken:
        shape, dtype, ndim, size = data.shape, data.dtype, 3, data.size

        def __getitem__(self, key: Any) -> Any:
            raise InputError("broken.tif is damaged or gone.")

    add_stack(Broken(), name="broken", visible=False)
    add_stack(data, name="good")
    compare = open_widget("Compare")
    _choose(compare, "layer_1", "broken")
    _choose(compare, "layer_2", "good")
    qtbot.waitUntil(lambda: compare.panes.pictures.of(1, "YZ") is not None)
    assert _child(compare, "status").text() == "broken.tif is damaged or gone."
    qtbot.waitUntil(lambda: not compare.reader.is_busy)


@pytest.mark.parametrize(("width", "height"), [(1000, 350), (300, 700)])
def test_it_fits_low_and_narrow_docks(compare: Any, qtbot: Any, width: int, height: int) -> None:
    dock = compare.parentWidget()
    dock.setFloating(True)
    dock.resize(width, height)
    qtbot.waitUntil(lambda: abs(dock.width() - width) < 5 and abs(dock.height() - height) < 5)
    _settle(compare, qtbot)
    for pane in compare.panes.panes.values():
        assert pane.width() >= 48 and pane.height() >= 48
        whole = pane.view.scale * pane.area.width(), pane.view.scale * pane.area.height()
        assert min(whole) >= 330  # all of it is on screen: 640 x 640 or 640 x 330 nm
        inside = compare.rect().contains(pane.mapTo(compare, pane.rect().bottomRight()))
        assert inside
    assert compare.form.widget().width() <= compare.form.viewport().width()


def test_floats_closes_and_opens_again_and_leaves_nothing(
    viewer: Any, trio: Any, open_widget: Any, qtbot: Any
) -> None:
    gone = []
    for is_floating in (True, False):
        compare = open_widget("Compare")
        _settle(compare, qtbot)
        dock = compare.parentWidget()
        dock.setFloating(is_floating)
        QApplication.processEvents()
        _settle(compare, qtbot)
        gone += [weakref.ref(compare), weakref.ref(compare.panes)]
        viewer.window.remove_dock_widget(dock)
        del compare, dock
        QApplication.processEvents()
        viewer.dims.set_point(0, 300)
        trio[0].name = "stack again"
        viewer.layers.move(0, 2)
        trio[1].refresh()
        trio[1].contrast_limits = (0, 100)
        QApplication.processEvents()

    def is_clean() -> bool:
        gc.collect()
        return all(ref() is None for ref in gone)

    qtbot.waitUntil(is_clean, timeout=5000)


def test_figure_has_the_pictures_at_twice_the_size(
    compare: Any, qtbot: Any, tmp_path: Path
) -> None:
    path = tmp_path / "figure.png"
    compare.save_figure(path)
    image = QImage(str(path))
    shown = compare._right.size()
    assert (image.width(), image.height()) == (2 * shown.width(), 2 * shown.height())
    pane = _pane(compare, "xz_1")
    area, scale = pane.area, pane.view.scale
    middle = pane.mapTo(compare._right, QPoint(0, int(area.bottom() - 8)))
    row = [image.pixelColor(x, 2 * middle.y()).red() for x in range(2 * int(area.width()))]
    runs = "".join("#" if value == 255 else " " for value in row).split()
    expected = 2 * nice_length(area.width() * scale / 3) / scale
    assert max(map(len, runs)) == pytest.approx(expected, abs=2)  # the scale bar
    assert "figure.png" in _child(compare, "status").text()


def test_every_control_is_reached_by_tab_and_named(compare: Any) -> None:
    for name in (
        "layer_1", "as_linear_1", "mode", "planes", "common_contrast", "fit", "profile", "export",
        "pane_xy_1", "pane_yz_3",
    ):  # fmt: skip
        control = _child(compare, name)
        assert control.focusPolicy() & Qt.FocusPolicy.TabFocus
        assert control.accessibleName() or control.text()
        assert control.toolTip()
