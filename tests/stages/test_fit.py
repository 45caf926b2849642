"""A model says before a run where a stack is unlike what it knows; `train` teaches it to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_d2r.checkpoints import load_card
from napari_d2r.io import open_volume
from napari_d2r.jobs import SuperResolveJob, Warned
from napari_d2r.stages.super_resolve import (
    SuperResolvePlan,
    resolve_super_resolve,
    run_super_resolve,
)
from napari_d2r.volumes import Volume, VoxelSize

SIZE = VoxelSize(40, 10, 10)


def plan_of(volume: Volume, model: Path | None, folder: Path) -> SuperResolvePlan:
    job = SuperResolveJob(model=model, device="cpu")
    return resolve_super_resolve(job, volume, folder / "out.ome.zarr")


def kinds(plan: SuperResolvePlan) -> list[str]:
    return [one.kind.removeprefix("unlike-") for one in plan.fit]


def test_training_leaves_a_card_that_says_all(tiny_model: Path, stack: Volume) -> None:
    for role in ("prior", "student"):
        card, folder = load_card(tiny_model / role)
        assert card.domain is not None
        assert card.domain.pixel_nm == (10, 10)
        assert card.compute is not None
        assert "processor" in card.compute.device
        assert card.num_parameters is not None
        [data] = card.data
        assert (data.name, data.shape, data.voxel_size_nm) == (
            stack.name,
            (9, 64, 64),
            (40, 10, 10),
        )
        assert {row.gain_db for row in card.evaluation} == set(card.scores.values())
        rows = {row.relation: row.factor for row in card.evaluation}
        assert rows == {"training stack": 8, "held out": 4}
        text = (folder / "card.md").read_text("utf-8")
        assert "the stages of D2R on the stack alone" in text
        assert card.weights_sha256 in text


def test_a_stack_that_the_model_learned_from_fits(
    stack: Volume, tiny_model: Path, tmp_path: Path
) -> None:
    plan = plan_of(stack, tiny_model, tmp_path)
    assert plan.fit == ()
    assert plan.warnings == ()


def test_what_is_unlike_is_warned_about_in_a_run(
    stack: Volume, tiny_model: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    noisy = np.clip(stack.read() + rng.normal(0, 60, stack.shape), 0, 255).astype(np.uint8)
    plan = plan_of(Volume(noisy, VoxelSize(4000, 1000, 1000)), tiny_model, tmp_path)
    assert {"pixel", "noise", "unlike"} <= set(kinds(plan))
    told = [event.message for event in run_super_resolve(plan) if isinstance(event, Warned)]
    assert told == [str(one) for one in plan.fit if one.severity == "warning"]
    assert "1000 nm wide, 100 times larger" in told[0]
    assert told[-1].startswith("This stack is unlike what the model has learned from")


def test_interpolation_fits_everything(stack: Volume, tmp_path: Path) -> None:
    job = SuperResolveJob(method="linear", device="cpu")
    volume = Volume(stack.data, VoxelSize(4000, 1000, 1000))
    assert resolve_super_resolve(job, volume, tmp_path / "o.zarr").fit == ()


@pytest.mark.parametrize(
    ("path", "size", "warned"),
    [
        ("fib25/fib25_training_sample2.tif", (80, 10, 10), False),
        ("epfl/epfl_train_crop.tif", (40, 5, 5), False),
        ("vnc_sstem/vnc_stack2_crop.tif", (47.5, 4.6, 4.6), False),
        ("isbi2012/isbi2012_train.tif", (40, 4, 4), False),
        ("light/xyz_8bit__nuclei_autothresh.tif", (4000, 830, 830), True),
        ("light/ovule_1135.h5:/raw", (284, 126.8, 126.8), True),
    ],
)
def test_the_bundled_model_knows_electron_microscopy(
    data_dir: Path, tmp_path: Path, path: str, size: tuple[float, ...], warned: bool
) -> None:
    volume = open_volume(data_dir / path, voxel_size=VoxelSize(*size))
    plan = plan_of(volume, None, tmp_path)
    assert ("unlike" in kinds(plan)) is warned, [str(one) for one in plan.fit]
