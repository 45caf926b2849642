"""The Resolution widget in a real viewer: the numbers shown, what is asked for, what is refused."""

from __future__ import annotations

import csv
import shlex
import time

import numpy as np
import pytest
import tifffile

from napari_d2r.stages.fsc import FSCReport, Placed, fsc_placed_stream
from napari_d2r.stages.gain import GainReport, gain_stream
from napari_d2r.volumes import AxialGrid, Volume, VoxelSize, interpolate_axial

pytestmark = pytest.mark.usefixtures("no_threads_left")
NM = {"units": ("nm", "nm", "nm"), "axis_labels": ("z", "y", "x")}
EDGES = ("voxel_size_z", "voxel_size_y", "voxel_size_x")


@pytest.fixture
def widget(open_widget, qtbot):
    opened = open_widget("Resolution")
    qtbot.waitUntil(lambda: not opened.form.model._reader.is_busy, timeout=20_000)
    return opened


@pytest.fixture
def child(widget):
    """Find a control as a script would: by its name."""
    from qtpy.QtWidgets import QWidget

    return lambda name: widget.findChild(QWidget, name)


@pytest.fixture
def click(qtbot, child):
    from qtpy.QtCore import Qt

    return lambda name: qtbot.mouseClick(child(name), Qt.MouseButton.LeftButton)


@pytest.fixture
def measured(qtbot, widget, click):
    """Press a button and wait for what it finds."""

    def press(name: str):
        click(name)
        qtbot.waitUntil(lambda: widget._runner is None, timeout=240_000)
        return widget.view.report

    return press


@pytest.fixture
def pair(viewer, phantom):
    """The stack, its truth, and nearest interpolation as a result that says so."""
    stack, truth = phantom
    origin = {"translate": (100.0, 20.0, 30.0)} | NM
    nearest = interpolate_axial(stack.read(), AxialGrid(9, 4).positions(), "nearest")
    return (
        viewer.add_image(np.array(stack.read()), name="stack", scale=(40, 10, 10), **origin),
        viewer.add_image(np.array(truth.read()), name="truth", scale=(10, 10, 10), **origin),
        viewer.add_image(
            nearest, name="result", scale=(10, 10, 10),
            metadata={"napari_d2r": {"source": "stack"}}, **origin,
        ),
    )  # fmt: skip


def layers_of(widget) -> list[str]:
    form = widget.form
    return [choice.currentText() for choice in (form.layer_a, form.layer_b, form.source)]


def test_a_result_is_measured_with_linear_of_its_source(
    pair, widget, child, measured, phantom
) -> None:
    child("question").setCurrentIndex(1)
    assert layers_of(widget) == ["result", "truth", "stack"]
    report = measured("run")
    stack, truth = phantom
    nearest = Volume(pair[2].data, truth.voxel_size, "result")
    source = Placed(Volume(stack.read(), stack.voxel_size, "stack"))
    *_, last = fsc_placed_stream(Placed(nearest), Placed(truth), source=source)
    expected = last.result
    for own, wanted in ((report.curves, expected.curves), (report.linear, expected.linear)):
        np.testing.assert_array_equal(own.cone_z.correlation, wanted.cone_z.correlation)
    assert child("status").text() == report.sentence()
    assert "linear interpolation of stack" in child("status").text()

    table = child("table")
    cells = [
        [table.item(row, column).text() for column in range(5)] for row in range(table.rowCount())
    ]
    z_of_linear = [row for row in cells if row[:2] == ["along Z", "linear"]]
    curve = expected.linear.cone_z
    assert z_of_linear[0][2:] == [curve.resolution_text(x) for x in (0.5, 0.143, "half-bit")]

    drawn = [line.curve for line in widget.view.plot.lines]
    assert [line.key.is_dashed for line in widget.view.plot.lines] == [True, True, False, False]
    assert drawn[0] is report.linear.cone_z and drawn[3] is report.curves.cone_xy
    child("direction").setCurrentIndex(1)
    assert [line.curve for line in widget.view.plot.lines] == [
        report.linear.plain,
        report.curves.plain,
    ]


