"""Compare in a real viewer: positions both ways, views, profile, figure, docks."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication

from napari_d2r.volumes import AxialGrid, Volume, interpolate_axial
from napari_d2r.widgets._compare_pane import nice_length

pytestmark = pytest.mark.usefixtures("no_threads_left")
LEFT = Qt.MouseButton.LeftButton
MIDDLE = (260.0, 330.0, 340.0)  # a measured slice of the phantom as `add_stack` places it


def _colour(image: QImage, at: QPointF) -> Any:
    """The colour of the pixel that holds a point."""
    return image.pixelColor(int(at.x()), int(at.y()))


def _drag(qtbot: Any, pane: Any, start: QPointF, stop: QPointF) -> None:
    """Press, move and let go at world positions (right, down)."""
    ends = [pane.to_pixels(each).toPoint() for each in (start, stop)]
    qtbot.mousePress(pane, LEFT, pos=ends[0])
    qtbot.mouseMove(pane, ends[1])
    qtbot.mouseRelease(pane, LEFT, pos=ends[1])


def test_three_planes_of_source_result_and_reference_are_shown(
    compare: Any, trio: Any, viewer: Any, phantom: tuple[Volume, Volume], control: Any, settle: Any
) -> None:
    chosen = [control(compare, f"layer_{number}").layer for number in (1, 2, 3, 4)]
    assert chosen == [*trio, None]
    boxes = [control(compare, f"as_linear_{number}").isChecked() for number in (1, 2, 3)]
    assert boxes == [True, False, False]
    assert len(compare.panes.panes) == 9
    assert "stack (linear)" in control(compare, "pane_xz_1").accessibleName()
    viewer.dims.set_point((0, 1, 2), (310, 330, 340))  # index 21, 31, 31 of the result
    settle(compare)
    truth = np.asarray(phantom[1].data)
    for plane, at in (("XY", truth[21]), ("XZ", truth[:, 31]), ("YZ", truth[:, :, 31])):
        np.testing.assert_array_equal(compare.panes.pictures.of(2, plane).values, at)
        linear, made = (compare.panes.pictures.of(stack, plane).values for stack in (0, 1))
        np.testing.assert_array_equal(linear, made)


def test_a_picture_on_screen_has_the_grey_of_its_voxel(
    compare: Any, trio: Any, phantom: tuple[Volume, Volume], control: Any
) -> None:
    trio[0].contrast_limits = (0, 255)
    QApplication.processEvents()
    pane = control(compare, "pane_xy_3")
    image = pane.grab().toImage()
    truth = np.asarray(phantom[1].data)[16]  # z 260
    for y, x in ((10, 20), (40, 12), (50, 50)):
        grey = _colour(image, pane.to_pixels(QPointF(30.0 + 10 * x, 20.0 + 10 * y))).red()
        assert abs(grey - int(truth[y, x])) <= 1


def test_the_viewer_moves_the_cross_and_a_click_moves_the_viewer(
    compare: Any, viewer: Any, qtbot: Any, control: Any, settle: Any
) -> None:
    assert compare.panes.position == MIDDLE
    assert control(compare, "pane_xy_1").view.tag == "measured slice"
    viewer.dims.set_point(0, 270)
    assert compare.panes.position == (270, 330, 340)
    assert control(compare, "pane_xy_1").view.tag == "between measured slices"
    pane = control(compare, "pane_xz_2")
    at = pane.to_pixels(QPointF(150.0, 180.0)).toPoint()
    qtbot.mouseClick(pane, LEFT, pos=at)
    z, y, x = viewer.dims.point
    assert y == 330
    assert abs(z - 180) <= 10 and abs(x - 150) <= 10
    assert compare.panes.position == (z, y, x)
    assert set(pane.view.ticks) == {100.0 + 40 * j for j in range(9)}
    settle(compare)


def test_keys_move_by_one_voxel(
    compare: Any, viewer: Any, qtbot: Any, control: Any, settle: Any
) -> None:
    pane = control(compare, "pane_xz_1")
    pane.setFocus()
    for key, expected in (
        (Qt.Key.Key_Right, (260, 330, 350)),
        (Qt.Key.Key_Up, (250, 330, 350)),
        (Qt.Key.Key_PageDown, (250, 340, 350)),
    ):
        qtbot.keyClick(pane, key)
        assert tuple(viewer.dims.point) == expected
    settle(compare)


def test_zoom_and_shift_are_common_and_come_back(
    compare: Any, qtbot: Any, control: Any, settle: Any
) -> None:
    panes = compare.panes.panes.values()
    before = compare.panes.panes["XY", 0].view.scale
    assert {pane.view.scale for pane in panes} == {before}  # in all, and down as to the right
    first = control(compare, "pane_xy_1")
    first.setFocus()
    qtbot.keyClick(first, Qt.Key.Key_Plus)
    qtbot.keyClick(first, Qt.Key.Key_Plus)
    assert all(pane.view.scale == pytest.approx(before * 0.64) for pane in panes)
    qtbot.mousePress(first, Qt.MouseButton.RightButton, pos=QPoint(40, 60))
    qtbot.mouseMove(first, QPoint(30, 60))
    qtbot.mouseRelease(first, Qt.MouseButton.RightButton, pos=QPoint(30, 60))
    shifted = first.view.centre.x()
    assert shifted == pytest.approx(340 + (345 - 340) * 0.64 + 10 * before * 0.64)
    assert all(
        control(compare, f"pane_{plane}_2").view.centre.x() == shifted for plane in ("xy", "xz")
    )
    qtbot.mouseClick(control(compare, "fit"), LEFT)
    assert first.view.centre.x() == pytest.approx(345)
    settle(compare)


def test_equal_layers_differ_by_nothing_and_others_by_their_difference(
    compare: Any, phantom: tuple[Volume, Volume], qtbot: Any, control: Any, settle: Any
) -> None:
    control(compare, "mode").setCurrentText("difference")
    settle(compare)
    assert len(compare.panes.panes) == 3
    for plane in ("XY", "XZ", "YZ"):
        assert not compare.panes.pictures.difference((0, 1), plane).values.any()
    control(compare, "first").setCurrentText("truth")
    settle(compare)
    linear = interpolate_axial(np.array(phantom[0].data), AxialGrid(9, 4).positions())
    expected = np.asarray(phantom[1].data).astype(float) - linear
    np.testing.assert_array_equal(
        compare.panes.pictures.difference((2, 1), "XZ").values, expected[:, 31]
    )
    qtbot.mouseClick(control(compare, "difference_fit"), LEFT)
    limit = control(compare, "difference_range").value()
    assert 0 < limit <= np.abs(expected).max()
    pane = control(compare, "pane_xz_1")
    image = pane.grab().toImage()
    flat = np.argwhere(expected[:, 31] == 0)
    z, x = next((z, x) for z, x in flat if abs(z - 16) > 3 and abs(x - 31) > 3 and 5 < x < 40)
    colour = _colour(image, pane.to_pixels(QPointF(30.0 + 10 * x, 100.0 + 10 * z)))
    assert (colour.red(), colour.green(), colour.blue()) == (247, 247, 247)  # zero is neutral


def test_split_shows_the_first_left_of_its_line(
    compare: Any, trio: Any, qtbot: Any, control: Any, settle: Any
) -> None:
    trio[2].contrast_limits = trio[0].contrast_limits
    control(compare, "mode").setCurrentText("split")
    control(compare, "planes").setCurrentText("XZ")
    control(compare, "first").setCurrentText("result")
    control(compare, "second").setCurrentText("truth")
    settle(compare)
    pane = control(compare, "pane_xz_1")
    _drag(qtbot, pane, pane.to_world(QPointF(pane._split_x(), 60)), QPointF(200.0, 250.0))
    share = control(compare, "split_position").value() / 100
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


def test_blink_changes_by_space_by_button_and_by_itself(
    compare: Any, qtbot: Any, control: Any, settle: Any
) -> None:
    control(compare, "mode").setCurrentText("blink")
    control(compare, "blink_rate").setValue(0)
    settle(compare)
    pane = control(compare, "pane_xy_1")
    assert pane.view.title == "stack (linear)"
    pane.setFocus()
    qtbot.keyClick(pane, Qt.Key.Key_Space)
    assert pane.view.title == "result"
    qtbot.mouseClick(control(compare, "blink"), LEFT)
    assert pane.view.title == "truth"
    control(compare, "blink_rate").setValue(3)
    qtbot.waitUntil(lambda: pane.view.title == "stack (linear)", timeout=2000)


def test_profile_has_the_values_of_the_voxels_in_nm(
    compare: Any,
    phantom: tuple[Volume, Volume],
    qtbot: Any,
    tmp_path: Path,
    control: Any,
    settle: Any,
) -> None:
    qtbot.mouseClick(control(compare, "profile"), LEFT)
    qtbot.waitUntil(lambda: len(compare.profile.values) == 3)
    profile = compare.profile
    np.testing.assert_allclose(profile.distances, np.arange(33) * 10.0)
    truth = np.asarray(phantom[1].data)
    np.testing.assert_array_equal(profile.values[2], truth[:, 31, 31])
    np.testing.assert_array_equal(profile.values[0][::4], truth[::4, 31, 31])
    assert "Distance (nm)" in profile.plot.getAxis("bottom").labelString()
    legend = profile.plot.getPlotItem().legend
    assert [label.text for _, label in legend.items] == ["stack (linear)", "result", "truth"]
    _drag(qtbot, control(compare, "pane_xy_1"), QPointF(130.0, 120.0), QPointF(430.0, 520.0))
    assert control(compare, "profile_along").currentText() == "drawn line"
    qtbot.waitUntil(lambda: profile.distances[-1] > 400)
    assert profile.distances[-1] == pytest.approx(500, abs=25)
    line = control(compare, "pane_xy_2").view.line
    assert line is not None and line.p1().x() == pytest.approx(130, abs=10)
    qtbot.mouseClick(control(compare, "profile_copy"), LEFT)
    clipboard = QApplication.clipboard().text().splitlines()
    assert clipboard[0].split("\t") == ["distance_nm", "stack (linear)", "result", "truth"]
    profile.save_csv(tmp_path / "profile.csv")
    table = np.genfromtxt(tmp_path / "profile.csv", delimiter=",", skip_header=1)
    np.testing.assert_allclose(table[:, 0], profile.distances, rtol=1e-5)
    np.testing.assert_allclose(table[:, 3], profile.values[2], rtol=1e-5)
    settle(compare)


@pytest.mark.parametrize(("width", "height"), [(1000, 350), (300, 700)])
def test_it_fits_low_and_narrow_docks(
    compare: Any, qtbot: Any, width: int, height: int, settle: Any
) -> None:
    dock = compare.parentWidget()
    dock.setFloating(True)
    dock.resize(width, height)
    qtbot.waitUntil(lambda: abs(dock.width() - width) < 5 and abs(dock.height() - height) < 5)
    settle(compare)
    for pane in compare.panes.panes.values():
        assert pane.width() >= 48 and pane.height() >= 48
        whole = pane.view.scale * pane.area.width(), pane.view.scale * pane.area.height()
        assert min(whole) >= 330  # all of it is on screen: 640 x 640 or 640 x 330 nm
        inside = compare.rect().contains(pane.mapTo(compare, pane.rect().bottomRight()))
        assert inside
    assert compare.form.widget().width() <= compare.form.viewport().width()


def test_floats_closes_and_opens_again_and_leaves_nothing(
    viewer: Any, trio: Any, open_widget: Any, qtbot: Any, settle: Any
) -> None:
    gone = []
    for is_floating in (True, False):
        compare = open_widget("Compare")
        settle(compare)
        dock = compare.parentWidget()
        dock.setFloating(is_floating)
        QApplication.processEvents()
        settle(compare)
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
    compare: Any, tmp_path: Path, control: Any
) -> None:
    path = tmp_path / "figure.png"
    compare.save_figure(path)
    image = QImage(str(path))
    shown = compare._right.size()
    assert (image.width(), image.height()) == (2 * shown.width(), 2 * shown.height())
    pane = control(compare, "pane_xz_1")
    area, scale = pane.area, pane.view.scale
    middle = pane.mapTo(compare._right, QPoint(0, int(area.bottom() - 8)))
    row = [image.pixelColor(x, 2 * middle.y()).red() for x in range(2 * int(area.width()))]
    runs = "".join("#" if value == 255 else " " for value in row).split()
    expected = 2 * nice_length(area.width() * scale / 3) / scale
    assert max(map(len, runs)) == pytest.approx(expected, abs=2)  # the scale bar
    assert "figure.png" in control(compare, "status").text()


def test_every_control_is_reached_by_tab_and_named(compare: Any, control: Any) -> None:
    for name in (
        "layer_1", "as_linear_1", "mode", "planes", "common_contrast", "fit", "profile", "export",
        "pane_xy_1", "pane_yz_3",
    ):  # fmt: skip
        found = control(compare, name)
        assert found.focusPolicy() & Qt.FocusPolicy.TabFocus
        assert found.accessibleName() or found.text()
        assert found.toolTip()
