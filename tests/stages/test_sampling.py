"""How a result is drawn: by the card, by the job, late; told, refused, and part of what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_d2r.api import super_resolve, train
from napari_d2r.checkpoints import Model, bundled_model, load_card, load_model
from napari_d2r.cli import main
from napari_d2r.errors import InputError
from napari_d2r.jobs import (
    DegradationSettings,
    Provenance,
    SamplerSettings,
    SuperResolveJob,
    TrainJob,
)
from napari_d2r.stages._sampling import choices_of, refiners_in, sampler_of
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume

pytestmark = pytest.mark.usefixtures("known_rate")
NAFNET = "{width: 4, encoder_blocks: [1], middle_blocks: 1, decoder_blocks: [1]}"


@pytest.fixture(scope="module")
def models(small: Volume, tiny_job: TrainJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with an IRSDE prior and a student."""
    folder = tmp_path_factory.mktemp("irsde") / "model"
    settings = [
        f"prior.network={{architecture: nafnet, options: {NAFNET}}}",
        "targets.sampler={solver: dpm++, steps: 2}",
    ]
    train(small, folder, job=tiny_job.override(settings))
    return folder


def voxels(path: Path) -> np.ndarray:
    return np.asarray(zarr.open_group(path)["0"])


def facts(path: Path) -> Any:
    return zarr.open_group(path).attrs["napari_d2r"]


def test_the_job_may_draw_otherwise_than_the_card_says(
    models: Path, small: Volume, tmp_path: Path
) -> None:
    job = SuperResolveJob(model=models / "prior", device="cpu")
    found = {}
    for name, sampler in {
        "card": None,
        "same": SamplerSettings(steps=2),
        "ddim": SamplerSettings(solver="ddim", steps=3),
        "xz": SamplerSettings(steps=2, direction="xz"),
        "yz": SamplerSettings(steps=2, direction="yz"),
        "mean of two": SamplerSettings(steps=2, samples=2),
    }.items():
        path = tmp_path / f"{name}.ome.zarr"
        super_resolve(small, path, job=job.model_copy(update={"sampler": sampler}))
        assert facts(path)["is_sample"] is True
        np.testing.assert_array_equal(voxels(path)[::4], small.data)
        found[name] = voxels(path).astype(float)
    np.testing.assert_array_equal(found["card"], found["same"])
    for other in ("ddim", "xz", "yz", "mean of two"):
        assert (found[other] != found["card"]).any()
    mean = (found["xz"] + found["yz"]) / 2
    assert np.abs(mean - found["card"]).max() <= 1  # rounded once more
    told = facts(tmp_path / "ddim.ome.zarr")["sampler"]
    assert (told["solver"], told["steps"]) == ("ddim", 3)


def test_a_prediction_is_refined_by_a_few_late_steps(
    models: Path, small: Volume, tmp_path: Path
) -> None:
    job = SuperResolveJob(model=models / "student", refine_with=models / "prior", device="cpu")
    plan = resolve_super_resolve(job, small, tmp_path / "refined.ome.zarr")
    assert any("refined by 4 steps of dpm++" in line for line in plan.lines())
    assert any("diffusion sample" in warning for warning in plan.warnings)
    list(run_super_resolve(plan))
    super_resolve(small, tmp_path / "plain.ome.zarr", model=models / "student")
    refined, plain = voxels(tmp_path / "refined.ome.zarr"), voxels(tmp_path / "plain.ome.zarr")
    np.testing.assert_array_equal(refined[::4], small.data)
    assert (refined != plain).mean() > 0.5
    about = Provenance.found_in(facts(tmp_path / "refined.ome.zarr"))
    assert about is not None and about.is_sample
    assert about.method_name == "D2R sample"
    assert about.refined_with and about.refined_with != about.weights_sha256
    assert Provenance.found_in(facts(tmp_path / "plain.ome.zarr")).refined_with == ""


