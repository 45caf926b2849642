"""Learning from blurred slices: sharper than linear, noise put back, blind or not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_d2r.errors import InputError
from napari_d2r.jobs import OptimizerSettings, PriorSettings, StudentSettings, TrainJob
from napari_d2r.models import build_network
from napari_d2r.stages.train import resolve_train
from napari_d2r.training import DiffusionTask, LateralTask, SequenceTask, fit
from napari_d2r.training._batches import draw_rows
from napari_d2r.training._diffusion_task import clean_and_mean
from napari_d2r.training._tasks import lost_noise
from napari_d2r.volumes import Degradation, Volume, VoxelSize

SMALL = {"widths": [8, 12], "blocks": [1, 1], "restores_measured": True}
SHORT = OptimizerSettings(
    max_steps=80, warmup_steps=5, validate_every=40, learning_rate=1e-2, batch=8
)
PRIOR = PriorSettings(optimizer=SHORT, num_gaps=4, columns=24)
STUDENT = StudentSettings(optimizer=SHORT, crop=24, input_noise=0)
BLUR = Degradation("gaussian", 2.0)


def patterned(num_slices: int, step: int) -> Tensor:
    """(Z, 60, 56): stripes that a blur of two voxels dims; every ``step``-th z."""
    z, y, x = torch.meshgrid(
        torch.arange(num_slices) * step, torch.arange(60), torch.arange(56), indexing="ij"
    )
    return 0.5 + 0.4 * torch.sin(2 * math.pi * (x / 9 + y / 11 + z / 10))


@pytest.mark.parametrize("name", ["lateral", "care-unet", "aenet-fast"])
def test_a_minute_network_undoes_a_blur_better_than_linear(tmp_path, name):
    torch.manual_seed(0)
    network = build_network(name, {"width": 4} if name == "care-unet" else SMALL)
    if name == "aenet-fast":
        task = SequenceTask(patterned(77, 1), patterned(20, 4), 4, STUDENT, BLUR)
        assert task.left_out is None  # sharp predictions against blurred slices tell nothing
    else:
        task = LateralTask(patterned(20, 4), 4, PRIOR, BLUR)
    settings = {"seed": 0, "device": torch.device("cpu"), "identity": ""}
    for _ in fit(network, task, SHORT, state_path=tmp_path / "state", **settings):
        pass
    with torch.no_grad():
        assert task.validate(network)["score"] > 1


@pytest.mark.parametrize("kind", ["block", "gaussian"])
def test_noise_that_a_mean_takes_away_is_put_back(kind):
    how = Degradation(kind, 2.0)
    kernel = how.kernel(4)
    noisy = torch.from_numpy(np.random.default_rng(0).normal(0.5, 0.1, (8, 200, 200))).float()
    left = (noisy.unfold(1, len(kernel), 1) @ torch.from_numpy(kernel).float()).std()
    missing = lost_noise(noisy, kernel)
    assert math.hypot(float(left), missing) == pytest.approx(0.1, rel=0.03)
    assert lost_noise(noisy, Degradation().kernel(4)) == 0


@pytest.mark.parametrize("how", [BLUR, Degradation("block")], ids=lambda how: how.kind)
def test_a_diffusion_prior_learns_from_what_is_blurred(how):
    """Of a ramp, linear interpolation is the truth: mean and clean slice are one."""
    ramp = torch.arange(60.0)[None, :, None] + torch.arange(56.0)
    batch = draw_rows(
        ramp / 100,
        np.random.default_rng(0),
        gap=4,
        batch=6,
        num_gaps=3,
        columns=9,
        kernel=how.kernel(4),
    )
    x0, mu = clean_and_mean(batch)
    assert x0.shape == (6, 1, 12, 9)
    torch.testing.assert_close(x0, mu)
    task = DiffusionTask(patterned(20, 4), 4, PRIOR, how)
    network = build_network("nafnet", {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]})
    assert math.isfinite(task.loss(network, np.random.default_rng(0)).item())


def test_blind_training_meets_many_blurs():
    blind = Degradation("gaussian", 2.0, spread=2.0)
    task = LateralTask(patterned(20, 4), 4, PRIOR, blind)
    seen = []

    def network(rows: Tensor, depths: Tensor, log2_gap: Tensor) -> Tensor:
        seen.append(float(rows.std()))  # stripes are dimmer where the blur is stronger
        return torch.zeros(len(rows), rows.shape[1] - 1, depths.shape[1], rows.shape[2])

    rng = np.random.default_rng(0)
    for _ in range(20):
        task.loss(network, rng)
    assert max(seen) > 2 * min(seen)


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_the_smallest_stack_is_as_large_as_the_widest_blur(tmp_path, spread):
    """What the plan lets pass can be drawn from, however wide a gap or a blur is drawn."""
    how = Degradation("gaussian", 2.0, spread)
    least = 3 * 4 + len(how.widest.kernel(4))
    measured = patterned(8, 4)[:, :least, :least]
    pseudo_hr = patterned(29, 1)[:, :least, :least]
    lateral, rng = LateralTask(measured, 4, PRIOR, how), np.random.default_rng(0)
    sequence = SequenceTask(pseudo_hr, measured, 4, STUDENT, how)
    rows, slices = build_network("lateral", SMALL), build_network("aenet-fast", SMALL)
    for _ in range(40):
        assert math.isfinite(lateral.loss(rows, rng).item())
        assert math.isfinite(sequence.loss(slices, rng).item())
    job = TrainJob.checked({"degradation": {"kind": "gaussian", "sigma": 2, "spread": spread}})
    volume = Volume(measured.numpy(), VoxelSize(4, 1, 1))
    resolve_train(job, volume, tmp_path / "model")
    with pytest.raises(InputError, match=f"needs at least {least} on both"):
        resolve_train(job, Volume(volume.data[:, 1:], VoxelSize(4, 1, 1)), tmp_path / "model")
