"""Training: the three stages of D2R on one anisotropic stack.

Stage I learns, from XY slices with rows left out, to restore lateral slices. Stage II
restores the XZ and YZ slices of the stack with it and fuses them into a pseudo-HR volume.
Stage III distils that volume into a fast network. No isotropic ground truth is needed; where
there is some, stage III may learn from it instead.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Generator, Iterator
from importlib.metadata import version
from typing import Literal

import torch
from torch import Tensor, nn

from napari_d2r.checkpoints import (
    HaloCard,
    ModelCard,
    ModelIndex,
    load_model,
    save_index,
    save_model,
)
from napari_d2r.inference import (
    AxialPredictor,
    Feeding,
    InterpolationPredictor,
    Interrupted,
    OfOneSlab,
    SideBySide,
    leave_one_out,
    measure_halo,
    measured_again,
    predictor_for,
)
from napari_d2r.jobs import (
    CancelToken,
    Event,
    Finished,
    Outcome,
    PriorSettings,
    Scalars,
    StageStarted,
    Started,
    StudentSettings,
    TargetSettings,
    VolumeBegun,
    Warned,
)
from napari_d2r.metrics import GainOverLinear
from napari_d2r.models import SAMPLED, build_network, describe_config
from napari_d2r.stages._guard import seen_in, told
from napari_d2r.stages._own_card import with_facts
from napari_d2r.stages._pseudo_hr import SlabFile, read_slabs, restore_into
from napari_d2r.stages._together import all_or_none, wait_for_the_first, while_others_wait
from napari_d2r.stages._train_marks import begin_work, identity_of
from napari_d2r.stages._train_plan import (
    JOB,
    WORK,
    TrainPlan,
    contract_of,
    is_of_blocks,
    resolve_train,
)
from napari_d2r.stages._trained import TrainedModels
from napari_d2r.training import (
    AnyDirectionTask,
    FitResult,
    Ranks,
    Task,
    fit,
    joined,
    prior_task,
    student_task,
)
from napari_d2r.volumes import (
    AxialGrid,
    IntensityRange,
    Volume,
    centred_box,
    require_finite,
)

__all__ = ["TrainPlan", "TrainedModels", "resolve_train", "run_train"]

PSEUDO_HR = "pseudo_hr.npy"
_GAIN = " gain (dB)"  # how a task names those of its scores that a card tells
# Lateral pixels that leave-one-out looks at; sampling takes many passes for each.
_JUDGING_EDGE, _JUDGING_EDGE_SAMPLED = 192, 64
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def run_train(
    plan: TrainPlan,
    *,
    resume: bool = False,
    overwrite: bool = False,
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """Train; ends in ``Finished`` with `TrainedModels`, or with None when cancelled.

    With ``resume`` and ``overwrite`` what cannot be gone on with is begun anew.

    Raises
    ------
    InputError
        When the voxels cannot be used, or ``resume`` meets other input or settings.
    TrainingError
        When the loss stays non-finite.
    """
    with joined(plan.device) as ranks:
        for event in _run(plan, resume, overwrite, cancel, ranks):
            if ranks.is_first or isinstance(event, Started | Finished):
                yield event


def _run(
    plan: TrainPlan, resume: bool, overwrite: bool, cancel: CancelToken | None, ranks: Ranks
) -> Iterator[Event]:
    yield Started("train", plan.folder)
    for warning in plan.warnings:
        yield Warned(warning)
    stored = plan.volume.read(*plan.box)
    require_finite(stored, plan.volume.name)
    intensity = IntensityRange.of(plan.volume)
    stack = torch.from_numpy(intensity.to_unit(stored)).to(plan.device)
    run = _Training(plan, stack, identity_of(plan, stored), resume, cancel, ranks)
    ranks.require_same(int(run.identity[:12], 16), "input and settings")
    if ranks.is_first:
        for note in begin_work(plan, run.identity, resume=resume, overwrite=overwrite):
            yield Warned(note)
    ranks.most(0)  # none reads what the first has yet to delete
    yield from told(seen_in(plan.volume, plan.box))  # of a training that is not refused
    try:
        yield from run.stages()
    except Interrupted:
        yield Finished(Outcome.CANCELLED)


class _Training:
    """The three stages, sharing one stack and one time budget."""

    def __init__(
        self,
        plan: TrainPlan,
        stack: Tensor,
        identity: str,
        resume: bool,
        cancel: CancelToken | None,
        ranks: Ranks,
    ) -> None:
        self.plan, self.job, self.stack, self.cancel = plan, plan.job, stack, cancel
        self.identity, self.resume, self.ranks = identity, resume, ranks
        self.degradation = plan.job.degradation.value
        self.work = plan.folder / WORK
        self.spent_s = 0.0  # of the time budget, over all sessions
        self.predictors: dict[str, AxialPredictor] = {}
        self.gains: dict[str, GainOverLinear] = {}

    def stages(self) -> Iterator[Event]:
        prior, student = self.job.prior, self.job.student
        reference = self.plan.reference
        count = 1 if reference is not None else (prior is not None) + 2 * (student is not None)
        if prior is not None:
            yield StageStarted("stage I: learn from lateral slices", 1, count)
            network = self._new_network("prior", prior)
            contract = contract_of(prior.network)
            task = prior_task(contract, self.stack, self.plan.gap, prior, self.degradation)
            result = yield from self._fit("prior", network, task, prior)
            if result is None:
                return
            yield from self._keep("prior", network, prior, result)
        if student is not None:
            if reference is None:
                yield StageStarted("stage II: build the pseudo-HR volume", count - 1, count)
                pseudo_hr, measured = yield from self._targets(self.job.targets)
                yield StageStarted("stage III: distil into a fast network", count, count)
                task = self._student_task(pseudo_hr, measured, student)
            else:
                yield StageStarted("stage III: learn from the reference", count, count)
                task = self._supervised_task(reference, student)
            network = self._new_network("student", student)
            result = yield from self._fit("student", network, task, student)
            if result is None:
                return
            yield from self._keep("student", network, student, result)
        names = [n for n, s in (("prior", prior), ("student", student)) if s is not None]
        default, reason = names[-1], "the last; not judged"
        if self.gains:
            default = max(self.gains, key=lambda name: self.gains[name].gain_db)
            reason = f"{default}: {self.gains[default].sentence()}"
        if self.ranks.is_first:
            self._publish(ModelIndex(default=default, models=names, reason=reason))
        self.ranks.most(0)  # all return when the models are there
        yield Finished(Outcome.COMPLETED, TrainedModels(self.plan.folder, default, self.gains))

    def _publish(self, index: ModelIndex) -> None:
        """Put the new models in the place of older ones; until here those stood untouched."""
        folder = self.plan.folder
        for name in ("prior", "student"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in index.models:
            (self.work / name).replace(folder / name)
        save_index(folder, index)
        (self.work / JOB).replace(folder / JOB)  # the last: it says that all is there
        shutil.rmtree(self.work, ignore_errors=True)  # somebody may look at the pseudo-HR volume

    def _new_network(self, role: str, settings: PriorSettings | StudentSettings) -> nn.Module:
        torch.manual_seed(self.job.seed)
        if role in self.plan.learned:
            return load_model(self.plan.learned[role]).network
        return build_network(settings.network.architecture, settings.network.options)

    def _fit(
        self, name: str, network: nn.Module, task: Task, settings: PriorSettings | StudentSettings
    ) -> Generator[Event, None, FitResult | None]:
        """Fit one network within its share of the budget; None when cancelled."""
        seconds = None
        if self.job.max_minutes is not None:
            seconds = max(
                1.0, settings.optimizer.share * (60 * self.job.max_minutes - self.spent_s)
            )
        result: FitResult = yield from fit(
            network,
            task,
            settings.optimizer,
            seed=self.job.seed,
            device=self.plan.device,
            state_path=self.work / f"{name}.safetensors",
            identity=f"{self.identity}/{name}",
            max_seconds=seconds,
            clock=CLOCKS[self.job.clock],
            resume=self.resume,
            cancel=self.cancel,
            ranks=self.ranks,
        )
        self.spent_s += result.elapsed_s
        if result.outcome is not Outcome.COMPLETED:
            yield Finished(result.outcome)
            return None
        return result

    def _keep(
        self,
        role: Literal["prior", "student"],
        network: nn.Module,
        settings: PriorSettings | StudentSettings,
        result: FitResult,
    ) -> Iterator[Event]:
        """Judge a finished network on the stack itself and write it with its card."""
        judged = all_or_none(lambda: self._judge(network, settings), self.ranks)
        self.predictors[role], halo, gain = judged
        if gain is not None:
            self.gains[role] = gain
        size, gap = self.plan.volume.voxel_size, self.plan.gap
        card = ModelCard(
            architecture=settings.network.architecture,
            options=describe_config(network),
            role=role,
            gap=gap,
            gap_range=(gap, gap) if is_of_blocks(settings.network) else (min(2.0, gap), 2 * gap),
            voxel_size_nm=(size.z, size.y, size.x),
            halo=halo,
            degradation=self.job.degradation,
            prediction=settings.prediction if isinstance(settings, PriorSettings) else "x0",
            sampler=self.job.targets.sampler if contract_of(settings.network) in SAMPLED else None,
            scores=({} if gain is None else {"leave-one-out": gain.gain_db})
            | {k.removesuffix(_GAIN): v for k, v in result.scores.items() if k.endswith(_GAIN)},
            trained_on=(self.plan.reference or self.plan.volume).name,
            reference="" if self.plan.reference is None else self.plan.reference.name,
            trained_by=self.job,
            seconds=round(result.elapsed_s, 1),
            steps=result.steps,
            package_version=version("napari-d2r"),
        )
        if self.ranks.is_first:
            save_model(self.work / role, network, with_facts(card, self.plan))
        if gain is not None:
            yield Scalars(result.steps, {f"{role}: leave-one-out gain (dB)": gain.gain_db})

    def _judge(
        self, network: nn.Module, settings: PriorSettings | StudentSettings
    ) -> tuple[AxialPredictor, HaloCard, GainOverLinear | None]:
        """How far around it a network looks, and leave-one-out if asked, on the stack itself."""
        predictor = self._predictor(network, settings, None)
        halo = HaloCard(slices=predictor.halo.slices, lateral=predictor.halo.lateral)
        is_sampled = contract_of(settings.network) in SAMPLED
        if not is_sampled:  # sampling over and over would take too long
            grey, looked_at = predictor, self.stack
            if self.stack.ndim == 4:
                grey, looked_at = OfOneSlab(predictor, len(self.stack)), self.stack[0]
            slices, lateral = measure_halo(grey, looked_at, self.plan.gap, cancel=self.cancel)
            halo = HaloCard(slices=slices, lateral=lateral)
            predictor = self._predictor(network, settings, halo)
        if not self.job.judge:
            return predictor, halo, None
        edge = _JUDGING_EDGE_SAMPLED if is_sampled else _JUDGING_EDGE
        return predictor, halo, self._gain(predictor, edge)

    def _predictor(
        self, network: nn.Module, settings: PriorSettings | StudentSettings, halo: HaloCard | None
    ) -> AxialPredictor:
        how = Feeding(
            halo=halo,
            gap=self.plan.gap,
            prediction=settings.prediction if isinstance(settings, PriorSettings) else "x0",
            sampler=self.job.targets.sampler,
            seed=self.job.seed,
            degradation=self.degradation,
        )
        return predictor_for(network, contract_of(settings.network), how)

    def _targets(self, settings: TargetSettings) -> Generator[Event, None, tuple[Tensor, Tensor]]:
        """The pseudo-HR volume (Z', Y, X) and the measured slices of its region."""
        k = 1 if settings.kind == "none" else settings.factor or round(self.plan.gap)
        gap, how = self.plan.gap, self.degradation
        num_output = len(self.stack) if k == 1 else how.grid(len(self.stack), k).num_output
        least = 4 * math.ceil(gap) + len(how.widest.kernel(gap))
        edge = max(math.isqrt(settings.max_voxels // num_output), least)
        region = centred_box(self.stack.shape, (len(self.stack), edge, edge))
        measured = self.stack[region].contiguous()
        if k == 1:
            return measured, measured
        grid = how.grid(len(measured), k)
        shape = (num_output, measured.shape[1], measured.shape[2])
        linear: AxialPredictor = InterpolationPredictor("linear")
        predictor = self.predictors["prior"] if settings.kind == "prior" else linear
        clock, path, seconds = CLOCKS[self.job.clock], self.work / PSEUDO_HR, 0.0
        if self.ranks.is_first:
            file = SlabFile(path, shape, resume=self.resume)
            yield self._announced(file, grid, region)
            restored = restore_into(file, measured, grid, gap, predictor, self.cancel, clock)
            yield from while_others_wait(restored, self.ranks, self.cancel)
            seconds = file.seconds
        else:
            wait_for_the_first(self.ranks, self.cancel)
        self.spent_s += self.ranks.most(seconds)[0]
        return torch.from_numpy(read_slabs(path)).to(self.stack.device), measured

    def _student_task(self, truth: Tensor, measured: Tensor, settings: StudentSettings) -> Task:
        contract, how = contract_of(settings.network), self.degradation
        return student_task(contract, truth, measured, self.plan.gap, settings, how)

    def _supervised_task(self, reference: Volume, settings: StudentSettings) -> Task:
        """The same from isotropic truth, whose slices have the noise of measured ones already."""
        stored = reference.read()
        require_finite(stored, reference.name)
        truth = IntensityRange.of(reference).to_unit(stored)
        if self.degradation.is_sampling:
            settings = settings.model_copy(update={"input_noise": 0.0})
        return AnyDirectionTask(
            lambda volume: self._student_task(volume, self.stack, settings),
            torch.from_numpy(truth).to(self.stack.device),
            self.plan.gap,
        )

    def _announced(self, file: SlabFile, grid: AxialGrid, region: tuple[slice, ...]) -> VolumeBegun:
        """Where the pseudo-HR volume can be seen to grow, and where it belongs."""
        size, k = self.plan.volume.voxel_size, grid.factor
        first = [out.start + inner.start for out, inner in zip(self.plan.box, region, strict=True)]
        return VolumeBegun(
            "pseudo-HR volume, intensities from 0 to 1",
            file.path,
            file.shape,
            (size.z / k, size.y, size.x),
            ((first[0] + grid.offset / k) * size.z, first[1] * size.y, first[2] * size.x),
            "float32",
        )

    def _gain(self, predictor: AxialPredictor, edge: int) -> GainOverLinear:
        """Leave-one-out on the centre of the stack."""
        z, y, x = centred_box(self.stack.shape[-3:], (64, edge, edge))
        part = self.stack[..., z, y, x]
        if part.ndim == 4:
            predictor = SideBySide(predictor, len(part))
            part = part.transpose(0, 1).flatten(1, 2)
        judged = measured_again(predictor, self.degradation, self.plan.gap)
        return leave_one_out(judged, part, self.plan.gap, self.cancel)
