"""Exports read back by programs that are not ours: the same voxels in the same place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr_models.v04.image import ImageAttrs as ImageV04
from ome_zarr_models.v05.image import ImageAttrs as ImageV05

from napari_d2r.errors import InputError
from napari_d2r.io import EXPORTS, create_output, export_stream, open_source, open_volume
from napari_d2r.jobs import CancelToken, Outcome, Progress
from napari_d2r.stages.export import run_export
from napari_d2r.volumes import Volume, VoxelSize

SIZE = VoxelSize(10, 8, 8)
ORIGIN = (30.0, 16.0, 80.0)  # whole voxels
FACTS = {"kind": "test"}
Found = tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]


def values(dtype: str = "uint8") -> np.ndarray:
    noise = np.random.default_rng(0).normal(100, 30, (33, 70, 260))
    return noise.astype(dtype)


def export(volume: Volume, path: Path, form: Any, **options: Any) -> Path:
    for _ in export_stream(volume, path, form, **options):
        pass
    return path


def by_mrcfile(path: Path) -> Found:
    with mrcfile.open(path) as mrc:
        size = [float(mrc.voxel_size[letter]) / 10 for letter in "zyx"]
        origin = [float(mrc.header.origin[letter]) / 10 for letter in "zyx"]
        return mrc.data.copy(), tuple(size), tuple(origin)


def by_h5py(path: Path) -> Found:
    with h5py.File(path) as file:
        (data,) = file.values()
        assert [dimension.label for dimension in data.dims] == ["z", "y", "x"]
        axes = json.loads(data.attrs["axistags"])["axes"]
        assert [(axis["key"], axis["typeFlags"]) for axis in axes] == [("z", 2), ("y", 2), ("x", 2)]
        size, origin = (1e3 * data.attrs[name] for name in ("element_size_um", "origin_um"))
        return data[:], tuple(size), tuple(origin)


def by_ome_zarr_models(path: Path, model: Any) -> Found:
    group = zarr.open_group(path, mode="r")
    attributes = group.attrs.asdict()
    image = model.model_validate(attributes.get("ome", attributes))
    dataset = image.multiscales[0].datasets[0]
    scale, translation = dataset.coordinateTransformations
    return group["0"][:], tuple(scale.scale), tuple(translation.translation)


def by_tensorstore(path: Path) -> Found:
    tensorstore = pytest.importorskip("tensorstore")
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{path}"}
    store = tensorstore.open(spec).result()
    found = store.read().result()[..., 0].T
    size = [unit.multiplier for unit in store.dimension_units[:3]]
    origin = [o * s for o, s in zip(store.domain.origin[:3], size, strict=True)]
    return found, tuple(reversed(size)), tuple(reversed(origin))


READERS: dict[str, Callable[[Path], Found]] = {
    "hdf5": by_h5py,
    "mrc": by_mrcfile,
    "ome-zarr-0.4": lambda path: by_ome_zarr_models(path, ImageV04),
    "ome-zarr-0.5": lambda path: by_ome_zarr_models(path, ImageV05),
    "precomputed": by_tensorstore,
}


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "float32", "float16"])
@pytest.mark.parametrize("form", READERS)
def test_others_see_the_same_box(tmp_path: Path, form: Any, dtype: str) -> None:
    volume = Volume(values(dtype), SIZE)
    path = export(volume, tmp_path / f"out.{form}", form, origin=ORIGIN, provenance=FACTS)
    found, size, origin = READERS[form](path)
    np.testing.assert_array_equal(found, volume.data)
    assert size == pytest.approx(tuple(SIZE))
    assert origin == pytest.approx(ORIGIN, abs=0.01 * min(SIZE))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def in_imagej(metadata: dict[str, Any]) -> tuple[float, ...]:
    """Edge along z and place (z, y, x) in nm of a slice that ImageJ opens."""
    assert metadata["unit"] == "nm"
    places = zip("zyx", (metadata["spacing"], SIZE.y, SIZE.x), strict=True)
    return metadata["spacing"], *(-metadata[f"{letter}origin"] * edge for letter, edge in places)


def in_ome(xml: str) -> tuple[float, ...]:
    """The same of an OME-TIFF."""
    (pixels,) = ElementTree.fromstring(xml).findall("{*}Image/{*}Pixels")
    (plane,) = pixels.findall("{*}Plane")
    names = [f"Position{letter}" for letter in "ZYX"]
    assert pixels.get("PhysicalSizeZUnit") == plane.get("PositionZUnit") == "nm"
    return float(pixels.get("PhysicalSizeZ", 0)), *(float(plane.get(name, 0)) for name in names)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "float16", "float32", "float64"]
)
def test_a_stack_of_tiffs_keeps_its_pixels_and_their_place(tmp_path: Path, dtype: str) -> None:
    volume = Volume(values(dtype), SIZE)
    path = export(volume, tmp_path / "slices", "tiff-stack", origin=ORIGIN, provenance=FACTS)
    files = sorted(path.iterdir())
    assert files[0].name == "slice_00.tif"
    np.testing.assert_array_equal(np.stack([tifffile.imread(f) for f in files]), volume.data)
    with tifffile.TiffFile(files[3]) as file:
        told = file.imagej_metadata
        found = in_ome(file.ome_metadata) if told is None else in_imagej(told)
        x, y = (file.pages[0].tags[name].value for name in ("XResolution", "YResolution"))
        per_nm = 1 if told is not None else 1e7
    assert found == pytest.approx((SIZE.z, ORIGIN[0] + 3 * SIZE.z, *ORIGIN[1:]))
    assert per_nm * x[1] / x[0] == per_nm * y[1] / y[0] == pytest.approx(8)
    assert open_source(files[0]).provenance == FACTS
    again = open_volume(path, voxel_size=SIZE)
    np.testing.assert_array_equal(again.read(), volume.data)


def test_hdf5_comes_back_with_all_that_is_known(tmp_path: Path) -> None:
    facts = {"linear_gaps": list(range(20_000))}  # more than an attribute holds in place
    volume = Volume(values("float64").astype(">f8"), SIZE)
    path = export(volume, tmp_path / "out.h5", "hdf5", origin=ORIGIN, provenance=facts)
    again, source = open_volume(path), open_source(path)
    assert again.voxel_size == SIZE
    np.testing.assert_array_equal(again.read(), volume.data)
    assert source.origin == pytest.approx(ORIGIN)
    assert source.provenance == facts


def test_half_an_export_bears_another_name(tmp_path: Path) -> None:
    steps = export_stream(Volume(values(), SIZE), tmp_path / "out.h5", "hdf5")
    next(steps)
    assert [p.name for p in tmp_path.iterdir()] == ["out.h5.exporting"]
    steps.close()
    assert not list(tmp_path.iterdir())


def test_coarser_levels_are_means_in_their_place(tmp_path: Path) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    volume = Volume(values(), SIZE)
    path = export(volume, tmp_path / "out", "precomputed")
    info = json.loads((path / "info").read_text("utf-8"))
    assert [scale["resolution"] for scale in info["scales"]] == [[8, 8, 10], [16, 16, 10]]
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{path}", "scale_index": 1}
    coarse = tensorstore.open(spec).result().read().result()[..., 0].T
    mean = volume.data.astype(float).reshape(33, 35, 2, 130, 2).mean((2, 4))
    np.testing.assert_allclose(coarse, mean, atol=0.51)


def test_a_result_takes_its_place_and_its_history_along(tmp_path: Path) -> None:
    output = create_output(
        tmp_path / "in.ome.zarr",
        shape=(33, 64, 64),
        dtype="uint8",
        voxel_size=SIZE,
        identity="",
        shard=(64, 64, 64),
        origin=ORIGIN,
    )
    for shard in output.shards():
        output.write(shard, values()[:, :64, :64])
    volume = open_volume(output.publish({"made by": "a test"}))
    events = list(run_export(volume, tmp_path / "out.ome.zarr", "ome-zarr-0.4"))
    assert any(isinstance(event, Progress) for event in events)
    assert by_ome_zarr_models(tmp_path / "out.ome.zarr", ImageV04)[2] == ORIGIN
    attributes = zarr.open_group(tmp_path / "out.ome.zarr", mode="r").attrs
    assert attributes["napari_d2r"] == {"made by": "a test"}


@pytest.mark.parametrize("form", EXPORTS)
def test_a_cancelled_export_leaves_nothing(tmp_path: Path, form: Any) -> None:
    stopped = CancelToken()
    stopped.cancel()
    *_, last = run_export(Volume(values(), SIZE), tmp_path / "out", form, cancel=stopped)
    assert last.outcome is Outcome.CANCELLED
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    volume = Volume(values("float64"), SIZE)
    for form in ("mrc", "precomputed"):
        with pytest.raises(InputError, match=r"float64 voxels; export to ome-zarr-0\.5 instead"):
            export(volume, tmp_path / "out", form)
    with pytest.raises(InputError, match="by whole voxels"):
        export(Volume(values(), SIZE), tmp_path / "out", "precomputed", origin=(5.0, 0.0, 0.0))
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="taken exists"):
        export(volume, tmp_path / "taken", "tiff-stack")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
    export(Volume(values(), SIZE), tmp_path / "taken", "mrc", overwrite=True)
    assert (tmp_path / "taken").is_file()
