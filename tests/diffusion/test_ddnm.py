"""DDNM: what was measured holds at every step, and chains of slices behave as they must."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_d2r.diffusion import (
    ChainTimes,
    NoiseSource,
    PreservingSchedule,
    RowOperator,
    falling_times,
    last,
    sample_chain,
    sample_ddnm,
)
from napari_d2r.volumes import Degradation

SCHEDULE = PreservingSchedule()
GAP, MEASURED = 8, 9
ROWS = (MEASURED - 1) * GAP + 1
KINDS = {
    "slice": Degradation(),
    "gaussian": Degradation("gaussian", sigma=4.0),
    "block": Degradation("block"),
}


def operator_of(kind: str) -> RowOperator:
    if kind == "blind":
        return RowOperator.blind(MEASURED, GAP)
    num_rows = MEASURED * GAP if kind == "block" else ROWS
    return RowOperator.of(KINDS[kind].matrix(num_rows, GAP))


def smooth(num_rows: int, seed: int = 0) -> Tensor:
    """A slice (1, 1, num_rows, 20), well within -1 to 1."""
    rows, columns = np.mgrid[:num_rows, :20] / 10
    shift = np.random.default_rng(seed).random()
    return torch.from_numpy(0.6 * np.sin(rows + shift) * np.cos(columns))[None, None].float()


def drawn(seed: int = 0) -> NoiseSource:
    generator = torch.Generator().manual_seed(seed)
    return lambda step, shape: torch.randn(shape, generator=generator)


def knows(truth: Tensor):
    """The noise predictor that knows the slice."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        signal = float(SCHEDULE.alpha_bar[int(t[0])])
        return (x - signal**0.5 * truth) / (1 - signal) ** 0.5

    return predict


def wrong(x: Tensor, t: Tensor) -> Tensor:
    """A noise predictor that is as bad as can be."""
    return torch.sin(17 * x) + 0.3


def gaussian(x: Tensor, t: Tensor) -> Tensor:
    """The exact noise predictor of slices drawn from N(0, 1/4)."""
    signal = float(SCHEDULE.alpha_bar[int(t[0])])
    return (1 - signal) ** 0.5 / (signal / 4 + 1 - signal) * x


@pytest.mark.parametrize("kind", ["slice", "gaussian", "block", "blind"])
def test_the_operator_and_its_inverse(kind: str) -> None:
    operator = operator_of(kind)
    there, back = operator.forward.double(), operator.inverse.double()
    assert there.shape == back.T.shape
    torch.testing.assert_close(there @ back @ there, there, atol=1e-6, rtol=0)
    torch.testing.assert_close(there @ back, torch.eye(MEASURED).double(), atol=1e-5, rtol=0)
    if kind != "blind":  # which is no pseudo-inverse: its projector is oblique
        torch.testing.assert_close(back @ there, (back @ there).T, atol=1e-6, rtol=0)


def test_small_singular_values_are_cut() -> None:
    """A blur so wide that slices tell almost the same: their noise is not blown up."""
    matrix = Degradation("gaussian", sigma=12.0).matrix(ROWS, GAP)
    operator = RowOperator.of(matrix)
    assert np.linalg.cond(matrix) > 1e3
    assert float(torch.linalg.matrix_norm(operator.inverse, 2)) < 1.01e3 / np.linalg.norm(matrix, 2)


def test_blind_is_linear_interpolation() -> None:
    operator = RowOperator.blind(3, 4)
    y = torch.tensor([0.0, 4.0, 2.0])[:, None]
    filled = operator.inverse @ y
    assert filled[:, 0].tolist() == [0, 1, 2, 3, 4, 3.5, 3, 2.5, 2]


