"""RGB layers: learned from, restored and shown in colour, by methods that take all channels."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("napari")

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_d2r import open_volume, super_resolve, train
from napari_d2r._npe2 import METADATA
from napari_d2r.cli import main
from napari_d2r.io import save_tiff
from napari_d2r.jobs import TrainJob, load_preset
from napari_d2r.volumes import Volume
from napari_d2r.widgets._layers import PREVIEW
from napari_d2r.widgets._save import save_result
from napari_d2r.widgets.methods_text import copy_methods_paragraph

pytestmark = pytest.mark.usefixtures("no_threads_left")

TINY = [
    "device=cpu",
    "max_minutes=null",
    "judge=false",
    "prior.network.options={width: 4, multipliers: [1], blocks: 1}",
    "prior.optimizer={max_steps: 2, batch: 2, validate_every: 2}",
    "prior.num_gaps=3",
    "prior.columns=16",
]


def tiny(preset: str) -> TrainJob:
    return load_preset(preset).override(TINY)


@pytest.fixture(scope="module")
def colours(stack: Volume) -> NDArray[np.uint8]:
    """(9, 64, 64, 3): the phantom in colours that differ from each other."""
    grey = stack.read()
    return np.stack([grey, 255 - grey, grey // 2], axis=-1)


@pytest.fixture(scope="module")
def in_colour(stack: Volume, colours: NDArray[np.uint8]) -> Volume:
    """The same as the engine takes it, (3, 9, 64, 64)."""
    return Volume(np.ascontiguousarray(np.moveaxis(colours, -1, 0)), stack.voxel_size, "stack")


@pytest.fixture(scope="module")
def model(in_colour: Volume, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MS-UNet of three channels; to be read only."""
    folder = tmp_path_factory.mktemp("in colour") / "model"
    train(in_colour, folder, job=tiny("ms-unet"))
    return folder


@pytest.fixture
def add_colours(add_stack: Any, colours: NDArray[np.uint8]) -> Any:
    """Add the RGB layer, of these or other data."""

    def add(data: Any = colours, **keywords: Any) -> Any:
        return add_stack(data, rgb=True, contrast_limits=(0, 255), **keywords)

    return add


@pytest.fixture
def planned(qtbot: Any) -> Any:
    """Wait for words in the plan of a widget."""

    def wait(widget: Any, words: str) -> None:
        qtbot.waitUntil(lambda: words in widget.view.plan.text(), timeout=15000)

    return wait


def _drained(events: Any) -> None:
    for _ in events:
        pass


