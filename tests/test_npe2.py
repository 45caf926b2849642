"""The manifest, and what it promises besides widgets; no display is needed."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from shutil import copyfile

import numpy as np
import pytest
import tifffile

from napari_d2r import _npe2
from napari_d2r.errors import D2RError, InputError
from napari_d2r.io import open_source, open_volume
from napari_d2r.samples import make_phantom

WIDGETS = ["Super-resolve", "Train", "Compare", "Resolution"]
IMAGEJ = {"imagej": True, "resolution": (1 / 8, 1 / 8)}


@pytest.fixture(scope="module")
def manifest():
    npe2 = pytest.importorskip("npe2")
    return npe2.PluginManifest.from_file(files("napari_d2r") / "napari.yaml")


def test_manifest_promises_what_exists(manifest):
    has_gui = find_spec("napari") is not None and find_spec("qtpy") is not None
    for command in manifest.contributions.commands:
        assert command.id.startswith("napari-d2r.")
        module, _, name = command.python_name.partition(":")
        if module != "napari_d2r.widgets" or has_gui:
            assert callable(getattr(import_module(module), name))
    assert [widget.display_name for widget in manifest.contributions.widgets] == WIDGETS


def test_every_menu_is_one_that_napari_fills(manifest):
    menus = pytest.importorskip("napari._app_model.constants").MenuId
    taken = {menu for menu in manifest.contributions.menus if menu.startswith("napari/")}
    assert taken
    assert taken <= {str(menu.value) for menu in menus.contributables()}


def test_readers_are_asked_for_every_file_that_can_be_read(manifest):
    (reader,) = manifest.contributions.readers
    assert reader.accepts_directories
    patterns = set(reader.filename_patterns)
    assert {"*.tif", "*.h5", "*.mrc", "*.mrc.gz", "*.npy", "*.zarr"} <= patterns


@pytest.fixture
def told(monkeypatch):
    """What the user is told, instead of napari's notifications."""
    sentences = []
    monkeypatch.setattr(_npe2, "_notify", lambda how, sentence: sentences.append(sentence))
    return sentences


def read(path):
    reader = _npe2.get_reader(str(path))
    assert reader is not None
    return reader(str(path))


@pytest.mark.parametrize("path", ["fib25/fib25_training_sample1.tif", "light/sample_ovule.h5:raw"])
def test_voxel_size_is_kept_and_data_stay_lazy(data_dir, told, path):
    volume = open_volume(data_dir / path)
    ((data, meta, kind),) = read(data_dir / path)
    assert kind == "image"
    assert meta["scale"] == pytest.approx(tuple(volume.voxel_size))
    assert (meta["units"], meta["axis_labels"]) == (("nm",) * 3, ("z", "y", "x"))
    assert meta["metadata"]["napari_d2r"]["source"] == str(data_dir / path)
    low, high = meta["contrast_limits"]
    assert 0 <= low < high <= 255
    assert not isinstance(data, np.ndarray)
    np.testing.assert_array_equal(np.asarray(data[3]), volume.read()[3])
    assert told == []


def test_unknown_edges_are_told_and_never_guessed(tmp_path, told):
    tifffile.imwrite(tmp_path / "a.tif", make_phantom((20, 40, 40)), metadata={"axes": "ZYX"})
    ((_, meta, _),) = read(tmp_path / "a.tif")
    assert "scale" not in meta
    assert "units" not in meta
    assert meta["metadata"]["napari_d2r"]["voxel_size_nm"] == [None, None, None]
    assert "a.tif does not state its voxel size along Z, Y and X" in told[-1]


def test_a_gap_in_a_folder_is_told_at_once(tmp_path, told):
    for number, plane in enumerate(make_phantom((20, 40, 40))):
        if number != 7:
            tifffile.imwrite(tmp_path / f"{number}.tif", plane, **IMAGEJ, metadata={"unit": "nm"})
    ((_, meta, _),) = read(tmp_path)
    assert meta["metadata"]["napari_d2r"]["voxel_size_nm"] == [None, 8, 8]
    assert told[0].startswith("Slice 7 is missing")
    assert "along Z, so the layer is in pixels" in told[1]


def test_a_folder_that_is_no_stack_tells_all_its_traps(tmp_path):
    pytest.importorskip("napari")
    for number, plane in enumerate(make_phantom((20, 40, 40))):
        wide = plane if number != 3 else plane.astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{number}.tif", wide * (number != 9), metadata=None)
    with pytest.raises(InputError) as error:
        read(tmp_path)
    for part in ("cannot be opened as a stack", "3.tif is 40 x 40 uint16", "9.tif holds grey"):
        assert part in str(error.value)


