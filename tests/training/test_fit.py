"""The training loop: it learns, it can be stopped and resumed exactly, it guards itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_d2r.errors import InputError, TrainingError
from napari_d2r.jobs import (
    TRAINING_LOSS,
    VALIDATION_GAIN,
    CancelToken,
    CheckpointSaved,
    Event,
    OptimizerSettings,
    Outcome,
    Preview,
    PriorSettings,
    Progress,
    Scalars,
    StudentSettings,
)
from napari_d2r.models import build_network
from napari_d2r.training import (
    DiffusionTask,
    FitResult,
    LateralTask,
    SequenceTask,
    Task,
    fit,
)
from napari_d2r.training import _loop as loop
from napari_d2r.training._state import load_state

CPU = torch.device("cpu")


class Toy(nn.Module):
    """Three weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


class ToyTask:
    """Fit three numbers that are seen through noise; scores are given or measured.

    ``on_step`` is called with the number of the step before each loss and may give a loss.
    """

    def __init__(
        self,
        scores: Callable[[int], float] | None = None,
        on_step: Callable[[int, nn.Module], Tensor | None] = lambda step, network: None,
    ) -> None:
        self.scores, self.on_step = scores, on_step
        self.step = self.validations = 0

    def loss(self, network: nn.Module, rng: np.random.Generator) -> Tensor:
        instead = self.on_step(self.step, network)
        self.step += 1
        if instead is not None:
            return instead
        noise = torch.from_numpy(rng.normal(0, 0.1, 3)).float()
        return (network.weight - torch.tensor([1.0, -2.0, 3.0]) - noise).square().mean()

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        self.validations += 1
        error = (network.weight - torch.tensor([1.0, -2.0, 3.0])).square().mean()
        score = -float(error) if self.scores is None else self.scores(self.validations)
        return {"score": score, "first weight": float(network.weight[0])}

    def preview(self, network: nn.Module) -> Mapping[str, np.ndarray]:
        return {"weights": network.weight.detach().numpy()[None]}


def optimizer(**changes: object) -> OptimizerSettings:
    fields = {"max_steps": 20, "warmup_steps": 1, "validate_every": 5, "learning_rate": 0.1}
    return OptimizerSettings(**(fields | changes))


def drain(run: Generator[Event, None, FitResult]) -> tuple[list[Event], FitResult]:
    events = []
    while True:
        try:
            events.append(next(run))
        except StopIteration as end:
            return events, end.value


def fitted(
    task: Task, folder: Path, settings: OptimizerSettings, network: nn.Module | None = None, **more
) -> tuple[nn.Module, list[Event], FitResult]:
    torch.manual_seed(0)
    network = network or Toy()
    more = {"seed": 3, "device": CPU, "identity": "toy"} | more
    events, result = drain(fit(network, task, settings, state_path=folder / "state", **more))
    return network, events, result


def require_equal(one: nn.Module, other: nn.Module) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


# What it does


def test_it_learns(tmp_path):
    settings = optimizer(max_steps=300, ema_decay=0.9)
    network, events, result = fitted(ToyTask(), tmp_path, settings)
    assert network.weight.detach().numpy() == pytest.approx([1, -2, 3], abs=0.05)
    told = [event.values for event in events if isinstance(event, Scalars)]
    scores = [values[VALIDATION_GAIN] for values in told if VALIDATION_GAIN in values]
    assert scores[0] < -1
    assert scores[-1] > -0.01
    assert (result.outcome, result.steps) == (Outcome.COMPLETED, 300)
    assert not network.training