def test_the_axis_is_labelled_with_round_periods(pair, widget, child, measured) -> None:
    child("question").setCurrentIndex(1)
    report = measured("run")
    axis = child("plot").getAxis("bottom")
    last = report.curves.cone_xy.frequency_per_nm[-1]
    ((_, ticks),) = axis.tickValues(0, last, 300)
    texts = axis.tickStrings(ticks, 1, 1)
    assert len(ticks) >= 4
    assert [float(text) for text in texts] == pytest.approx([1 / tick for tick in ticks])
    assert all(len(text.rstrip("0")) <= 2 for text in texts)
    assert min(-np.diff(ticks)) > last / 12  # readable


def test_what_did_i_gain(pair, widget, child, measured, tiny_model, phantom) -> None:
    widget.form.layer.choose(pair[0])
    widget.form.model.choose_folder(tiny_model)
    child("crop").setValue(48)
    report = measured("gain")
    assert isinstance(report, GainReport)
    box = phantom[0].read(slice(None), slice(8, 56), slice(8, 56))
    assert report.shape == box.shape and not report.is_whole
    *_, last = gain_stream(phantom[0], tiny_model, device="cpu", max_edge=48)
    assert report.gain.mse == pytest.approx(last.result.gain.mse, rel=1e-4)
    sentence = child("status").text()
    assert "gaps twice as wide (80 nm, not 40)" in sentence
    assert "the central 9 x 48 x 48 voxels" in sentence
    assert child("slice_plot").isVisibleTo(widget) and not child("direction").isVisibleTo(widget)
    assert child("table").item(0, 1).text() == f"{report.gain.psnr_db:.2f} dB"
    # The other question keeps its own answer.
    child("question").setCurrentIndex(1)
    assert child("status").text() == "" and not child("table").isVisibleTo(widget)
    assert child("run").isVisibleTo(widget) and not child("gain").isVisibleTo(widget)
    child("question").setCurrentIndex(0)
    assert child("status").text() == sentence


def test_curves_go_to_csv_clipboard_and_figure(
    pair, widget, child, click, measured, qtbot, tmp_path, monkeypatch
) -> None:
    from qtpy.QtWidgets import QApplication, QFileDialog

    child("question").setCurrentIndex(1)
    report = measured("run")
    names = iter([tmp_path / "curves.csv", tmp_path / "figure.svg", tmp_path / "figure.xyz"])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(next(names)), ""))
    click("save_csv")
    rows = list(csv.DictReader((tmp_path / "curves.csv").read_text("utf-8").splitlines()))
    assert len(rows) == sum(len(curve.correlation) for _, _, curve in report.named_curves())
    click("export")
    qtbot.waitUntil(lambda: widget._runner is None, timeout=240_000)
    assert (tmp_path / "figure.svg").read_bytes().startswith(b"<?xml")
    assert child("status").text() == "Saved figure.svg."
    assert widget.view.report is report
    click("export")
    qtbot.waitUntil(lambda: widget._runner is None, timeout=240_000)
    assert "ends in .png, .pdf, .svg" in child("status").text()
    click("copy_table")
    lines = QApplication.clipboard().text().splitlines()
    assert lines[0].split("\t") == ["FSC", "of", "0.5", "0.143", "half-bit"]
    assert len(lines) == 1 + 8


def test_layers_in_pixels_are_asked_for_their_voxel_size(
    viewer, widget, child, measured, phantom
) -> None:
    truth = phantom[1]
    viewer.add_image(np.array(truth.read()), name="a")
    viewer.add_image(np.array(truth.read()[4:]), name="b", translate=(4, 0, 0))
    child("question").setCurrentIndex(1)
    assert layers_of(widget) == ["b", "a", "none"]
    assert "is in pixels" in child("voxel_size_note").text()
    assert measured("run") is None
    assert "enter its three edges in nm" in child("status").text()
    for name, edge in zip(EDGES, (10, 5, 5), strict=True):
        child(name).setValue(edge)
    report = measured("run")
    assert report.voxel_size == VoxelSize(10, 5, 5)
    assert report.shape == (29, 64, 64)
    np.testing.assert_allclose(report.curves.plain.correlation, 1)
    viewer.add_image(np.array(truth.read()), name="c")  # what was entered for b stays
    assert [child(name).value() for name in EDGES] == [10, 5, 5]


