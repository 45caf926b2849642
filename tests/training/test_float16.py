"""Learning in float16, as on older GPUs: small gradients do not vanish, too large ones are skipped.

On the processor, which is told that it is such a device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_d2r.jobs import OptimizerSettings
from napari_d2r.training import _loop as loop
from napari_d2r.training import fit
from napari_d2r.training._state import Counters, load_state

CPU = torch.device("cpu")


class Weights(nn.Module):
    """Three of them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


class Given:
    """A loss whose gradient passes through float16."""

    def __init__(self, loss: Callable[[Tensor], Tensor]) -> None:
        self._loss = loss

    def loss(self, network: nn.Module, rng: np.random.Generator) -> Tensor:
        return self._loss(network.weight.half())

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        return {"score": 0.0}

    def preview(self, network: nn.Module) -> Mapping[str, np.ndarray]:
        return {}


@pytest.fixture(autouse=True)
def learns_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "training_type", lambda _: torch.float16)


def trained(
    loss: Callable[[Tensor], Tensor], folder: Path, steps: int
) -> tuple[nn.Module, Counters]:
    settings = OptimizerSettings(
        max_steps=steps, warmup_steps=1, validate_every=1000, learning_rate=0.1
    )
    network, state = Weights(), folder / "state"
    for _ in fit(network, Given(loss), settings, seed=0, device=CPU, state_path=state, identity=""):
        pass
    return network, load_state(state, "", CPU)[0]


def test_a_gradient_below_what_float16_can_hold_is_learned_from(tmp_path: Path) -> None:
    network, counters = trained(lambda half: half.float().sum() * 1e-8, tmp_path, 3)
    assert torch.tensor(1e-8).half() == 0
    np.testing.assert_allclose(network.weight.grad, 1e-8, rtol=1e-3)
    assert (network.weight < -0.01).all()
    assert counters.skipped == 0


def test_an_overflow_is_skipped_and_the_next_step_is_scaled_less(tmp_path: Path) -> None:
    network, counters = trained(lambda half: half.float().sum() * 16, tmp_path, 6)
    assert counters.skipped == 3  # 16 x 2^14, 2^13 and 2^12 are more than float16 holds
    assert counters.loss_scale == 2**11
    assert (network.weight < -0.01).all()


def test_it_is_scaled_more_after_a_while_without_an_overflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_DOUBLED_EVERY", 2)
    assert trained(lambda half: half.float().sum(), tmp_path, 2)[1].loss_scale == 2**15
