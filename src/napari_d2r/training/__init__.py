"""The one training loop, and what each stage's network is trained to do."""

from napari_d2r.training._any_direction import AnyDirectionTask
from napari_d2r.training._block_task import BlockTask
from napari_d2r.training._by_contract import (
    BLURRED_PRIOR_TASKS,
    BLURRED_STUDENT_TASKS,
    PRIOR_TASKS,
    STUDENT_TASKS,
    prior_task,
    student_task,
)
from napari_d2r.training._continuity import load_lpips
from napari_d2r.training._diffusion_task import DiffusionTask
from napari_d2r.training._loop import FitResult, Task, fit
from napari_d2r.training._ranks import ALONE, Ranks, device_of_rank, joined, ranks_told
from napari_d2r.training._supervised import SupervisedTask, Variety
from napari_d2r.training._tasks import LateralTask, SequenceTask
from napari_d2r.training._unconditional_task import UnconditionalTask

__all__ = [
    "ALONE",
    "BLURRED_PRIOR_TASKS",
    "BLURRED_STUDENT_TASKS",
    "PRIOR_TASKS",
    "STUDENT_TASKS",
    "AnyDirectionTask",
    "BlockTask",
    "DiffusionTask",
    "FitResult",
    "LateralTask",
    "Ranks",
    "SequenceTask",
    "SupervisedTask",
    "Task",
    "UnconditionalTask",
    "Variety",
    "device_of_rank",
    "fit",
    "joined",
    "load_lpips",
    "prior_task",
    "ranks_told",
    "student_task",
]
