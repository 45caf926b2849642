"""A table of z positions in Super-resolve: read, told, refused in words, and carried on."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_d2r import open_volume
from napari_d2r._npe2 import METADATA
from napari_d2r.cli import main
from napari_d2r.io import save_volume
from napari_d2r.jobs import Provenance
from napari_d2r.volumes import Volume, VoxelSize
from napari_d2r.widgets._compare_scene import make_scene
from napari_d2r.widgets.methods_text import methods_paragraph

pytestmark = pytest.mark.usefixtures("no_threads_left")
KEPT = np.array([0, 3, 8, 12, 17, 20, 24, 28, 32])  # of 33 slices that are 10 nm apart
MEAN = 40.0


@pytest.fixture
def file(phantom: tuple[Volume, Volume], tmp_path: Path) -> Path:
    """Nine slices at uneven distances, of which the file says that they are 36 nm apart."""
    values = np.array(phantom[1].data)[KEPT]
    path = tmp_path / "uneven.tif"
    save_volume(Volume(values, VoxelSize(36, 10, 10)), path)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Where they stand, as a microscope may write it: in um, and not from 0."""
    path = tmp_path / "log of cuts.csv"
    rows = (f"{k},{5 + z / 100:g}\n" for k, z in enumerate(KEPT))
    path.write_text("slice,z_um\n" + "".join(rows))
    return path


@pytest.fixture
def uneven(viewer: Any, file: Path, open_widget: Any, choose_model: Any, control: Any) -> Any:
    """Super-resolve by linear interpolation, with the table unfolded."""
    viewer.open(file, plugin="napari-d2r")
    widget = open_widget("Super-resolve")
    choose_model(widget, "Linear")
    control(widget, "uneven").expand(animate=False)
    return widget


@pytest.fixture
def choose(control: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Choose a table as by mouse."""

    def choose_(widget: Any, path: Path) -> None:
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: (str(path), ""))
        control(widget, "browse_z_table").click()

    return choose_


def test_a_table_says_where_slices_stand(
    viewer: Any, uneven: Any, table: Path, choose: Any, control: Any, run: Any, ready: Any,
    result: Any, phantom: tuple[Volume, Volume],
) -> None:  # fmt: skip
    note, source = control(uneven, "z_table_note"), viewer.layers[0]
    assert not note.isVisible()
    choose(uneven, table)
    ready(uneven)
    assert note.isVisible()
    assert "9 slices with gaps of 3 to 5 pixels (30 to 50 nm); 33 slices out" in note.text()
    assert "40 nm apart in the mean instead of 36" in control(uneven, "voxel_size_note").text()
    assert uneven.form.factor.value() == 4
    begun = uneven._planned.output
    assert "Finished: 33 × 64 × 64" in run(uneven)

    layer, truth = result(), np.array(phantom[1].data)
    np.testing.assert_array_equal(np.asarray(layer.data)[KEPT], truth[KEPT])
    np.testing.assert_allclose(layer.scale, (10, 10, 10))
    np.testing.assert_allclose(source.scale, (MEAN, 10, 10))  # so that they lie on each other
    assert "40 nm apart in the mean; Run" in control(uneven, "voxel_size_note").text()
    np.testing.assert_allclose(layer.data_to_world((32, 0, 0)), source.data_to_world((8, 0, 0)))
    assert uneven._planned.output.stem.startswith(begun.stem.removesuffix(".ome"))  # as planned
    about = Provenance.found_in(layer.metadata[METADATA])
    assert about is not None
    assert about.measured_slices_at == pytest.approx(KEPT)
    assert about.settings["z_positions"] == pytest.approx(5000 + 10 * KEPT)
    assert "at uneven distances" in methods_paragraph(about)
    np.testing.assert_allclose(make_scene([source, layer], [True, False]).measured, 10 * KEPT)


def test_a_part_stands_where_the_table_says(
    viewer: Any, uneven: Any, table: Path, choose: Any, run: Any, ready: Any, result: Any,
    phantom: tuple[Volume, Volume], control: Any,
) -> None:  # fmt: skip
    choose(uneven, table)
    corners = np.array([[72, 100], [72, 420], [252, 420], [252, 100]])  # z, x: slices 2 to 7
    viewer.add_shapes([np.insert(corners, 1, 0, axis=1)], units="nm", name="here")
    control(uneven, "region").setCurrentText("Rectangle in here")
    run(uneven)
    layer, truth = result(), np.array(phantom[1].data)
    np.testing.assert_allclose(layer.scale, (10, 10, 10))
    np.testing.assert_allclose(layer.translate, (80, 0, 100))
    values = np.asarray(layer.data)
    assert len(values) == 21
    np.testing.assert_array_equal(values[KEPT[2:8] - 8], truth[KEPT[2:8], :, 10:43])
    assert open_volume(layer.metadata[METADATA]["path"]).voxel_size == VoxelSize(10, 10, 10)


def test_the_copied_text_carries_the_table(
    uneven: Any, table: Path, choose: Any, run: Any, result: Any, tmp_path: Path, control: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    choose(uneven, table)
    run(uneven)
    expected = np.asarray(result().data)
    monkeypatch.chdir(tmp_path)
    control(uneven, "save_to").setText("by python.ome.zarr")
    uneven.view.copy_python.trigger()
    exec(QApplication.clipboard().text(), {})
    control(uneven, "save_to").setText("by command.ome.zarr")
    uneven.view.copy_command.trigger()
    assert main(shlex.split(QApplication.clipboard().text())[1:]) == 0
    for name in ("by python.ome.zarr", "by command.ome.zarr"):
        made = open_volume(name)
        assert np.array_equal(made.read(), expected)
        np.testing.assert_allclose(tuple(made.voxel_size), (10, 10, 10))


def test_a_wrong_table_is_explained_where_it_is_named(
    viewer: Any, uneven: Any, table: Path, choose: Any, control: Any, ready: Any, qtbot: Any,
    tmp_path: Path, add_stack: Any,
) -> None:  # fmt: skip
    note, field = control(uneven, "z_table_note"), control(uneven, "z_table")

    def told(text: str) -> str:
        wrong = tmp_path / "wrong.csv"
        wrong.write_text(text)
        choose(uneven, wrong)
        assert note.isVisible()
        assert uneven.view.plan.text() == note.text()
        assert not uneven.view.run.isEnabled()
        return str(note.text())

    assert "5 positions along Z and the stack 9 slices" in told("0\n40\n80\n120\n160\n")
    assert "slice 1 stands at 40 and slice 2 at 30" in told("0\n40\n30\n" + "120\n" * 6)
    assert "one column called z, z_nm or z_um" in told("slice,depth\n0,1\n")
    field.setText(str(table))
    qtbot.keyClick(field, Qt.Key.Key_Return)
    ready(uneven)
    assert "33 slices out" in note.text()
    control(uneven, "uncertainty").setChecked(True)
    qtbot.waitUntil(lambda: "or name no table" in uneven.view.plan.text(), timeout=15_000)
    control(uneven, "uncertainty").setChecked(False)

    uneven.form.layer.setCurrentText(add_stack(name="another").name)
    assert not field.text()  # a table is that of one stack
    assert not note.isVisible()
    ready(uneven)


def test_a_table_stands_in_for_a_voxel_size_that_no_file_states(
    uneven: Any, table: Path, choose: Any, control: Any, ready: Any
) -> None:
    control(uneven, "voxel_size_z").setValue(0)
    assert "Please enter" in control(uneven, "voxel_size_note").text()
    choose(uneven, table)
    ready(uneven)
    assert uneven.form.wish.voxel_size == VoxelSize(MEAN, 10, 10)
