"""Masked slices and midpoints as results in themselves: trained from a preset, and used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_d2r.api import super_resolve
from napari_d2r.checkpoints import load_card
from napari_d2r.io import open_volume
from napari_d2r.jobs import Finished, SuperResolveJob, Warned, load_preset
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.volumes import Volume, interpolate_axial

TINY = [
    "device=cpu",
    "max_minutes=null",
    "prior.network.options={width: 4, multipliers: [1, 2], blocks: 1}",
    "prior.optimizer={max_steps: 2, batch: 2, validate_every: 2}",
    "prior.num_gaps=3",
    "prior.columns=16",
    "targets.sampler.steps=2",
]


@pytest.mark.parametrize("preset", ["ms-unet", "msdsr", "e2e", "vemdiffuse-a"])
def test_a_preset_is_trained_and_used(
    preset: str, small: Volume, tmp_path: Path, known_rate: None
) -> None:
    folder, is_sampled = tmp_path / "model", preset in ("msdsr", "vemdiffuse-a")
    *_, last = run_train(resolve_train(load_preset(preset).override(TINY), small, folder))
    assert isinstance(last, Finished) and last.result is not None
    card, _ = load_card(folder / "prior")
    assert (card.sampler is not None) == is_sampled
    assert "leave-one-out" in card.scores
    plan = resolve_super_resolve(
        SuperResolveJob(model=folder, device="cpu"), small, tmp_path / "out.ome.zarr"
    )
    told = [e.message for e in run_super_resolve(plan) if isinstance(e, Warned)]
    assert any("diffusion sample" in message for message in told) == is_sampled
    values = open_volume(tmp_path / "out.ome.zarr").read()
    assert values.shape == (17, 32, 32)
    np.testing.assert_array_equal(values[::4], small.data)
    assert (values != interpolate_axial(small.data, np.arange(17) / 4)).any()
    if is_sampled:
        super_resolve(small, tmp_path / "again.ome.zarr", model=folder)
        np.testing.assert_array_equal(open_volume(tmp_path / "again.ome.zarr").read(), values)
