"""Learning from isotropic volumes: what is given, what is asked, and what is kept back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_d2r.jobs import OptimizerSettings
from napari_d2r.models import build_network, linear_base, linear_rows
from napari_d2r.training import SupervisedTask, Variety, fit
from napari_d2r.training._teachings import all_sequences, rows_of

SHORT = OptimizerSettings(
    method="muon", max_steps=60, warmup_steps=5, validate_every=30, learning_rate=5e-3, batch=4
)
PLAIN = Variety(gaps=(4, 4), coarser=0, gamma=0, inverted=0, noisy=0)
SMALL = {"widths": [8, 12], "blocks": [1, 1]}


def waves(edge: int = 64, length: float = 10) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.arange(edge)] * 3, indexing="ij")
    return (0.5 + 0.4 * np.sin(2 * np.pi * (x + y + z) / length)).astype(np.float32)


class Recorder(torch.nn.Module):
    """Stands for a network: keeps what it was given, answers with linear interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def forward(self, given, depths, log2_gap):
        self.seen.append((given, depths, log2_gap))
        if given.ndim == 3:
            return linear_rows(given, depths)
        return linear_base(given[:, 1], given[:, 2], depths)


@pytest.mark.parametrize("contract", ["rows", "sequence"])
@pytest.mark.parametrize(
    "variety",
    [
        PLAIN,
        Variety(gaps=(2, 12), coarser=1, noisy=0, gamma=0, inverted=0),
        Variety(gaps=(2, 12), coarser=0, noisy=0, gamma=0, inverted=1),
    ],
    ids=["plain", "coarser", "inverted"],
)
def test_a_ramp_is_asked_for_what_linear_interpolation_answers(contract, variety):
    """Any shift between what is given and what is asked would leave a loss."""
    z, y, x = np.meshgrid(*[np.arange(60.0)] * 3, indexing="ij")
    ramp = ((x + 2 * y + 3 * z) / 360).astype(np.float32)
    task = SupervisedTask([ramp], contract, SHORT, variety, held_out_rows=20)
    for seed in range(12):
        loss = task.loss(Recorder(), np.random.default_rng(seed)).item()
        assert loss < 1e-5


@pytest.mark.parametrize("contract", ["rows", "sequence"])
def test_noise_is_given_but_not_asked_for(contract):
    flat = np.full((60, 60, 60), 0.5, np.float32)
    noisy = Variety(gaps=(4, 4), coarser=0, gamma=0, inverted=0, noisy=1)
    for variety, has_noise in ((PLAIN, False), (noisy, True)):
        task = SupervisedTask([flat], contract, SHORT, variety, held_out_rows=20)
        network = Recorder()
        torch.manual_seed(0)
        loss = task.loss(network, np.random.default_rng(0)).item()
        given = network.seen[0][0][0]
        assert (float(given.std()) > 0.005) == has_noise
        # Linear interpolation averages noise: what is left is less than what was given.
        assert loss < 0.08**2
        assert (loss > 1e-6) == has_noise


def test_gaps_are_told_in_the_pixels_that_the_network_sees():
    variety = Variety(gaps=(2, 12), coarser=1, gamma=0, inverted=0, noisy=0)
    task = SupervisedTask([waves()], "sequence", SHORT, variety, held_out_rows=16)
    network = Recorder()
    for seed in range(40):
        task.loss(network, np.random.default_rng(seed))
    gaps = np.array([2 ** float(g[0]) for _, _, g in network.seen])
    assert gaps.min() < 3 < 8 < gaps.max() < 13
    assert np.abs(gaps - gaps.round()).max() > 0.1  # not whole numbers only


def test_rows_kept_back_take_no_part():
    truth = waves()
    truth[:, -16:] = np.nan
    task = SupervisedTask([truth], "sequence", SHORT, PLAIN, held_out_rows=16)
    for seed in range(20):
        assert math.isfinite(task.loss(Recorder(), np.random.default_rng(seed)).item())
    assert math.isnan(task.validate(Recorder())["score"])


@pytest.mark.parametrize("contract", ["rows", "sequence"])
def test_linear_interpolation_gains_nothing(contract):
    task = SupervisedTask([waves()], contract, SHORT, PLAIN, held_out_rows=16, judged_gaps=(3, 5))
    assert task.validate(Recorder()) == {"score": 0, "gap 3": 0, "gap 5": 0}


def test_sequences_and_rows_leave_out_the_same_slices():
    volume = torch.rand(21, 6, 7)
    sequences, rows = all_sequences(volume, 5), rows_of(volume, 5)
    assert sequences.slices.shape == (4, 4, 6, 7)
    assert rows.rows.shape == (6, 5, 7)
    assert torch.equal(sequences.slices[:, 1], volume[[0, 5, 10, 15]])
    assert torch.equal(sequences.slices[0, 0], volume[0])  # replicated at the end
    assert torch.equal(sequences.truth[2, 1], volume[12])
    assert torch.equal(rows.truth[3, 2, 1], volume[12, 3])


@pytest.mark.parametrize(("name", "contract"), [("lateral", "rows"), ("aenet-fast", "sequence")])
def test_it_is_learned(tmp_path, name, contract):
    torch.manual_seed(0)
    network = build_network(name, SMALL)
    task = SupervisedTask(
        [waves(), waves(length=13)], contract, SHORT, PLAIN, held_out_rows=16, judged_gaps=(4,)
    )
    run = fit(
        network,
        task,
        SHORT,
        seed=0,
        device=torch.device("cpu"),
        state_path=tmp_path / "state",
        identity="",
    )
    for _ in run:
        pass
    with torch.no_grad():
        assert task.validate(network)["score"] > 1
    assert set(task.preview(network)) == {"prediction"}
