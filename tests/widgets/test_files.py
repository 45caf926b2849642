"""Samples, files and layers in a real viewer: the voxel size survives every way round."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

napari = pytest.importorskip("napari")

pytestmark = pytest.mark.display

PLUGIN = "napari-d2r"


def nanometres(layer):
    return tuple(
        float((scale * unit).to("nm").magnitude)
        for scale, unit in zip(layer.scale, layer.units, strict=True)
    )


@pytest.mark.parametrize("name", ["saved.ome.zarr", "saved.tif"])
def test_sample_saved_and_reopened(make_napari_viewer, tmp_path, name):
    viewer = make_napari_viewer()
    viewer.open_sample(PLUGIN, "phantom")
    truth, stack = viewer.layers
    assert (truth.visible, stack.visible) == (False, True)
    assert nanometres(stack) == pytest.approx((80, 10, 10))
    assert viewer.dims.axis_labels == ("z", "y", "x")
    path = tmp_path / name
    assert truth.save(str(path), plugin=PLUGIN) == [str(path)]
    (again,) = viewer.open(str(path), plugin=PLUGIN)
    assert nanometres(again) == pytest.approx((10, 10, 10))
    assert again.name == "saved"
    assert again.extent.world == pytest.approx(truth.extent.world)
    data = again.data[0] if again.multiscale else again.data
    np.testing.assert_array_equal(np.asarray(data[100]), np.asarray(truth.data[100]))
    assert viewer.dims.units == truth.units


def test_pyramid_opens_as_multiscale_and_shows_its_pixels(make_napari_viewer, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (40, 600, 600)).astype(np.uint8)
    viewer = make_napari_viewer()
    layer = viewer.add_image(
        values, scale=(80, 10, 10), translate=(160, 50, 0), units="nm", name="big"
    )
    layer.save(str(tmp_path / "big.ome.zarr"), plugin=PLUGIN)
    (again,) = viewer.open(str(tmp_path / "big.ome.zarr"), plugin=PLUGIN)
    assert again.multiscale
    assert [level.shape for level in again.data] == [(40, 600, 600), (40, 300, 300), (40, 150, 150)]
    assert tuple(again.translate) == pytest.approx((160, 50, 0))
    again.refresh()
    world = (160 + 80 * 7, 50 + 10 * 30, 10 * 40)
    viewer.dims.set_point(range(3), world)
    assert again.get_value(world, world=True) is not None
    viewer.dims.order = (1, 0, 2)  # an XZ slice, read from the lazy array
    assert again.get_value(world, world=True) is not None


def test_lazy_files_are_browsed_from_all_sides(make_napari_viewer, tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (30, 40, 50)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "packed.tif", values, compression="zlib", metadata={"axes": "ZYX"})
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(tmp_path / "packed.tif"), plugin=PLUGIN)
    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
        viewer.dims.order = order
        viewer.dims.set_point(range(3), (3, 4, 5))
        assert layer.get_value((3, 4, 5), world=True) == values[3, 4, 5]


def test_a_layer_in_pixels_says_why_it_is_not_saved(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    layer = viewer.add_image(np.zeros((8, 8, 8), np.uint8), name="bare")
    with pytest.raises(Exception, match="bare is in pixels"):
        layer.save(str(tmp_path / "bare.tif"), plugin=PLUGIN)
    assert not list(tmp_path.iterdir())