def test_events_come_in_their_grammar(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "REPORT_EVERY_S", 0)
    _, events, result = fitted(ToyTask(), tmp_path, optimizer())
    assert {type(e) for e in events} == {Scalars, Preview, Progress, CheckpointSaved}
    validated = [e.step for e in events if isinstance(e, Scalars) and VALIDATION_GAIN in e.values]
    assert validated == [5, 10, 15, 20, 20]
    assert [e.step for e in events if isinstance(e, Preview)] == [5, 10, 15, 20]
    losses = [e.step for e in events if isinstance(e, Scalars) and TRAINING_LOSS in e.values]
    assert losses == list(range(1, 21))
    progress = [e for e in events if isinstance(e, Progress)]
    assert [e.done for e in progress] == pytest.approx([step / 20 for step in range(20)])
    assert all(e.total == 1 for e in progress)
    assert progress[0].eta_s is None
    assert all(e.eta_s >= 0 for e in progress[1:])
    assert events[-1] == CheckpointSaved(tmp_path / "state", 20)
    assert isinstance(result, FitResult)


def test_another_clock_counts_the_time(tmp_path):
    tick = iter(range(100))
    settings = optimizer(max_steps=None)
    _, _, result = fitted(
        ToyTask(), tmp_path, settings, max_seconds=4, clock=lambda: float(next(tick))
    )
    assert (result.steps, result.elapsed_s) == (3, 4)


def test_a_time_budget_ends_it(tmp_path):
    _, _, result = fitted(ToyTask(), tmp_path, optimizer(max_steps=None), max_seconds=0.2)
    assert result.outcome is Outcome.COMPLETED
    assert result.steps > 1
    assert 0.2 <= result.elapsed_s < 2


def test_the_best_average_is_left_behind_with_its_own_scores(tmp_path):
    def second_is_best(validation: int) -> float:
        return [0.0, 7.0, 3.0, 2.0, 1.0, 7.0][validation - 1]

    seen = {}

    class Watching(ToyTask):
        def validate(self, network: nn.Module) -> Mapping[str, float]:
            seen[self.validations + 1] = network.weight.clone()
            return super().validate(network)

    network, _, result = fitted(Watching(second_is_best), tmp_path, optimizer())
    assert torch.equal(network.weight, seen[2])
    assert not torch.equal(network.weight, seen[5])
    assert result.scores == {"score": 7.0, "first weight": float(seen[2][0])}


def test_the_learning_rate_warms_up_and_falls_to_zero(tmp_path):
    """Under a constant gradient, Adam walks one learning rate per step."""
    steps = rates(tmp_path, optimizer(warmup_steps=4, clip_norm=1e9))
    expected = [
        0.1 * min(1, (n + 1) / 4) * 0.5 * (1 + math.cos(math.pi * n / 20)) for n in range(20)
    ]
    assert steps == pytest.approx(expected, rel=1e-3)


def test_a_plateau_halves_the_learning_rate(tmp_path):
    """Scores stall after the first validation; two stale ones halve."""
    settings = optimizer(schedule="plateau", patience=2, max_steps=32, validate_every=4)
    steps = rates(tmp_path, settings, lambda validation: 1.0)
    assert steps == pytest.approx([0.1] * 12 + [0.05] * 8 + [0.025] * 8 + [0.0125] * 4, rel=1e-3)


def test_progress_keeps_the_learning_rate_on_a_plateau_schedule(tmp_path):
    settings = optimizer(schedule="plateau", patience=2, max_steps=32, validate_every=4)
    steps = rates(tmp_path, settings, float)
    assert steps == pytest.approx([0.1] * 32, rel=1e-3)


def rates(
    folder: Path, settings: OptimizerSettings, scores: Callable[[int], float] | None = None
) -> list[float]:
    walked = []

    def constant(step: int, network: nn.Module) -> Tensor:
        walked.append(float(network.weight.detach()[0]))
        return -network.weight.sum()

    network = Toy()
    fitted(ToyTask(scores, constant), folder, settings, network)
    _, tensors = load_state(folder / "state", "toy", CPU)
    return np.diff([*walked, float(tensors["network/weight"][0])]).tolist()


# Stopping and going on