def test_the_command_line_changes_what_the_card_says(
    models: Path, phantom_files: tuple[Path, Path], tmp_path: Path
) -> None:
    stack = str(phantom_files[0])
    words = ["super-resolve", stack, str(tmp_path / "a.ome.zarr"), "--model", str(models / "prior")]
    assert main([*words, "--solver", "ddim", "--direction", "xz", "--samples", "2"]) == 0
    told = facts(tmp_path / "a.ome.zarr")["sampler"]
    assert (told["solver"], told["steps"], told["samples"]) == ("ddim", 2, 2)  # steps: the card's
    assert told["direction"] == "xz"
    words = ["super-resolve", stack, str(tmp_path / "b.ome.zarr"), "--steps", "2"]
    refine = ["--model", str(models / "student"), "--refine-with", str(models / "prior")]
    assert main([*words, *refine]) == 0
    told = facts(tmp_path / "b.ome.zarr")["sampler"]
    assert (told["steps"], told["start"]) == (2, 30)


def test_a_form_is_told_what_a_model_leaves_open(models: Path, tmp_path: Path) -> None:
    drawn, predicted, by_slices = (
        choices_of(load_card(folder)[0])
        for folder in (models / "prior", models / "student", bundled_model("prior"))
    )
    assert drawn.fields == {"direction", "solver", "steps", "samples"}
    assert drawn.sampler.steps == 2  # as its card says
    assert drawn.refined is None
    assert predicted.fields == set()
    assert predicted.refined is not None
    assert predicted.refined.fields == drawn.fields
    assert predicted.refined.sampler.start == 30
    assert by_slices.fields == {"direction"}
    folders = (models, models / "student", models / "prior", tmp_path, tmp_path / "missing")
    assert refiners_in(folders) == (models / "prior", models / "prior")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "student", "sampler": SamplerSettings(steps=3)}, "predicts and draws no"),
        ({"model": "student", "sampler": SamplerSettings(direction="xz")}, "no direction"),
        ({"method": "linear", "sampler": SamplerSettings()}, "linear interpolation draws nothing"),
        ({"model": "student", "refine_with": "student"}, "is no IRSDE model"),
        ({"model": "prior", "refine_with": "prior"}, "begins with a prediction"),
        ({"model": "prior", "sampler": SamplerSettings(steps=150)}, "1 to 100 steps, not 150"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    fields: dict[str, Any], words: str, models: Path, small: Volume, tmp_path: Path
) -> None:
    for name in {"model", "refine_with"} & fields.keys():
        fields = fields | {name: models / fields[name]}
    job = SuperResolveJob(device="cpu", **fields)
    with pytest.raises(InputError, match=words):
        resolve_super_resolve(job, small, tmp_path / "out.ome.zarr")


def test_what_deblurs_neither_refines_nor_is_refined(models: Path) -> None:
    student, prior = (load_model(models / role) for role in ("student", "prior"))
    job, blur = SuperResolveJob(), DegradationSettings(kind="gaussian")
    assert sampler_of(job, student, prior).start == 30
    for pair in ((_deblurring(student, blur), prior), (student, _deblurring(prior, blur))):
        with pytest.raises(InputError, match="keeps the measured slices"):
            sampler_of(job, *pair)


def _deblurring(model: Model, how: DegradationSettings) -> Model:
    return replace(model, card=model.card.model_copy(update={"degradation": how}))


def test_a_run_does_not_go_on_with_another_sampler(
    models: Path, wide: Volume, tmp_path: Path
) -> None:
    path = tmp_path / "out.ome.zarr"
    job = SuperResolveJob(model=models / "prior", device="cpu", shard=64, max_minutes=1e-9)
    list(run_super_resolve(resolve_super_resolve(job, wide, path)))
    other = job.model_copy(update={"sampler": SamplerSettings(steps=1)})
    plan = resolve_super_resolve(other, wide, path, resume=True)
    with pytest.raises(InputError):
        list(run_super_resolve(plan, resume=True))
