"""A prior without a condition: it learns noise, and is judged by what it restores."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_d2r.diffusion import PreservingSchedule
from napari_d2r.errors import InputError
from napari_d2r.jobs import OptimizerSettings, PriorSettings
from napari_d2r.models import build_network
from napari_d2r.training import UnconditionalTask
from napari_d2r.training._tasks import held_out_slices

SETTINGS = PriorSettings(prediction="noise", optimizer=OptimizerSettings(batch=8), columns=16)


def grey(level: float = 0.7) -> Tensor:
    return torch.full((12, 40, 36), level)


class KnowsTheLevel(nn.Module):
    """The noise of slices that are grey all over."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.clean, self.fed = 2 * level - 1, []

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.fed.append((x.shape, t))
        signal = torch.tensor(PreservingSchedule().alpha_bar)[t.long()][:, None, None, None].to(x)
        return (x - signal.sqrt() * self.clean) / (1 - signal).sqrt()


def test_the_target_is_the_noise_at_any_time() -> None:
    task, network = UnconditionalTask(grey(), 4, SETTINGS), KnowsTheLevel(0.7)
    for n in range(60):
        assert float(task.loss(network, np.random.default_rng(n))) < 1e-5
    assert {shape for shape, _ in network.fed} == {(8, 1, 16, 16)}
    times = torch.cat([t for _, t in network.fed])
    assert 1 <= float(times.min()) < 30
    assert 970 < float(times.max()) <= 1000
    nothing = float(task.loss(lambda x, t: torch.zeros_like(x), np.random.default_rng(0)))
    assert nothing == pytest.approx(1, abs=0.1)


def test_slices_that_judge_are_not_learned_from() -> None:
    stack = grey()
    stack[held_out_slices(len(stack))] = 0.1
    task = UnconditionalTask(stack, 4, SETTINGS)
    network = KnowsTheLevel(0.7)
    losses = [float(task.loss(network, np.random.default_rng(n))) for n in range(40)]
    assert max(losses) < 1e-5
    assert task.validate(network)["noise error"] > 0.01


def test_who_knows_the_slices_restores_them_and_finds_all_noise() -> None:
    y = torch.arange(40)[:, None] / 4
    stack = grey() + 0.2 * torch.sin(y)  # linear interpolation of every fourth row errs
    task = UnconditionalTask(stack, 4, SETTINGS)

    def knows(x: Tensor, t: Tensor) -> Tensor:
        clean = 2 * next(x0 for x0, _ in task.examples if x0.shape == x.shape) - 1
        signal = torch.tensor(PreservingSchedule().alpha_bar)[t.long()][:, None, None, None].to(x)
        return (x - signal.sqrt() * clean) / (1 - signal).sqrt()

    scores = task.validate(knows)
    assert scores["score"] == scores["one-step gain (dB)"] > 60
    assert scores["noise error"] < 1e-5
    assert task.validate(lambda x, t: torch.zeros_like(x))["score"] < 0
    pictures = task.preview(knows)
    np.testing.assert_allclose(pictures["prediction"], pictures["truth"], atol=1e-4)
    assert np.abs(pictures["linear"] - pictures["truth"]).max() > 0.01


def test_a_network_learns() -> None:
    torch.manual_seed(0)
    x = torch.arange(40) / 6
    stack = (0.5 + 0.4 * torch.sin(x)).expand(12, 40, 40)
    task = UnconditionalTask(stack, 4, SETTINGS)
    network = build_network("ddpm-unet", {"width": 8, "multipliers": [1, 2], "blocks": 1})
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(40):
        optimizer.zero_grad()
        task.loss(network, np.random.default_rng(step)).backward()
        optimizer.step()
    with torch.no_grad():
        assert task.validate(network.eval())["noise error"] < 0.5
    assert math.isfinite(sum(p.sum().item() for p in network.parameters()))


def test_another_prediction_is_refused() -> None:
    with pytest.raises(InputError, match=r"predicts noise; set prior\.prediction to noise"):
        UnconditionalTask(grey(), 4, SETTINGS.model_copy(update={"prediction": "x0"}))