def test_what_is_not_ours_is_left_to_napari(tmp_path):
    files = {
        "flat.tif": (np.zeros((20, 20), np.uint8), {}),
        "colour.tif": (np.zeros((9, 20, 20, 3), np.uint8), {"photometric": "rgb"}),
        "film.tif": (np.zeros((5, 9, 20, 20), np.uint8), {"metadata": {"axes": "TZYX"}}),
        "wide.tif": (np.zeros((9, 20, 20), np.int64), {"metadata": {"axes": "ZYX"}}),
    }
    for name, (values, options) in files.items():
        tifffile.imwrite(tmp_path / name, values, **options)
        assert _npe2.get_reader(str(tmp_path / name)) is None, name
    (tmp_path / "empty").mkdir()
    assert _npe2.get_reader(str(tmp_path / "empty")) is None
    assert _npe2.get_reader([str(tmp_path / "flat.tif")] * 2) is None
    (tmp_path / "torn.tif").write_bytes(b"torn")
    with pytest.raises(InputError, match="not a readable TIFF file"):
        read(tmp_path / "torn.tif")


def test_channels_become_layers(tmp_path, told):
    values = np.stack([make_phantom((20, 40, 40)), make_phantom((20, 40, 40), seed=1)], 1)
    tifffile.imwrite(tmp_path / "two.tif", values, imagej=True, metadata={"axes": "ZCYX"})
    layers = read(tmp_path / "two.tif")
    assert [meta["name"] for _, meta, _ in layers] == ["two [channel 0]", "two [channel 1]"]
    for channel, (data, _, _) in enumerate(layers):
        np.testing.assert_array_equal(np.asarray(data), values[:, channel])


META = {
    "name": "layer",
    "scale": (0.05, 0.008, 0.0075),
    "translate": (1.0, 0.08, 0.0),
    "units": ("micrometer",) * 3,
    "metadata": {"napari_d2r": {"model": "x", "path": object()}},
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_written_files_keep_voxel_size_and_place(tmp_path, told, dtype):
    pytest.importorskip("napari")
    values = make_phantom((20, 300, 40)).astype(dtype)
    for write, name in ((_npe2.write_ome_zarr, "a.ome.zarr"), (_npe2.write_tiff, "a.tif")):
        assert write(str(tmp_path / name), values, META) == [str(tmp_path / name)]
        volume = open_volume(tmp_path / name)
        assert tuple(volume.voxel_size) == pytest.approx((50, 8, 7.5))
        np.testing.assert_array_equal(volume.read(), values)
    assert open_source(tmp_path / "a.ome.zarr").origin == pytest.approx((1000, 80, 0))
    (levels, meta, _) = read(tmp_path / "a.ome.zarr")[0]
    assert meta["multiscale"]
    assert [level.shape for level in levels] == [(20, 300, 40), (20, 150, 40)]
    assert meta["translate"] == pytest.approx((1000, 80, 0))
    assert meta["name"] == "a"


def test_a_layer_in_pixels_is_not_saved_as_if_it_had_a_size(tmp_path):
    pytest.importorskip("napari")
    values = make_phantom((20, 40, 40))
    meta = META | {"units": ("pixel",) * 3}
    for write, name in ((_npe2.write_ome_zarr, "a.ome.zarr"), (_npe2.write_tiff, "a.tif")):
        with pytest.raises(D2RError, match="layer is in pixels") as error:
            write(str(tmp_path / name), values, meta)
        assert not isinstance(error.value, ValueError)  # napari swallows those
        with pytest.raises(D2RError, match="no grey volume"):
            write(str(tmp_path / name), values[0], META)
    assert not list(tmp_path.iterdir())


def test_a_transform_is_kept_or_refused(tmp_path):
    pytest.importorskip("napari")
    values, path = make_phantom((20, 40, 40)), str(tmp_path / "a.ome.zarr")
    moved = np.eye(4)
    moved[:3, 3] = (0.5, 0, 0.25)
    _npe2.write_ome_zarr(path, values, META | {"affine": moved})
    assert open_source(path).origin == pytest.approx((1500, 80, 250))
    turned = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    for lost in (
        {"affine": np.diag([2, 1, 1, 1])},
        {"rotate": turned},
        {"shear": [0, 0.1, 0]},
        {"scale": (0.05, -0.008, 0.0075)},
    ):
        with pytest.raises(D2RError, match="reset its transform"):
            _npe2.write_ome_zarr(path, values, META | lost)


def test_phantom_comes_with_its_truth_hidden(told):
    (truth, hidden, _), (stack, shown, _) = _npe2.phantom()
    assert (hidden["visible"], shown["visible"]) == (False, True)
    assert (hidden["scale"], shown["scale"]) == ((10, 10, 10), (80, 10, 10))
    np.testing.assert_array_equal(truth[::8], stack)


def test_fib25_shows_its_licence(data_dir, told, tmp_path, monkeypatch):
    pytest.importorskip("napari")
    kept = tmp_path / "cache" / "samples" / "fib25" / "training_sample1" / "grayscale_maps"
    kept.mkdir(parents=True)
    for number in range(2600, 2850, 8):
        name = f"iso.{number}.png"
        copyfile(data_dir / "fib25" / "png" / "training_sample1" / name, kept / name)
    monkeypatch.setenv("NAPARI_D2R_HOME", str(tmp_path))
    ((values, meta, _),) = _npe2.fib25()
    assert (values.shape, meta["scale"]) == ((32, 250, 250), (80, 10, 10))
    assert "CC BY 3.0 US" in told[0]
    (kept / "iso.2608.png").unlink()
    monkeypatch.setenv("NAPARI_D2R_FIB25_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match="check the network, or open the phantom"):
        _npe2.fib25()
