"""The one training loop, and what each stage's network is trained to do."""

from napari_d2r.training._block_task import BlockTask
from napari_d2r.training._by_contract import PRIOR_TASKS, STUDENT_TASKS
from napari_d2r.training._diffusion_task import DiffusionTask
from napari_d2r.training._loop import FitResult, Task, fit
from napari_d2r.training._supervised import SupervisedTask, Variety
from napari_d2r.training._tasks import LateralTask, SequenceTask
from napari_d2r.training._unconditional_task import UnconditionalTask

__all__ = [
    "PRIOR_TASKS",
    "STUDENT_TASKS",
    "BlockTask",
    "DiffusionTask",
    "FitResult",
    "LateralTask",
    "SequenceTask",
    "SupervisedTask",
    "Task",
    "UnconditionalTask",
    "Variety",
    "fit",
]