def patterned(seed: int = 0) -> Tensor:
    """(12, 40, 36): curved stripes that linear interpolation blurs."""
    z, y, x = torch.meshgrid(*(torch.arange(n).float() for n in (12, 40, 36)), indexing="ij")
    phase = 2 * math.pi * (x / 7 + y / 9 + z / 5) + torch.sin(y / 6) + seed
    return 0.5 + 0.4 * torch.sin(phase)


def lateral() -> tuple[nn.Module, Task, OptimizerSettings]:
    settings = PriorSettings(
        optimizer=optimizer(batch=4, learning_rate=0.01), num_gaps=3, columns=16
    )
    network = build_network("lateral", {"widths": [6, 8], "blocks": [1, 1]})
    return network, LateralTask(patterned(), 4, settings), settings.optimizer


def diffusion() -> tuple[nn.Module, Task, OptimizerSettings]:
    settings = PriorSettings(
        optimizer=optimizer(batch=2, learning_rate=0.01), num_gaps=3, columns=16
    )
    options = {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]}
    return (
        build_network("nafnet", options),
        DiffusionTask(patterned(), 4, settings),
        settings.optimizer,
    )


def sequence() -> tuple[nn.Module, Task, OptimizerSettings]:
    settings = StudentSettings(optimizer=optimizer(batch=4, learning_rate=0.01), crop=16)
    network = build_network("aenet-fast", {"widths": [6, 8], "blocks": [1, 1]})
    volume = patterned()
    task = SequenceTask(volume.repeat_interleave(4, 0)[:45], volume, 4, settings)
    return network, task, settings.optimizer


class CancelAt:
    """A task that sets the token in the middle of step ``step``."""

    def __init__(self, task: Task, token: CancelToken, step: int) -> None:
        self.task, self.token, self.left = task, token, step
        self.validate, self.preview = task.validate, task.preview

    def loss(self, network: nn.Module, rng: np.random.Generator) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.token.cancel()
        return self.task.loss(network, rng)


@pytest.mark.parametrize("make", [lateral, diffusion, sequence])
@pytest.mark.parametrize("step", [1, 5, 13])
def test_cancelled_and_resumed_equals_uninterrupted_bit_by_bit(tmp_path, make, step):
    torch.manual_seed(0)
    network, task, settings = make()
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    whole, _, complete = fitted(task, tmp_path / "whole", settings, network)

    torch.manual_seed(0)
    network, task, settings = make()
    token = CancelToken()
    _, events, partial = fitted(
        CancelAt(task, token, step), tmp_path / "parts", settings, network, cancel=token
    )
    assert (partial.outcome, partial.steps) == (Outcome.CANCELLED, step)
    assert events[-1] == CheckpointSaved(tmp_path / "parts" / "state", step)

    torch.manual_seed(99)  # a new process has other weights and another random state
    network, task, settings = make()
    resumed, _, result = fitted(task, tmp_path / "parts", settings, network, resume=True)
    assert (result.outcome, result.steps) == (Outcome.COMPLETED, complete.steps)
    assert result.scores == complete.scores
    require_equal(resumed, whole)
    assert any(not torch.equal(start[name], tensor) for name, tensor in whole.state_dict().items())


def test_a_kill_loses_only_what_was_done_since_the_last_save(tmp_path, monkeypatch):
    whole, _, _ = fitted(ToyTask(), tmp_path / "whole", optimizer())
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0)
    killed = fit(
        Toy(),
        ToyTask(),
        optimizer(),
        seed=3,
        device=CPU,
        state_path=tmp_path / "parts" / "state",
        identity="toy",
    )
    saves = (event for event in killed if isinstance(event, CheckpointSaved))
    assert [event.step for event in itertools.islice(saves, 7)] == [1, 2, 3, 4, 5, 6, 7]
    killed.close()  # no clean end: nothing is written any more
    assert load_state(tmp_path / "parts" / "state", "toy", CPU)[0].step == 7
    resumed, _, result = fitted(ToyTask(), tmp_path / "parts", optimizer(), resume=True)
    assert result.steps == 20
    require_equal(resumed, whole)


