"""A result that is opened in another session knows how it was made, and from what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
import tifffile
from qtpy.QtWidgets import QApplication

from napari_d2r import super_resolve
from napari_d2r._npe2 import METADATA
from napari_d2r.io import save_tiff
from napari_d2r.jobs import Provenance, SuperResolveJob
from napari_d2r.volumes import VoxelSize
from napari_d2r.widgets import copy_methods_paragraph
from napari_d2r.widgets._compare_scene import default_choice
from napari_d2r.widgets._provenance import find_source, provenance_in
from napari_d2r.widgets._resolution_form import ResolutionForm
from napari_d2r.widgets._super_resolve_form import SuperResolveForm
from napari_d2r.widgets._train_form import TrainForm
from napari_d2r.widgets.methods_text import methods_paragraph

LINEAR = SuperResolveJob(method="linear", device="cpu")


@pytest.fixture
def open_(viewer: Any) -> Any:
    """Open a file as napari does; returns its layer."""

    def open_one(path: Path) -> Any:
        (layer,) = viewer.open(str(path), plugin="napari-d2r")
        return layer

    return open_one


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.tif"])
def test_a_reopened_result_finds_its_partners_and_its_methods(
    viewer: Any, open_: Any, phantom_files: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    super_resolve(phantom_files[0], tmp_path / name, job=LINEAR)
    stack, truth = (open_(path) for path in phantom_files)
    decoy = viewer.add_image(np.zeros((9, 64, 64), np.uint8), name="stack.tif", units="nm")
    result = open_(tmp_path / name)
    about = result.metadata[METADATA]
    assert about["path"] == str(tmp_path / name)
    assert (about["factor"], about["method"], about["is_complete"]) == (4, "linear", True)
    assert about["settings"]["method"] == "linear"
    assert find_source(result, viewer.layers) == stack
    assert default_choice(viewer.layers, decoy) == [stack, result, truth]
    viewer.layers.selection = {result}
    copy_methods_paragraph(viewer)
    text = QApplication.clipboard().text()
    for words in ("“stack.tif” of 9 slices of 64 × 64", "4 times finer", "linear interpolation"):
        assert words in text
    assert "not been finished" not in text


def test_what_wants_a_measured_stack_begins_with_that_of_the_selected_result(
    viewer: Any, trio: Any
) -> None:
    stack, result, _ = trio
    viewer.layers.selection.active = result
    forms = SuperResolveForm(viewer), TrainForm(viewer), ResolutionForm(viewer)
    assert [form.layer.layer for form in forms] == [stack] * 3
    assert forms[-1].layer_a.layer == result
    viewer.layers.remove(stack)
    assert [form.layer.layer for form in forms] == [result] * 3


def test_how_a_sample_was_drawn_stands_in_the_methods() -> None:
    drawn = {"solver": "dpm++", "steps": 4, "samples": 1, "start": 30}
    sample = Provenance(
        version="1",
        source="stack",
        source_shape=(5, 8, 8),
        source_voxel_size_nm=(40, 10, 10),
        shape=(17, 8, 8),
        voxel_size_nm=(10, 10, 10),
        factor=4,
        measured_slices_at_multiples_of=4,
        method="model",
        is_sample=True,
        sampler=drawn,
        refined_with="5eed" * 16,
        device="cpu",
        seed=7,
        settings={},
    )
    assert sample.method_name == "D2R sample"
    text = methods_paragraph(sample)
    for words in (
        "one sample of a diffusion model",
        "dpm++",
        "seed 7",
        "begun at time 30",
        "5eed5eed",
    ):
        assert words in text
    many = sample.model_copy(update={"sampler": {**drawn, "samples": 8}, "refined_with": ""})
    assert "the mean of 8 samples" in methods_paragraph(many)
    assert "begun" not in methods_paragraph(many)
    older = many.model_copy(update={"sampler": None})  # a file that an earlier version wrote
    assert "one sample of a diffusion model (seed 7)" in methods_paragraph(older)


def test_resolution_suggests_the_source_of_a_reopened_result(
    viewer: Any, open_: Any, phantom_files: tuple[Path, Path], tmp_path: Path, qtbot: Any
) -> None:
    super_resolve(phantom_files[0], tmp_path / "out.tif", job=LINEAR)
    result, truth, stack = map(open_, (tmp_path / "out.tif", *reversed(phantom_files)))
    form = ResolutionForm(viewer)
    qtbot.addWidget(form)
    form._suggest_pair()
    assert (form.layer_a.layer, form.layer_b.layer) == (result, truth)
    assert form.source.layer == stack


@pytest.mark.parametrize("name", ["again.ome.zarr", "again.tif"])
def test_it_survives_being_saved_as_a_layer(
    open_: Any, phantom_files: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    super_resolve(phantom_files[0], tmp_path / "out.ome.zarr", job=LINEAR)
    first = open_(tmp_path / "out.ome.zarr")
    first.save(str(tmp_path / name), plugin="napari-d2r")
    assert provenance_in(open_(tmp_path / name)) == provenance_in(first) is not None


def test_what_was_changed_elsewhere_does_not_claim_to_be_the_result(
    open_: Any, phantom_files: tuple[Path, Path], tmp_path: Path
) -> None:
    super_resolve(phantom_files[0], tmp_path / "out.tif", job=LINEAR)
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        values, info = tiff.asarray(), tiff.imagej_metadata["Info"]
    cut = {"metadata": {"axes": "ZYX", "unit": "nm", "spacing": 10, "Info": info}}
    tifffile.imwrite(tmp_path / "cut.tif", values[:20], imagej=True, resolution=(0.1, 0.1), **cut)
    save_tiff(
        tmp_path / "scaled.tif",
        iter(values),
        shape=values.shape,
        dtype=values.dtype,
        voxel_size=VoxelSize(20, 10, 10),
        provenance=provenance_in(open_(tmp_path / "out.tif")).model_dump(mode="json"),
    )
    save_tiff(
        tmp_path / "odd.tif",
        iter(values),
        shape=values.shape,
        dtype=values.dtype,
        voxel_size=VoxelSize(10, 10, 10),
        provenance={"kind": "super-resolved", "factor": "many"},
    )
    for name in ("cut.tif", "scaled.tif", "odd.tif"):
        layer = open_(tmp_path / name)
        assert provenance_in(layer) is None
        assert layer.metadata[METADATA]["source"] == str(tmp_path / name)
