"""What stages are trained on and judged by: they learn, and never see what they are judged on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_d2r.jobs import OptimizerSettings, PriorSettings, StudentSettings
from napari_d2r.models import build_network
from napari_d2r.training import BlockTask, DiffusionTask, LateralTask, SequenceTask, fit
from napari_d2r.training._tasks import held_out_slices, leave_one_out_sequences

SMALL = {"widths": [8, 12], "blocks": [1, 1]}
TINY_BLOCKS = {"factor": 4, "widths": [6, 8, 8]}
SHORT = OptimizerSettings(
    max_steps=60, warmup_steps=5, validate_every=20, learning_rate=5e-3, batch=8
)
PRIOR = PriorSettings(optimizer=SHORT, num_gaps=4, columns=24)
STUDENT_NETWORKS = {SequenceTask: ("aenet-fast", SMALL), BlockTask: ("srunet", TINY_BLOCKS)}
STUDENT = StudentSettings(optimizer=SHORT, crop=24, block_slices=4, input_noise=0)


def patterned(num_slices: int = 20, step: int = 4) -> Tensor:
    """(Z, 48, 44): stripes that curve, the same in all directions; every ``step``-th z."""
    z, y, x = torch.meshgrid(
        torch.arange(num_slices) * step, torch.arange(48), torch.arange(44), indexing="ij"
    )
    return 0.5 + 0.4 * torch.sin(2 * math.pi * (x / 9 + y / 11 + z / 10))


@pytest.mark.parametrize("name", ["lateral", "aenet-fast", "srunet"])
def test_a_minute_network_beats_linear_on_what_it_has_not_seen(tmp_path, name):
    torch.manual_seed(0)
    network = build_network(name, TINY_BLOCKS if name == "srunet" else SMALL)
    if name == "lateral":
        task, settings = LateralTask(patterned(), 4, PRIOR), PRIOR
    elif name == "srunet":
        settings = STUDENT.model_copy(update={"crop": 16})
        task = BlockTask(patterned(77, 1), patterned(), 4, settings)
    else:
        task, settings = SequenceTask(patterned(77, 1), patterned(), 4, STUDENT), STUDENT
    before = task.loss(network, np.random.default_rng(0)).item()
    run = fit(
        network,
        task,
        settings.optimizer,
        seed=0,
        device=torch.device("cpu"),
        state_path=tmp_path / "state",
        identity="",
    )
    for _ in run:
        pass
    with torch.no_grad():
        after = task.loss(network, np.random.default_rng(0)).item()
        scores = task.validate(network)
    assert after < before / 2
    assert scores["score"] > 1
    assert scores["score"] == pytest.approx(np.mean([v for k, v in scores.items() if k != "score"]))


def only(stack: Tensor, kept: list[int]) -> Tensor:
    """The stack with all but some slices spoilt."""
    spoilt = torch.full_like(stack, math.nan)
    spoilt[kept] = stack[kept]
    return spoilt


@pytest.mark.parametrize("make", [LateralTask, DiffusionTask])
def test_held_out_slices_take_no_part_in_training(make):
    held_out = held_out_slices(20)
    architecture = "lateral" if make is LateralTask else "nafnet"
    options = (
        SMALL if make is LateralTask else {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]}
    )
    network = build_network(architecture, options)
    training = make(only(patterned(), [k for k in range(20) if k not in held_out]), 4, PRIOR)
    judging = make(only(patterned(), held_out), 4, PRIOR)
    with torch.no_grad():
        losses = [training.loss(network, np.random.default_rng(n)).item() for n in range(10)]
        assert np.isfinite(losses).all()
        assert math.isfinite(judging.validate(network.eval())["score"])
        assert not math.isfinite(judging.loss(network, np.random.default_rng(0)).item())


@pytest.mark.parametrize("make", [SequenceTask, BlockTask])
def test_the_end_of_the_pseudo_hr_volume_takes_no_part_in_training(make):
    volume = patterned(77, 1)
    spoilt = volume.clone()
    spoilt[:, -13:] = math.nan  # three gaps and one plane
    network = build_network(*STUDENT_NETWORKS[make])
    task = make(spoilt, patterned(), 4, STUDENT)
    with torch.no_grad():
        losses = [task.loss(network, np.random.default_rng(n)).item() for n in range(10)]
    assert np.isfinite(losses).all()
    spoilt = volume.clone()
    spoilt[:, :-13] = math.nan
    task = make(spoilt, patterned(), 4, STUDENT)
    with torch.no_grad():
        assert math.isfinite(task.validate(network)["held-out gain (dB)"])


@pytest.mark.parametrize(
    ("count", "expected"), [(4, [2]), (10, [4]), (20, [4, 14]), (35, [5, 17, 29])]
)
def test_one_slice_in_ten_is_held_out(count, expected):
    assert held_out_slices(count) == expected


def test_a_measured_slice_is_left_out_across_a_doubled_gap():
    measured = torch.arange(9.0)[:, None, None].expand(9, 5, 6)
    batch = leave_one_out_sequences(measured, 4)
    assert batch.truth[:, 0, 0, 0].tolist() == [3, 4, 5]
    assert batch.slices[..., 0, 0].tolist() == [[0, 2, 4, 6], [1, 3, 5, 7], [2, 4, 6, 8]]
    assert batch.depths.tolist() == [[0.5]] * 3
    assert batch.log2_gap.tolist() == [3.0] * 3
    assert leave_one_out_sequences(measured[:6], 4) is None


@pytest.mark.parametrize("num_slices", [4, 5])
def test_the_smallest_stack_can_be_learned_from(num_slices):
    """Four slices of 3 r + 1 pixels, at k = 1 and k = r."""
    measured = patterned(num_slices)[:, :13, :13]
    for volume in (measured, measured.repeat_interleave(4, 0)[: 4 * num_slices - 3]):
        task = SequenceTask(volume, measured, 4, STUDENT)
        network = build_network("aenet-fast", SMALL)
        for n in range(20):
            assert math.isfinite(task.loss(network, np.random.default_rng(n)).item())
        with torch.no_grad():
            assert math.isfinite(task.validate(network)["score"])
            assert task.preview(network)["target"].ndim == 2
    prior = LateralTask(measured, 4, PRIOR)
    network = build_network("lateral", SMALL)
    for n in range(20):
        assert math.isfinite(prior.loss(network, np.random.default_rng(n)).item())
    with torch.no_grad():
        assert math.isfinite(prior.validate(network)["score"])


@pytest.mark.parametrize("make", [LateralTask, DiffusionTask])
def test_previews_are_small_pictures_in_unit_range(make):
    architecture = "lateral" if make is LateralTask else "nafnet"
    network = build_network(architecture, SMALL if make is LateralTask else {"width": 4}).eval()
    pictures = make(patterned(), 4, PRIOR).preview(network)
    assert pictures.keys() == {"linear", "prediction", "truth"}
    for image in pictures.values():
        assert image.dtype == np.float32
        assert max(image.shape) <= 256
        assert 0 <= image.min() <= image.max() <= 1
    shapes = {image.shape for image in pictures.values()}
    assert len(shapes) == 1
