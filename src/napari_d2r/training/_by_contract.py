"""Which task teaches a network, by the contract of the network: one line for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from napari_d2r.jobs import PriorSettings, StudentSettings
from napari_d2r.models import Contract
from napari_d2r.training._block_task import BlockTask
from napari_d2r.training._diffusion_task import DiffusionTask
from napari_d2r.training._loop import Task
from napari_d2r.training._masked_task import MaskedDenoiserTask, MaskedTask
from napari_d2r.training._midpoint_task import MidpointDenoiserTask, MidpointTask
from napari_d2r.training._tasks import LateralTask, SequenceTask
from napari_d2r.training._unconditional_task import UnconditionalTask
from napari_d2r.volumes import Degradation

# Stage I, from the measured stack and the gap between its slices.
PRIOR_TASKS: Mapping[Contract, Callable[[Tensor, float, PriorSettings], Task]] = {
    "rows": LateralTask,
    "denoiser": DiffusionTask,
    "unconditional": UnconditionalTask,
    "masked": MaskedTask,
    "masked-denoiser": MaskedDenoiserTask,
    "midpoint": MidpointTask,
    "midpoint-denoiser": MidpointDenoiserTask,
}
# Stage III, from the pseudo-HR volume, the measured slices of its region and the gap.
STUDENT_TASKS: Mapping[Contract, Callable[[Tensor, Tensor, float, StudentSettings], Task]] = {
    "sequence": SequenceTask,
    "blocks": BlockTask,
}
# The same where slices are blurred, for networks that restore the measured slices too.
BLURRED_PRIOR_TASKS: Mapping[
    Contract, Callable[[Tensor, float, PriorSettings, Degradation], Task]
] = {
    "rows": LateralTask,
    "denoiser": DiffusionTask,
    # It learns what slices look like; how they were measured counts when it restores.
    "unconditional": lambda stack, gap, settings, how: UnconditionalTask(stack, gap, settings),
}
BLURRED_STUDENT_TASKS: Mapping[
    Contract, Callable[[Tensor, Tensor, float, StudentSettings, Degradation], Task]
] = {
    "sequence": SequenceTask,
}


def prior_task(
    contract: Contract, stack: Tensor, gap: float, settings: PriorSettings, how: Degradation
) -> Task:
    """What stage I is, for a network of this contract and slices measured like this."""
    if how.is_sampling:
        return PRIOR_TASKS[contract](stack, gap, settings)
    return BLURRED_PRIOR_TASKS[contract](stack, gap, settings, how)


def student_task(
    contract: Contract,
    pseudo_hr: Tensor,
    measured: Tensor,
    gap: float,
    settings: StudentSettings,
    how: Degradation,
) -> Task:
    """What stage III is, for a network of this contract and slices measured like this."""
    if how.is_sampling:
        return STUDENT_TASKS[contract](pseudo_hr, measured, gap, settings)
    return BLURRED_STUDENT_TASKS[contract](pseudo_hr, measured, gap, settings, how)
