"""Stacks of blurred slices: trained, restored, placed and judged as what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_d2r.checkpoints import load_card, render_card
from napari_d2r.errors import InputError
from napari_d2r.io import open_volume
from napari_d2r.jobs import Finished, SuperResolveJob, TrainJob
from napari_d2r.stages.evaluate import evaluate
from napari_d2r.stages.gain import gain_stream
from napari_d2r.stages.super_resolve import (
    provenance_of,
    resolve_super_resolve,
    run_super_resolve,
)
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.volumes import Degradation, Volume, VoxelSize

pytestmark = pytest.mark.usefixtures("known_rate")
ANISOTROPIC = VoxelSize(40, 10, 10)
GAUSSIAN = ["degradation={kind: gaussian, sigma: 1.5}"]


def measured(truth: Volume, how: Degradation) -> Volume:
    """In floats, which show whatever a hardly trained network adds."""
    return Volume(how.simulate(truth.read().astype(np.float32), 4), ANISOTROPIC, "measured")


@pytest.fixture(scope="module")
def blurred_model(
    phantom: tuple[Volume, Volume], tiny_job: TrainJob, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("blurred") / "model"
    stack = measured(phantom[1], Degradation("gaussian", 1.5))
    plan = resolve_train(tiny_job.override(GAUSSIAN), stack, folder)
    assert "blurred along Z, sigma 1.5 lateral voxels: they are restored too" in plan.lines()[1]
    list(run_train(plan))
    return folder


@pytest.mark.parametrize("role", ["prior", "student"])
def test_a_model_knows_what_it_restores(
    blurred_model: Path, phantom: tuple[Volume, Volume], tmp_path: Path, role: str
) -> None:
    card = load_card(blurred_model / role)[0]
    assert card.degradation.value == Degradation("gaussian", 1.5)
    assert card.options["restores_measured"] is True
    assert "which are blurred along Z, sigma 1.5" in render_card(card)
    stack = measured(phantom[1], Degradation("gaussian", 1.5))
    job = SuperResolveJob(model=blurred_model / role, device="cpu", engine="torch")
    output = tmp_path / "out.ome.zarr"
    plan = resolve_super_resolve(job, stack, output)
    assert any("the measured ones are restored too and none is copied" in w for w in plan.warnings)
    about = provenance_of(plan)
    assert (about.measured_slices, about.measured_slices_at_multiples_of) == ("restored", None)
    list(run_super_resolve(plan))
    result = open_volume(output)
    assert result.shape == (33, 64, 64)
    copies = [np.array_equal(a, b) for a, b in zip(result.read()[::4], stack.read(), strict=True)]
    assert not any(copies)


def test_means_over_a_gap_are_learned_too(
    phantom: tuple[Volume, Volume], tiny_job: TrainJob, tmp_path: Path
) -> None:
    stack = measured(phantom[1], Degradation("block"))
    job = tiny_job.override(["degradation.kind=block"])
    list(run_train(resolve_train(job, stack, tmp_path / "model")))
    plan = resolve_super_resolve(
        SuperResolveJob(model=tmp_path / "model", device="cpu"), stack, tmp_path / "out.ome.zarr"
    )
    list(run_super_resolve(plan))
    report = evaluate(
        open_volume(plan.output), phantom[1], factor=4, degradation=Degradation("block")
    )
    assert abs(report.result.axial_shift) < 0.2  # hardly trained, but in its place


@pytest.mark.parametrize("factor", [3, 4])
@pytest.mark.parametrize("kind", ["slice", "block", "gaussian"])
def test_interpolation_stands_where_it_belongs(
    phantom: tuple[Volume, Volume], tmp_path: Path, kind: str, factor: int
) -> None:
    """Measured, interpolated into a file and evaluated: the baseline itself, and in the world."""
    truth, how = phantom[1], Degradation(kind)
    size = VoxelSize(10.0 * factor, 10, 10)
    stack = Volume(how.simulate(truth.read(), factor), size, "measured")
    job = SuperResolveJob(method="linear", degradation=kind, device="cpu", fall_back=False)
    plan = resolve_super_resolve(job, stack, tmp_path / "out.ome.zarr")
    # The centre of the first measured slice, as a file of the truth's world would say.
    list(run_super_resolve(plan, origin=(10 * how.phase(factor), 0, 0)))
    result = open_volume(plan.output)
    written = json.loads((plan.output / "zarr.json").read_text("utf-8"))["attributes"]["ome"]
    transforms = written["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    moved = [one["translation"][0] for one in transforms if one["type"] == "translation"]
    assert sum(moved) == pytest.approx(10 * how.first(factor))
    report = evaluate(result, truth, factor=factor, degradation=how)
    assert abs(report.linear.axial_shift) < 0.1
    for plane in ("XY", "XZ", "YZ"):
        own, linear = report.result.plane(plane), report.linear.plane(plane)
        assert own.psnr_db == pytest.approx(linear.psnr_db, abs=0.05)
        assert own.num_slices == linear.num_slices
    inserted = report.result.plane("XY").num_slices
    assert inserted == report.shape[0] if kind != "slice" else inserted < report.shape[0]


def test_evaluation_in_another_phase_is_worse(phantom: tuple[Volume, Volume]) -> None:
    truth, block = phantom[1], Degradation("block")
    shifted = Volume(truth.read()[2:31], truth.voxel_size, "in its place")
    report = evaluate(shifted, truth, factor=4, degradation=block)
    assert report.start[0] == 2
    assert report.result.plane("XZ").num_identical == report.result.plane("XZ").num_slices
    assert "all 28 slices" in report.table()
    assert json.loads(report.to_json())["degradation"]["kind"] == "block"


def test_left_out_slices_are_compared_with_slices_as_measured(
    blurred_model: Path, phantom: tuple[Volume, Volume]
) -> None:
    stack = measured(phantom[1], Degradation("gaussian", 1.5))
    *_, last = gain_stream(stack, blurred_model)
    assert isinstance(last, Finished)
    assert "blurred likewise" in last.result.caution
    assert abs(last.result.gain.gain_db) < 3  # against sharp slices it would lose much more


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            ["student.network={architecture: srunet, options: {}}"],
            r"srunet does not serve stage III of slices that are blurred; choose .*aenet-fast",
        ),
        (["start_from=bundled"], r"learned from slices that are point samples.*yours are blurred"),
        (["reference=truth.tif"], r"teaches networks of point samples only"),
        (["degradation.sigma=9"], r"64 x 64 pixels; learning a factor of 4 .* sigma 9 .* 85 on"),
    ],
)
def test_what_cannot_be_learned_is_refused(
    phantom: tuple[Volume, Volume],
    tiny_job: TrainJob,
    tmp_path: Path,
    changes: list[str],
    words: str,
) -> None:
    job = tiny_job.override([*GAUSSIAN, *changes])
    with pytest.raises(InputError, match=words):
        resolve_train(job, phantom[0], tmp_path / "model")


def test_a_model_is_not_taken_for_another(
    blurred_model: Path, phantom: tuple[Volume, Volume], tmp_path: Path
) -> None:
    job = SuperResolveJob(model=blurred_model, device="cpu", engine="torch")
    output = tmp_path / "out.ome.zarr"
    with pytest.raises(InputError, match="learned from slices that are blurred"):
        resolve_super_resolve(job.model_copy(update={"degradation": "block"}), phantom[0], output)
    with pytest.raises(InputError, match="cannot be told from the slices"):
        resolve_super_resolve(job.model_copy(update={"uncertainty": True}), phantom[0], output)
