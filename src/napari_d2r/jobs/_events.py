"""What a running job tells: small frozen values, never pixels of a volume.

The grammar, the same for every job::

    Started (StageStarted | Progress | BlockWritten | Scalars | Preview
             | CheckpointSaved | Warned)* Finished

Errors are exceptions; only an edge (command line, GUI) turns them into words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Outcome(Enum):
    """How a job ended. Failures are exceptions and have no outcome."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    OUT_OF_TIME = "out of time"


@dataclass(frozen=True, slots=True)
class Started:
    """The job is running; ``output`` is the path being written, if any."""

    job: str
    output: Path | None = None


@dataclass(frozen=True, slots=True)
class StageStarted:
    """Stage ``index`` (from 1) of ``count`` begins."""

    title: str
    index: int = 1
    count: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` units of the current stage."""

    done: float
    total: float
    unit: str
    eta_s: float | None = None


@dataclass(frozen=True, slots=True)
class BlockWritten:
    """Output voxels [start, stop) per axis (z, y, x) are final and readable."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Scalars:
    """Named numbers at one training step, for curves."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """Small 2D pictures (at most 256 x 256, unit range) of how it is going."""

    step: int
    images: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A state from which the job can be resumed is safely on disk."""

    path: Path
    step: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know; the job goes on."""

    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of every job that did not raise."""

    outcome: Outcome
    result: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """What an edge sends on when a job raised; never yielded by a job itself.

    ``message`` is a sentence for the reader, ``detail`` the traceback for the log.
    """

    message: str
    detail: str = ""


Event = (
    Started
    | StageStarted
    | Progress
    | BlockWritten
    | Scalars
    | Preview
    | CheckpointSaved
    | Warned
    | Finished
    | Failed
)
