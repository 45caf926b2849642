"""What has been told of a training so far: plain values that any view can draw."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.jobs import (
    TRAINING_LOSS,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Outcome,
    Preview,
    Progress,
    Scalars,
    StageStarted,
    Warned,
)

STAGES = (
    "Stage I: learn from lateral slices",
    "Stage II: build the pseudo-HR volume",
    "Stage III: distil into a fast network",
)
_NUMERALS = ("I", "II", "III")
_LOG_LINES = 200


@dataclass(slots=True)
class StageRecord:
    """One of the three stages; ``state`` is waiting, running, stopped, done or left out."""

    title: str
    state: str = "waiting"
    fraction: float = 0.0
    eta_s: float | None = None

    @property
    def words(self) -> str:
        """Where it is, for the bar."""
        if self.state == "stopped":
            return f"stopped at {100 * self.fraction:.0f} %"
        if self.state != "running":
            return self.state
        left = "" if self.eta_s is None else f", {duration(self.eta_s)} left"
        return f"{100 * self.fraction:.0f} %{left}"


@dataclass(slots=True)
class Curve:
    """Values of one name in one stage, by step."""

    stage: int
    name: str
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def is_loss(self) -> bool:
        """Whether it belongs with the losses, and not with the gains."""
        return self.name == TRAINING_LOSS


class TrainingRecord:
    """Takes events in and keeps what a view shows.

    ``version`` rises with each change, ``num_lines`` with each line of the log.
    """

    def __init__(self) -> None:
        self.version = self.num_lines = 0
        self.stages = [StageRecord(title) for title in STAGES]
        self.current = -1
        self.curves: dict[tuple[int, str], Curve] = {}
        self.pictures: Mapping[str, NDArray[np.float32]] = {}
        self.pictures_step = 0
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self.preparing: Progress | None = None
        self.outcome: Outcome | None = None
        self.failure: Failed | None = None
        self.result: Mapping[str, Any] | None = None

    def begin(self) -> None:
        """The child starts, for the first time or again; curves and log go on."""
        self.version += 1
        self.preparing, self.outcome, self.failure, self.current = None, None, None, -1
        for stage in self.stages:
            stage.state, stage.eta_s = "waiting", None

    def take(self, event: Event) -> None:
        """Remember what an event says."""
        self.version += 1
        match event:
            case StageStarted():
                self._on_stage(event)
            case Progress() if self.current < 0:
                self.preparing = event
            case Progress():
                stage = self.stages[self.current]
                stage.fraction = min(1.0, event.done / event.total) if event.total else 0.0
                stage.eta_s = event.eta_s
            case Scalars():
                self._on_scalars(event)
            case Preview():
                self.pictures, self.pictures_step = event.images, event.step
            case CheckpointSaved():
                self.say(f"state saved at step {event.step}")
            case Warned(finding=""):  # the findings stand above
                self.say(f"note: {event.message}")
            case Failed():
                self._leave("stopped")
                self.failure = event
                self.say(event.message)
            case Finished():
                self._on_finished(event)

    def say(self, line: str) -> None:
        """Add a line to the log."""
        self.version += 1
        self.num_lines += 1
        self.log.append(line)

    def _on_stage(self, event: StageStarted) -> None:
        numeral = event.title.partition(":")[0].removeprefix("stage ")
        index = _NUMERALS.index(numeral) if numeral in _NUMERALS else event.index - 1
        for before in self.stages[:index]:
            before.state = "done" if before.state in {"running", "done"} else "left out"
            before.fraction = 1.0 if before.state == "done" else 0.0
        for after in self.stages[index + 1 :] if event.index == event.count else ():
            after.state = "left out"
        self.current = index
        self.stages[index].state = "running"
        self.say(event.title)

    def _on_scalars(self, event: Scalars) -> None:
        told = []
        for name, value in event.values.items():
            if not np.isfinite(value):
                continue
            curve = self.curves.setdefault((self.current, name), Curve(self.current, name))
            curve.steps.append(event.step)
            curve.values.append(float(value))
            if not curve.is_loss:
                told.append(f"{name} {value:+.2f}")
        if told:
            self.say(f"step {event.step}: {', '.join(told)}")

    def _on_finished(self, event: Finished) -> None:
        self.outcome = event.outcome
        if event.outcome is Outcome.COMPLETED:
            self.result = event.result
            self._leave("done")
            self.stages[self.current].fraction = 1.0
        else:
            self._leave("stopped")

    def _leave(self, state: str) -> None:
        """The running stage, if there is one, runs no more."""
        for stage in self.stages:
            if stage.state == "running":
                stage.state = state


def duration(seconds: float) -> str:
    """A time in the largest unit that says enough."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def decimated(curve: Curve, most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of a curve, at most ``most`` of them; the last is always there."""
    count = len(curve.steps)
    picks = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
    return np.array(curve.steps, float)[picks], np.array(curve.values, float)[picks]
