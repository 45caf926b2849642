"""The one training loop: every network of the house is fitted by it.

The random numbers of a step depend on (seed, step) alone, so a run that was killed and
resumed from its last state goes on exactly as if nothing had happened.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator as Random
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_d2r.errors import TrainingError
from napari_d2r.jobs import (
    TRAINING_LOSS,
    VALIDATION_GAIN,
    CancelToken,
    CheckpointSaved,
    Event,
    OptimizerSettings,
    Outcome,
    Preview,
    Progress,
    Scalars,
)
from napari_d2r.models import training_type
from napari_d2r.training._muon import Muon
from napari_d2r.training._ranks import ALONE, Ranks
from napari_d2r.training._state import Counters, load_state, save_state

REPORT_EVERY_S, SAVE_EVERY_S = 0.4, 30.0
MAX_CONSECUTIVE_SKIPS = 10
_DOUBLED_EVERY = 1000  # steps without an overflow


class Task(Protocol):
    """What a network is trained to do."""

    def loss(self, network: nn.Module, rng: Random) -> Tensor:
        """The loss of one freshly drawn batch."""
        ...

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Named scores on held-out data; ``score`` among them, higher is better."""
        ...

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        """Small pictures of a held-out example."""
        ...


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a training ended; when completed, ``scores`` are those of the weights it left."""

    outcome: Outcome
    scores: Mapping[str, float]
    steps: int
    elapsed_s: float


def fit(
    network: nn.Module,
    task: Task,
    settings: OptimizerSettings,
    *,
    seed: int,
    device: torch.device,
    state_path: Path,
    identity: str,
    max_seconds: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    resume: bool = False,
    cancel: CancelToken | None = None,
    ranks: Ranks = ALONE,
) -> Generator[Event, None, FitResult]:
    """Train ``network`` in place; at the end it holds its best averaged weights.

    The budget is ``settings.max_steps`` or ``max_seconds`` by ``clock``, whichever comes first;
    the learning rate follows the fraction of the budget that is used up. The generator
    returns a `FitResult` (``result = yield from fit(...)``).

    Of several ``ranks`` each computes its part of every batch. The slowest clock counts, all stop
    at the same step, and the first saves the state, which all must see where they resume. A task
    must reach the parameters through the answers of the network alone.

    Raises
    ------
    TrainingError
        When the loss is not finite ten steps in a row, or another rank is gone.
    """
    run = _Run(network.to(device), settings, identity, state_path, ranks)
    if resume and state_path.exists():
        run.restore(device)
    ranks.require_same(run.counters.step, "checkpoint")
    began = clock() - run.counters.elapsed_s
    last_report = last_save = time.perf_counter()
    scores: Mapping[str, float] = {}
    skips_in_a_row = 0
    while not run.counters.finished:
        run.counters.elapsed_s, is_asked_to_stop = ranks.most(clock() - began, bool(cancel))
        fraction = _fraction(run.counters, settings.max_steps, max_seconds)
        if fraction >= 1:
            run.counters.finished = True
            break
        if is_asked_to_stop:
            break
        step = run.counters.step
        loss = run.step(task, np.random.default_rng([seed, step]), fraction, device, seed)
        skips_in_a_row = 0 if loss is not None else skips_in_a_row + 1
        if skips_in_a_row >= MAX_CONSECUTIVE_SKIPS:
            raise TrainingError(
                f"The loss was not finite {MAX_CONSECUTIVE_SKIPS} steps in a row at step {step}; "
                "lower the learning rate or check the volume for extreme values."
            )
        if run.counters.step % settings.validate_every == 0:
            scores = run.validate(task)
            yield _scalars(run.counters.step, scores)
            yield Preview(run.counters.step, task.preview(run.average))
        now = time.perf_counter()
        if loss is not None and now - last_report > REPORT_EVERY_S:
            last_report = now
            elapsed = run.counters.elapsed_s
            left = elapsed * (1 - fraction) / fraction if fraction > 0.005 else None
            yield Progress(fraction, 1.0, "of the budget", eta_s=left)
            yield Scalars(run.counters.step, {TRAINING_LOSS: loss})
        if now - last_save > SAVE_EVERY_S:
            last_save = now
            run.save()
            yield CheckpointSaved(state_path, run.counters.step)
    if run.counters.finished:
        scores = run.validate(task)
        yield _scalars(run.counters.step, scores)
    run.save()
    yield CheckpointSaved(state_path, run.counters.step)
    run.leave_best_weights()
    if run.counters.finished and scores["score"] < run.counters.best_score:
        with torch.no_grad():  # an earlier average was better: its own scores go with it
            scores = task.validate(network)
    outcome = Outcome.COMPLETED if run.counters.finished else Outcome.CANCELLED
    return FitResult(outcome, scores, run.counters.step, run.counters.elapsed_s)


class _Run:
    """Weights, their average, the best average, the optimiser and the counters."""

    def __init__(
        self,
        network: nn.Module,
        settings: OptimizerSettings,
        identity: str,
        state_path: Path,
        ranks: Ranks,
    ) -> None:
        self.network, self.settings, self.state_path = network, settings, state_path
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.best = copy.deepcopy(self.average)
        self.ranks, self.shared = ranks, ranks.sharing(network)
        self.parameters = list(network.parameters())
        self.optimizer = make_optimizer(self.parameters, settings)
        self.counters = Counters(identity)

    def step(
        self, task: Task, rng: Random, fraction: float, device: torch.device, seed: int
    ) -> float | None:
        """One optimiser step; None when it was skipped because something was not finite."""
        torch.manual_seed(seed * 1_000_003 + self.counters.step)
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self._rate(fraction)
        dtype = training_type(device)  # weights, their average and the optimiser are in float32
        with nullcontext() if dtype is None else torch.autocast(device.type, dtype):
            loss = task.loss(self.shared, rng)
        self.optimizer.zero_grad(set_to_none=True)
        scale = self.counters.loss_scale if dtype is torch.float16 else 1.0
        (scale * loss).backward()  # small gradients would vanish in float16
        self.ranks.add_up_gradients(self.parameters)
        if scale != 1:
            torch._foreach_div_([p.grad for p in self.parameters if p.grad is not None], scale)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        self.counters.step += 1
        is_sound = bool(torch.isfinite(loss) & torch.isfinite(norm))
        if dtype is torch.float16:
            self._adapt_loss_scale(is_sound)
        if not is_sound:
            self.counters.skipped += 1
            return None
        self.optimizer.step()
        self._update_average()
        return loss.item()

    def _adapt_loss_scale(self, is_sound: bool) -> None:
        """As large as float16 bears: halved when gradients overflow, else doubled at times."""
        counters = self.counters
        counters.sound_steps = counters.sound_steps + 1 if is_sound else 0
        if not is_sound:
            counters.loss_scale = max(1.0, counters.loss_scale / 2)
        elif counters.sound_steps % _DOUBLED_EVERY == 0:
            counters.loss_scale *= 2

    def _rate(self, fraction: float) -> float:
        warm_up = min(1.0, (self.counters.step + 1) / self.settings.warmup_steps)
        if self.settings.schedule == "plateau":
            return warm_up * self.counters.rate_scale
        return warm_up * 0.5 * (1 + math.cos(math.pi * fraction))

    @torch.no_grad()
    def _update_average(self) -> None:
        step = self.counters.step
        decay = min(self.settings.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(tuple(self.average.parameters()), tuple(self.parameters), 1 - decay)
        for ours, theirs in zip(self.average.buffers(), self.network.buffers(), strict=True):
            ours.copy_(theirs)

    def validate(self, task: Task) -> Mapping[str, float]:
        with torch.no_grad():
            scores = task.validate(self.average)
        scores = dict(zip(scores, self.ranks.most(*scores.values()), strict=True))
        if scores["score"] > self.counters.best_score:
            self.counters.best_score = scores["score"]
            self.counters.stale_validations = 0
            self.best.load_state_dict(self.average.state_dict())
        else:
            self.counters.stale_validations += 1
            if self.counters.stale_validations >= self.settings.patience:
                self.counters.stale_validations = 0
                self.counters.rate_scale /= 2
        return scores

    def leave_best_weights(self) -> None:
        validated = math.isfinite(self.counters.best_score)
        self.network.load_state_dict((self.best if validated else self.average).state_dict())
        self.network.eval()

    def save(self) -> None:
        if not self.ranks.is_first:
            return
        tensors = {
            f"{part}/{name}": tensor
            for part, module in self._modules().items()
            for name, tensor in module.state_dict().items()
        }
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": value for key, value in values.items()}
        save_state(self.state_path, self.counters, tensors)

    def restore(self, device: torch.device) -> None:
        self.counters, tensors = load_state(self.state_path, self.counters.identity, device)
        for part, module in self._modules().items():
            prefix = f"{part}/"
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer/"):
                _, index, key = name.split("/")
                # A count is read at every step, for which a GPU would have to be waited for.
                state.setdefault(int(index), {})[key] = tensor.cpu() if key == "step" else tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average, "best": self.best}


def make_optimizer(
    parameters: list[nn.Parameter], settings: OptimizerSettings
) -> torch.optim.Optimizer:
    """The optimiser that the settings name."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.method == "muon":
        return Muon(parameters, lr=rate, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=decay)


def _scalars(step: int, scores: Mapping[str, float]) -> Scalars:
    """For curves the score goes by a name that is the same in every stage."""
    return Scalars(step, {VALIDATION_GAIN if k == "score" else k: v for k, v in scores.items()})


def _fraction(counters: Counters, max_steps: int | None, max_seconds: float | None) -> float:
    by_steps = counters.step / max_steps if max_steps else 0.0
    by_time = counters.elapsed_s / max_seconds if max_seconds else 0.0
    return max(by_steps, by_time)
