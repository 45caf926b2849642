"""Lee and Jeong from the preset to the result, with a network that has learned nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_d2r.checkpoints import load_card, load_index
from napari_d2r.io import open_volume
from napari_d2r.jobs import Outcome, SuperResolveJob, TrainJob, Warned, load_preset
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.volumes import Degradation, Volume

TINY = [
    "device=cpu",
    "max_minutes=null",
    "prior.network.options={width: 4, multipliers: [1, 2], blocks: 1}",
    "prior.optimizer={max_steps: 4, batch: 2, validate_every: 2}",
    "prior.columns=16",
    "targets.sampler.steps=2",
    "targets.sampler.ddnm={encode_steps: 1, first_steps: 3}",
]


@pytest.fixture(scope="module")
def tiny() -> TrainJob:
    return load_preset("lee-jeong").override(TINY)


@pytest.mark.usefixtures("known_rate")
@pytest.mark.parametrize("kind", ["slice", "gaussian"])
def test_from_the_preset_to_a_result(
    tiny: TrainJob, small: Volume, tmp_path: Path, kind: str
) -> None:
    job = tiny.override([f"degradation={{kind: {kind}, sigma: 2.0}}"])
    events = list(run_train(resolve_train(job, small, tmp_path / "model")))
    assert events[-1].outcome is Outcome.COMPLETED
    assert load_index(tmp_path / "model").models == ["prior"]
    card, _ = load_card(tmp_path / "model" / "prior")
    assert card.architecture == "ddpm-unet"
    assert card.sampler == job.targets.sampler
    assert card.degradation.kind == kind
    assert set(card.scores) == {"leave-one-out", "one-step"}

    asked = SuperResolveJob(model=tmp_path / "model", device="cpu", seed=3)
    plan = resolve_super_resolve(asked, small, tmp_path / "out.ome.zarr")
    events = list(run_super_resolve(plan))
    assert events[-1].outcome is Outcome.COMPLETED
    assert any("diffusion sample" in e.message for e in events if isinstance(e, Warned))
    result = open_volume(tmp_path / "out.ome.zarr").read()
    assert len(result) == 17
    if kind == "slice":
        assert np.array_equal(result[::4], small.read())
    else:  # what was measured is what a blur makes of the result
        again = Degradation("gaussian", sigma=2.0).simulate(result.astype(float), 4)
        wrong = np.abs(again - small.read()).mean()
        assert wrong < 0.3 * np.abs(result[::4] - small.read().astype(float)).mean()