def test_an_rgb_layer_becomes_a_finer_one_that_is_rgb_again(
    viewer: Any,
    add_colours: Any,
    open_widget: Any,
    run: Any,
    result: Any,
    model: Path,
    in_colour: Volume,
    colours: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    source = add_colours()
    widget = open_widget("Super-resolve")
    widget.form.model.choose_folder(model)
    assert "Finished: 33 × 64 × 64" in run(widget)
    assert "33 × 64 × 64 voxels of 10 x 10 x 10 nm (z, y, x), in colour" in widget.view.plan.text()

    layer = result()
    expected = super_resolve(in_colour, tmp_path / "expected.ome.zarr", model=model).path
    volume = open_volume(expected, channel="all")
    assert layer.rgb
    assert layer.data.shape == (33, 64, 64, 3)
    np.testing.assert_array_equal(layer.data, np.moveaxis(volume.read(), 0, -1))
    np.testing.assert_array_equal(np.asarray(layer.data)[::4], colours)
    assert np.allclose(layer.scale, (10, 10, 10))
    assert np.allclose(layer.translate, source.translate)
    assert layer.units == source.units
    place = source.data_to_world((3, 5, 7))  # slice j of the stack, slice j r of the result
    assert np.allclose(layer.world_to_data(place), (12, 5, 7))

    viewer.layers.selection = {layer}
    copy_methods_paragraph(viewer)
    assert "x), three colours together, was sampled 4 times" in QApplication.clipboard().text()

    _drained(save_result(widget._run.result, tmp_path / "saved.tif", cancel=None))
    saved = open_volume(tmp_path / "saved.tif", channel="all")
    np.testing.assert_array_equal(saved.read(), volume.read())
    assert tuple(saved.voxel_size) == (10, 10, 10)
    _drained(save_result(widget._run.result, tmp_path / "saved.ome.zarr", cancel=None))
    (again,) = viewer.open(str(tmp_path / "saved.ome.zarr"), plugin="napari-d2r")
    assert again.rgb and again.metadata[METADATA]["num_channels"] == 3
    finest = again.data[0] if again.multiscale else again.data
    np.testing.assert_array_equal(np.asarray(finest), np.asarray(layer.data))


@pytest.mark.parametrize("kind", ["rgba", "lazy rgba", "dask", "zarr", "float32, multiscale"])
def test_every_kind_of_rgb_layer_works(
    add_colours: Any,
    open_widget: Any,
    run: Any,
    result: Any,
    model: Path,
    colours: NDArray[np.uint8],
    kind: str,
    tmp_path: Path,
) -> None:
    import dask.array
    import zarr

    values = colours / np.float32(255) if "float32" in kind else colours
    data: Any = values
    if "rgba" in kind:
        data = np.concatenate([values, np.full_like(values[..., :1], 255)], axis=-1)
    if kind == "dask":
        data = dask.array.from_array(values, chunks=(3, 32, 32, 3))
    elif kind in ("zarr", "lazy rgba"):
        data = zarr.create_array(tmp_path / "s.zarr", data=data, chunks=(4, 32, 32, 1))
    elif "multiscale" in kind:
        data = [values, values[:, ::2, ::2]]
    add_colours(data, multiscale="multiscale" in kind)
    widget = open_widget("Super-resolve")
    widget.form.model.choose_folder(model)
    widget.form.region.setCurrentText("Current view")
    assert "Finished" in run(widget)
    layer = result()
    assert layer.rgb and layer.data.dtype == values.dtype
    np.testing.assert_array_equal(np.asarray(layer.data)[::4], values)


def test_a_file_from_naparis_own_reader_and_what_is_copied_from_the_form(
    viewer: Any,
    open_widget: Any,
    run: Any,
    result: Any,
    model: Path,
    colours: NDArray[np.uint8],
    in_colour: Volume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, size = tmp_path / "rgb.tif", in_colour.voxel_size
    save_tiff(path, iter(colours), shape=colours.shape, dtype=colours.dtype, voxel_size=size)
    (layer,) = viewer.open(str(path), plugin="napari")
    assert layer.rgb
    widget = open_widget("Super-resolve")
    widget.form.model.choose_folder(model)
    for axis, edge in zip("zyx", size, strict=True):
        widget.form.voxel_size.edges[axis].setValue(edge)
    run(widget)
    shown = np.moveaxis(np.asarray(result().data), -1, 0)
    assert np.allclose(layer.scale, (40, 10, 10)) and np.allclose(result().scale, (10, 10, 10))

    monkeypatch.chdir(tmp_path)
    widget.form.save_to.setText("by command.ome.zarr")
    widget.view.copy_command.trigger()
    program, *words = shlex.split(QApplication.clipboard().text())
    assert program == "napari-d2r" and main(words) == 0
    widget.form.save_to.setText("by python.ome.zarr")
    widget.view.copy_python.trigger()
    exec(QApplication.clipboard().text(), {})
    for name in ("by command.ome.zarr", "by python.ome.zarr"):
        np.testing.assert_array_equal(open_volume(name, channel="all").read(), shown)


def test_what_takes_one_channel_names_what_takes_all(
    viewer: Any, add_stack: Any, add_colours: Any, open_widget: Any, planned: Any, model: Path
) -> None:
    grey, coloured = add_stack(name="grey"), add_colours(name="coloured")
    widget = open_widget("Super-resolve")
    assert widget.form.layer.layer == coloured
    planned(widget, "coloured has 3 channels; split it (Layers > Split RGB) and choose one channel")
    assert "restores them together: e2e, ms-unet or msdsr" in widget.view.plan.text()
    assert not widget.view.run.isEnabled() and "--" not in widget.view.plan.text()
    widget.form.model.choose_folder(model)
    planned(widget, "in colour")
    widget.form.uncertainty.setChecked(True)
    planned(widget, "untick “How far it may be off”")
    widget.form.uncertainty.setChecked(False)
    widget.form.layer.choose(grey)
    planned(widget, "This model restores 3 channels together; grey has 1.")


def test_the_live_preview_is_in_colour_and_follows_to_a_grey_stack(
    viewer: Any, add_stack: Any, add_colours: Any, open_widget: Any, planned: Any, model: Path,
    qtbot: Any, choose_model: Any, colours: NDArray[np.uint8],
) -> None:  # fmt: skip
    def preview() -> Any:
        found = [x for x in viewer.layers if x.metadata.get(METADATA, {}).get("kind") == PREVIEW]
        return found[0] if found else None

    grey, coloured = add_stack(name="grey"), add_colours(name="coloured")
    widget = open_widget("Super-resolve")
    widget.form.model.choose_folder(model)
    planned(widget, "in colour")
    viewer.dims.order = (1, 0, 2)
    viewer.dims.point = coloured.data_to_world((4, 20, 20))
    widget.view.live_preview.setChecked(True)
    qtbot.waitUntil(lambda: preview() is not None and preview().rgb, timeout=15000)
    np.testing.assert_array_equal(np.asarray(preview().data)[::4, 0], colours[:, 20])
    widget.form.layer.choose(grey)
    choose_model(widget, "Linear")
    qtbot.waitUntil(lambda: preview() is not None and not preview().rgb, timeout=15000)
    assert widget.view.live_preview.isChecked()
    np.testing.assert_array_equal(np.asarray(preview().data)[::4, 0], grey.data[:, 20])


def test_compare_shows_the_luminance_of_rgb_layers_beside_grey_ones(
    viewer: Any, add_stack: Any, add_colours: Any, open_widget: Any, settle: Any,
    stack: Volume, colours: NDArray[np.uint8],
) -> None:  # fmt: skip
    luminance = colours @ np.array([0.299, 0.587, 0.114])
    add_stack(luminance.astype(np.float32), name="grey")
    add_colours(name="coloured")
    widget = open_widget("Compare")
    settle(widget)
    assert sorted(widget._scene.labels) == ["coloured, luminance (linear)", "grey (linear)"]
    one, other = (widget.panes.pictures.of(number, "XZ").values for number in range(2))
    assert np.ptp(one) > 10
    np.testing.assert_allclose(one, other, atol=0.01)


@pytest.mark.slow
def test_a_model_is_trained_from_an_rgb_layer_and_used(
    viewer: Any,
    add_colours: Any,
    open_widget: Any,
    planned: Any,
    run: Any,
    result: Any,
    qtbot: Any,
    colours: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    add_colours()
    widget = open_widget("Train")
    planned(widget, "split it (Layers > Split RGB) and choose one channel, or take a preset")
    assert "e2e, ms-unet or msdsr" in widget.view.plan.text()
    widget.form.preset.setCurrentText("e2e")
    widget.form.set_job(tiny("e2e"))
    planned(widget, "Learns from 9 × 64 × 64 voxels of 40 x 10 x 10 nm (z, y, x), in colour")
    project = tmp_path / "in colour"
    widget.form.project.setText(str(project))
    widget.form.project.editingFinished.emit()
    widget.view.copy_command.trigger()
    assert "--channel all" in QApplication.clipboard().text()
    assert "save it under that name first, in three colours" in QApplication.clipboard().text()
    qtbot.waitUntil(widget.view.run.isEnabled, timeout=15000)
    qtbot.mouseClick(widget.view.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not widget._run.is_running, timeout=60000)
    assert widget._run.state == "completed", widget._run.message
    stored = open_volume(project / "stack.tif", channel="all")
    np.testing.assert_array_equal(np.moveaxis(stored.read(), 0, -1), colours)

    widget = open_widget("Super-resolve")
    widget.form.model.choose_folder(project / "in colour model")
    qtbot.waitUntil(lambda: "3 channels together" in widget.form.model.note.text(), timeout=15000)
    assert "Finished" in run(widget)
    assert result().rgb
    np.testing.assert_array_equal(np.asarray(result().data)[::4], colours)
