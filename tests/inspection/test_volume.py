"""Volumes that are open already, and no alarm without a cause."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from napari_d2r.inspection import Inspection, inspect_stream, inspect_volume
from napari_d2r.io import open_volume
from napari_d2r.jobs import Finished
from napari_d2r.samples import make_phantom
from napari_d2r.volumes import Volume, VoxelSize

SIZE = VoxelSize(80, 10, 10)


@pytest.mark.parametrize(
    "path",
    [
        "fib25/fib25_training_sample1.tif",
        "fib25/fib25_training_sample2.tif",
        "epfl/epfl_train_crop.tif",
        "vnc_sstem/vnc_stack2_crop.tif",
        "light/xyz_8bit__chromosomes.tif",
        "light/ovule_1135.h5:/raw",
    ],
)
def test_clean_volumes_raise_no_alarm(data_dir, path):
    assert inspect_volume(open_volume(data_dir / path, voxel_size=SIZE)) == ()


def test_sections_whose_staining_differs_do_flicker(data_dir):
    sections = open_volume(data_dir / "isbi2012/isbi2012_train.tif", voxel_size=SIZE)
    assert [one.kind for one in inspect_volume(sections)] == ["flicker"]


@pytest.mark.parametrize("make", [np.asarray, zarr.array])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_array_in_memory_or_in_chunks(make, dtype):
    values = make_phantom((20, 80, 100)).astype(dtype)
    values[:, :6] = 0
    values[9] = values[8]
    found = inspect_volume(Volume(make(values), SIZE))
    assert [one.kind for one in found] == ["border", "repeated"]
    assert found[1].sentence.startswith("Slice 9 shows exactly the same image as slice 8")


def test_a_stack_made_of_copies_is_told_once():
    values = make_phantom((20, 80, 100))
    found = inspect_volume(Volume(np.concatenate([values, values]), SIZE))
    (repeated,) = (one for one in found if one.kind == "repeated")
    assert repeated.slices == tuple(range(40))
    assert repeated.sentence.startswith("20 slices show exactly the same image as another one")
    assert "slice 20 as slice 0" in repeated.sentence


def test_a_masked_slice_hides_no_saturation():
    """Of the slice that is masked by black, black alone is not counted."""
    values = np.clip(make_phantom((20, 80, 100)) * 2.0, 1, 255).astype(np.uint8)
    values[7, :, :8] = 0
    found = {one.kind: one for one in inspect_volume(Volume(values, SIZE))}
    assert found["masked"].slices == (7,)
    share = f"{100 * (values == 255).mean():.1f} %"
    assert found["saturated"].sentence.startswith(f"{share} of the voxels have the greatest")


@pytest.mark.parametrize("value", [-32768, 0, 32767])
def test_a_mask_of_a_signed_type(value):
    values = make_phantom((20, 80, 100)).astype(np.int16) - 100
    values[7, :, :8] = value
    found = {one.kind: one for one in inspect_volume(Volume(values, SIZE))}
    assert found["masked"].slices == (7,)


def test_what_cannot_be_used():
    values = make_phantom((20, 80, 100)).astype(np.float32)
    values[7, 3, 3] = np.nan
    (found,) = inspect_volume(Volume(values, SIZE))
    assert (found.kind, found.severity, found.slices) == ("non-finite", "blocks", (7,))
    (found,) = inspect_volume(Volume(values[:3], VoxelSize(10, 10, 10)))
    assert (found.kind, found.severity) == ("short", "blocks")


def test_dark_ground_is_no_data_bar():
    rng = np.random.default_rng(0)
    values = np.zeros((16, 120, 120), np.uint8)
    values[:, 40:80, 40:80] = rng.integers(0, 200, (16, 40, 40))
    (_, box), found = result(values)
    assert [one.kind for one in found] == ["border"]
    assert box == (slice(40, 80), slice(40, 80))


def test_an_empty_stack_is_all_empty():
    _, found = result(np.zeros((8, 64, 64), np.uint8))
    assert [one.kind for one in found] == ["empty"]


def result(values):
    *_, event = inspect_stream(Volume(values, SIZE))
    assert isinstance(event, Finished)
    inspection: Inspection = event.result
    box = inspection.suggested_box
    return (box and box[0], box and box[1:]), inspection.findings