def test_micrometres_and_nanometres_meet(viewer, widget, child, measured, phantom) -> None:
    truth = np.array(phantom[1].read())
    viewer.add_image(truth, name="nm", scale=(10, 10, 10), translate=(500, 0, 0), **NM)
    micro = dict.fromkeys(("units",), ("um", "um", "um"))
    viewer.add_image(truth[3:], name="um", scale=(0.01,) * 3, translate=(0.53, 0, 0), **micro)
    child("question").setCurrentIndex(1)
    report = measured("run")
    assert report.shape == (30, 64, 64)
    np.testing.assert_allclose(report.curves.plain.correlation, 1)


@pytest.mark.parametrize(
    ("placed", "words"),
    [
        ({"scale": (10, 10, 10), "translate": (5, 0, 0)}, "5 nm beside each other"),
        ({"scale": (15, 10, 10)}, "15 nm apart"),
        ({"scale": (10, 10, 10), "translate": (0, 9000, 0)}, "do not overlap along y"),
        ({"scale": (10, 10, 10), "rotate": (0, 0, 20)}, "is rotated"),
    ],
)
def test_volumes_beside_each_other_are_refused_in_words(
    viewer, widget, child, measured, phantom, placed, words
) -> None:
    truth = np.array(phantom[1].read())
    viewer.add_image(truth, name="a", scale=(10, 10, 10), **NM)
    viewer.add_image(truth, name="b", **(placed | NM))
    child("question").setCurrentIndex(1)
    assert measured("run") is None
    assert words in child("status").text()
    assert child("run").text() == "Measure FSC" and child("run").isEnabled()


def test_what_cannot_be_measured_is_refused_in_words(viewer, widget, child, measured) -> None:
    assert measured("gain") is None
    assert "There is no image" in child("status").text()
    layer = viewer.add_image(np.random.default_rng(0).random((9, 32, 32)), scale=(10,) * 3, **NM)
    assert measured("gain") is None
    assert "as fine along Z as in XY" in child("status").text()
    child("question").setCurrentIndex(1)
    assert measured("run") is None
    assert "two different layers" in child("status").text()
    child("question").setCurrentIndex(0)
    layer.scale = (80, 10, 10)
    layer.data = np.zeros((9, 32, 32))
    widget.form.voxel_size.read(layer)
    assert measured("gain") is None
    assert "is constant" in child("status").text()


def test_cancel_ends_within_a_second(viewer, widget, child, click, qtbot) -> None:
    data = np.random.default_rng(0).random((40, 224, 224), np.float32)
    viewer.add_image(data, name="stack", scale=(80, 10, 10), **NM)
    widget.form.model.setCurrentIndex(0)
    for question, button in ((0, "gain"), (1, "run")):
        if button == "run":
            viewer.add_image(data + 1, name="other", scale=(80, 10, 10), **NM)
        child("question").setCurrentIndex(question)
        click(button)
        qtbot.waitUntil(lambda: child("progress").value() > 0, timeout=30_000)
        assert child(button).text() == "Cancel"
        asked = time.monotonic()
        click(button)
        assert child(button).text() == "Cancelling…"
        qtbot.waitUntil(lambda: widget._runner is None, timeout=30_000)
        assert time.monotonic() - asked < 1.5
        assert child("status").text().startswith("Cancelled")
        assert widget.view.report is None and not child("progress").isVisibleTo(widget)


def test_lazy_and_multiscale_layers_are_read(viewer, widget, child, measured, phantom) -> None:
    import zarr

    truth = phantom[1].read()
    stored = zarr.create_array({}, shape=truth.shape, chunks=(16, 32, 32), dtype=truth.dtype)
    stored[:] = truth
    dask = pytest.importorskip("dask.array").from_array(truth, chunks=16)
    pyramid = [dask, dask[::2, ::2, ::2]]
    viewer.add_image(stored, name="zarr", scale=(10,) * 3, **NM)
    viewer.add_image(pyramid, multiscale=True, name="dask", scale=(10,) * 3, **NM)
    child("question").setCurrentIndex(1)
    report = measured("run")
    assert report.shape == truth.shape
    np.testing.assert_allclose(report.curves.hann.correlation, 1)