@pytest.mark.parametrize("kind", ["slice", "gaussian", "block", "blind"])
def test_what_was_measured_holds_at_every_step(kind: str) -> None:
    operator = operator_of(kind)
    y = operator.forward @ smooth(operator.forward.shape[1])
    start = torch.randn(1, 1, operator.forward.shape[1], 20)
    times = falling_times(1000, 25)
    steps = list(
        sample_ddnm(wrong, operator, y, start, SCHEDULE, times, drawn(), clamp=(-1.5, 1.5))
    )
    assert len(steps) == 25
    for step in steps:
        assert float((operator.forward @ step.x0 - y).abs().max()) < 1e-5
    if kind == "slice":
        assert torch.equal(steps[-1].x[..., ::GAP, :], y)


@pytest.mark.parametrize("kind", ["slice", "gaussian", "block", "blind"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_who_knows_the_slice_recovers_it(kind: str, eta: float) -> None:
    operator = operator_of(kind)
    truth = smooth(operator.forward.shape[1])
    steps = sample_ddnm(
        knows(truth),
        operator,
        operator.forward @ truth,
        torch.randn_like(truth),
        SCHEDULE,
        falling_times(1000, 30),
        drawn(),
        eta=eta,
        clamp=(-1.5, 1.5),
    )
    torch.testing.assert_close(last(steps), truth, atol=1e-4, rtol=0)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_step_adds_as_much_fresh_noise_as_eta_says(eta: float) -> None:
    """Song et al. 2021, eq. 12 and 16, with the estimate that agrees with what was measured."""
    operator = operator_of("slice")
    start, y = torch.randn(1, 1, ROWS, 20), operator.forward @ smooth(ROWS)
    steps = sample_ddnm(gaussian, operator, y, start, SCHEDULE, (400, 200, 0), drawn(), eta=eta)
    first, _ = steps
    before, after = SCHEDULE.alpha_bar[[400, 200]]
    spread = eta * math.sqrt((1 - after) / (1 - before) * (1 - before / after))
    predicted = gaussian(start, torch.tensor([400]))
    kept = math.sqrt(after) * first.x0 + math.sqrt(1 - after - spread**2) * predicted
    fresh = drawn()(1, tuple(start.shape))
    torch.testing.assert_close(first.x, kept + spread * fresh, atol=1e-5, rtol=0)


def chain(slices: list[Tensor], operator: RowOperator, times: ChainTimes, **keep) -> list[Tensor]:
    keep = {"predict": gaussian, "eta": 1.0, "noise": drawn} | keep
    predict, noise = keep["predict"], keep["noise"]
    return list(sample_chain(predict, operator, slices, SCHEDULE, times, noise, eta=keep["eta"]))


@pytest.mark.parametrize("kind", ["slice", "gaussian", "blind"])
def test_identical_neighbours_without_noise_reproduce_the_slice(kind: str) -> None:
    """The better, the finer the steps are; what the encoding forgets, nothing puts back."""
    operator = operator_of(kind)
    y = operator.forward @ smooth(ROWS)
    changes = []
    for steps in (10, 200):
        fall = falling_times(200, steps)
        times = ChainTimes(falling_times(1000, 20), fall[::-1], fall)
        first, second, third = chain([y, y, y], operator, times, eta=0.0)
        changes.append(float((second - first).abs().max()))
        assert float((third - second).abs().max()) <= changes[-1]
    assert changes[1] < 0.005
    assert changes[1] < changes[0]


def test_a_chain_keeps_what_its_first_slice_drew() -> None:
    """Without a slice to follow, each draws its own; that is what the encoding is for."""
    operator = operator_of("slice")
    y = operator.forward @ smooth(ROWS)
    fall = falling_times(200, 10)
    times = ChainTimes(falling_times(1000, 20), falling_times(200, 4)[::-1], fall)
    sources = [drawn(seed) for seed in range(2)]
    followed, second = chain([y, y], operator, times, noise=sources.__getitem__)
    [alone] = chain([y], operator, times, noise=lambda _: drawn(1))
    hidden = torch.arange(ROWS) % GAP != 0
    difference = [float((other - followed)[..., hidden, :].std()) for other in (second, alone)]
    assert difference[0] < 0.8 * difference[1]