def test_a_finished_run_is_not_trained_again(tmp_path):
    network, _, _ = fitted(ToyTask(), tmp_path, optimizer())
    task = ToyTask()
    again, _, result = fitted(task, tmp_path, optimizer(), resume=True)
    assert task.step == 0
    assert (result.outcome, result.steps) == (Outcome.COMPLETED, 20)
    require_equal(again, network)


def test_without_resume_it_starts_anew(tmp_path):
    fitted(ToyTask(), tmp_path, optimizer())
    task = ToyTask()
    fitted(task, tmp_path, optimizer())
    assert task.step == 20


def test_seeds_differ_and_repeat(tmp_path):
    runs = [
        fitted(ToyTask(), tmp_path / str(n), optimizer(), seed=seed)[0]
        for n, seed in enumerate((1, 1, 2))
    ]
    require_equal(runs[0], runs[1])
    assert not torch.equal(runs[0].weight, runs[2].weight)


def test_the_state_of_another_run_is_refused(tmp_path):
    fitted(ToyTask(), tmp_path, optimizer())
    with pytest.raises(InputError, match="another input or with other settings") as caught:
        fitted(ToyTask(), tmp_path, optimizer(), identity="other", resume=True)
    assert "\n" not in str(caught.value)


def corrupt(blob: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "cut": blob[:-20],
        "cut in the header": blob[:60],
        "noise": bytes(range(256)) * 8,
        "header": blob[:8] + b"\xff" * 20 + blob[28:],
    }


@pytest.mark.parametrize("damage", corrupt(b""))
def test_a_corrupt_state_is_refused(tmp_path, damage):
    fitted(ToyTask(), tmp_path, optimizer())
    path = tmp_path / "state"
    path.write_bytes(corrupt(path.read_bytes())[damage])
    with pytest.raises(InputError, match="not a training state of this program"):
        fitted(ToyTask(), tmp_path, optimizer(), resume=True)


def test_weights_without_counters_are_no_state(tmp_path):
    from safetensors.torch import save_file

    save_file({"network/weight": torch.zeros(3)}, tmp_path / "state")
    with pytest.raises(InputError, match="not a training state of this program"):
        fitted(ToyTask(), tmp_path, optimizer(), resume=True)


# Guarding itself


def test_steps_that_are_not_finite_are_skipped(tmp_path):
    def sometimes(step: int, network: nn.Module) -> Tensor | None:
        return network.weight.sum() * math.nan if step % 4 == 1 else None

    network, _, result = fitted(
        ToyTask(on_step=sometimes), tmp_path, optimizer(max_steps=200, ema_decay=0.9)
    )
    assert result.steps == 200
    assert network.weight.detach().numpy() == pytest.approx([1, -2, 3], abs=0.1)
    assert load_state(tmp_path / "state", "toy", CPU)[0].skipped == 50


def test_a_gradient_that_is_not_finite_is_skipped_too(tmp_path):
    def root(step: int, network: nn.Module) -> Tensor | None:
        return (
            (network.weight - network.weight.detach()).square().sum().sqrt() if step == 3 else None
        )

    network, _, _ = fitted(ToyTask(on_step=root), tmp_path, optimizer())
    assert torch.isfinite(network.weight).all()
    assert load_state(tmp_path / "state", "toy", CPU)[0].skipped == 1


@pytest.mark.parametrize(("bad", "ends"), [(9, False), (10, True)])
def test_ten_in_a_row_end_it(tmp_path, bad, ends):
    def streak(step: int, network: nn.Module) -> Tensor | None:
        return network.weight.sum() * math.inf if 4 <= step < 4 + bad else None

    task = ToyTask(on_step=streak)
    if not ends:
        assert fitted(task, tmp_path, optimizer())[2].outcome is Outcome.COMPLETED
        return
    with pytest.raises(TrainingError, match="not finite 10 steps in a row at step 13; lower"):
        fitted(task, tmp_path, optimizer())