def test_a_closed_dock_stops_its_measurement(viewer, widget, click, qtbot) -> None:
    import threading

    data = np.random.default_rng(0).random((64, 256, 256), np.float32)
    viewer.add_image(data, name="stack", scale=(80, 10, 10), **NM)
    click("gain")
    qtbot.waitUntil(lambda: widget._runner.is_running, timeout=5_000)
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    qtbot.waitUntil(
        lambda: not any(t.name == "napari-d2r" for t in threading.enumerate()), timeout=5_000
    )


def test_every_control_has_a_name_a_label_and_a_tip(pair, widget, child, measured) -> None:
    names = ["question", "layer", "model", "layer_a", "layer_b", "source", "crop", "gain", "run"]
    names += ["direction", "table", "copy_table", "save_csv", "export", "copy", *EDGES]
    for name in names:
        control = child(name)
        assert control is not None, name
        assert control.accessibleName() and control.toolTip(), name
    for name in ("status", "progress", "plot", "slice_plot", "legend"):
        assert child(name).accessibleName(), name


def test_colours_are_told_apart_from_both_themes() -> None:
    from napari.utils.theme import get_theme
    from qtpy.QtGui import QColor

    from napari_d2r.widgets import _resolution_plot as plots

    def luminance(colour) -> float:
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for theme in ("dark", "light"):
        paper = luminance(QColor(*get_theme(theme).background.as_rgb_tuple()[:3]).getRgbF()[:3])
        for name in (plots.BLUE, plots.ORANGE, plots.GREY):
            ink = luminance(QColor(name).getRgbF()[:3])
            low, high = sorted((ink, paper))
            assert (high + 0.05) / (low + 0.05) >= 3, (theme, name)


def test_the_ruler_reads_sample_1(viewer, widget, child, measured, data_dir) -> None:
    truth = tifffile.imread(data_dir / "fib25" / "fib25_training_sample1.tif")
    linear = interpolate_axial(truth[::8], AxialGrid(32, 8).positions())
    viewer.add_image(truth[::8], name="stack", scale=(80, 10, 10), **NM)
    viewer.add_image(truth, name="truth", scale=(10, 10, 10), **NM)
    made = {"napari_d2r": {"source": "stack"}}
    viewer.add_image(linear, name="result", scale=(10, 10, 10), metadata=made, **NM)
    child("question").setCurrentIndex(1)
    report = measured("run")
    assert isinstance(report, FSCReport)
    assert report.shape == (249, 250, 250)
    assert report.curves.plain.resolution_text(0.5) == "62.4 nm"
    assert report.curves.hann.resolution_text(0.5) == "75.6 nm"
    np.testing.assert_array_equal(
        report.linear.cone_z.correlation, report.curves.cone_z.correlation
    )


def test_what_is_copied_does_what_the_form_does(
    viewer, widget, child, measured, phantom_files, tiny_model, capsys
) -> None:
    from qtpy.QtWidgets import QApplication

    from napari_d2r.cli import main

    stack, _ = viewer.open([*map(str, phantom_files)], plugin="napari-d2r")
    widget.form.layer.choose(stack)
    widget.form.model.choose_folder(tiny_model)
    child("crop").setValue(40)
    for question, button in enumerate(("gain", "run")):
        child("question").setCurrentIndex(question)
        # Layers are named without the ending of their file.
        expected = measured(button).sentence().split(" agree ")[-1]
        widget.copy_python.trigger()
        capsys.readouterr()
        exec(QApplication.clipboard().text(), {})
        assert expected in capsys.readouterr().out
        widget.copy_command.trigger()
        if question == 0:
            words = shlex.split(QApplication.clipboard().text())
            assert words[0] == "napari-d2r"
            assert main(words[1:]) == 0
            assert expected in capsys.readouterr().out
        else:  # one of them is coarser, for which the command line has no words
            assert "copy this as Python" in child("status").text()


def test_tab_goes_from_top_to_bottom(pair, widget, child, measured) -> None:
    measured("gain")
    chain, at = [], widget
    while not chain or at is not widget:
        chain.append(at.objectName())
        at = at.nextInFocusChain()
    wanted = ["question", "layer", "model", *EDGES, "crop", "gain", "copy", "table", "copy_table"]
    places = [chain.index(name) for name in [*wanted, "save_csv", "export"]]
    assert places == sorted(places)
