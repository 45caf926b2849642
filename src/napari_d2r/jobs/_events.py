"""What a running job tells: small frozen values, never pixels of a volume.

The grammar, the same for every job::

    Started (StageStarted | Progress | Workers | VolumeBegun | BlockWritten | Scalars | Preview
             | CheckpointSaved | Warned)* Finished

Errors are exceptions; only an edge (command line, GUI) turns them into words, and into
`Failed` where the reader of the events is another process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAINING_LOSS = "training loss"
VALIDATION_GAIN = "validation gain (dB)"  # above linear interpolation, on held-out data


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
class Workers:
    """So many other processes compute the current stage from now on; 0 while none has come."""

    count: int


@dataclass(frozen=True, slots=True)
class VolumeBegun:
    """An array beside the output begins to fill, for whoever wants to look on.

    Voxels of the `BlockWritten` events that follow are final in the array at ``path``, a
    .npy file of full length from the start (what is not written yet is zero) that keeps
    its name to the end of the job, and is removed when the job has completed.

    Parameters
    ----------
    title
        What it shows, and in which units its voxels are.
    shape
        (z, y, x) in voxels.
    voxel_size
        Edges (z, y, x) of a voxel in nm.
    origin
        Where its first voxel stands in the stack, (z, y, x) in nm.
    dtype
        Numpy's name of the stored type.
    """

    title: str
    path: Path
    shape: tuple[int, int, int]
    voxel_size: tuple[float, float, float]
    origin: tuple[float, float, float]
    dtype: str


@dataclass(frozen=True, slots=True)
class BlockWritten:
    """Voxels [start, stop) per axis (z, y, x) are final and readable.

    They are those of the latest `VolumeBegun`, and of the output where there was none.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Scalars:
    """Named numbers at one training step, for curves.

    Every stage of a training tells `TRAINING_LOSS`, and `VALIDATION_GAIN` after each
    validation, beside other numbers in dB that it is made of.
    """

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
    """Something the user should know; the job goes on.

    ``finding`` is the kind of the trap in the input that it tells of, as in docs/traps.md; empty
    where it is about anything else. Whoever shows the findings of a stack beside the job need
    not repeat those.
    """

    message: str
    finding: str = ""


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
    | Workers
    | VolumeBegun
    | BlockWritten
    | Scalars
    | Preview
    | CheckpointSaved
    | Warned
    | Finished
    | Failed
)
