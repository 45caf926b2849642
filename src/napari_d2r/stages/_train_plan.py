"""From a training job and a stack to a plan; nothing is written."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from napari_d2r.checkpoints import load_card, load_index, model_folder
from napari_d2r.errors import InputError
from napari_d2r.jobs import LossSettings, NetworkSettings, PriorSettings, StudentSettings, TrainJob
from napari_d2r.models import (
    ARCHITECTURES,
    OF_CHANNELS,
    Contract,
    architecture_named,
    build_network,
)
from napari_d2r.stages._channels import refuse_channels, restores_channels
from napari_d2r.stages._device import computed_on, resolve_device
from napari_d2r.stages._reference import open_reference
from napari_d2r.training import (
    BLURRED_PRIOR_TASKS,
    BLURRED_STUDENT_TASKS,
    PRIOR_TASKS,
    STUDENT_TASKS,
    device_of_rank,
    load_lpips,
    ranks_told,
)
from napari_d2r.volumes import MAX_FACTOR, Volume, centred_box, resolve_factor, resolve_gap

WORK = "work"  # states, the pseudo-HR volume and new models, until all is done
JOB = "job.yaml"


@dataclass(frozen=True, slots=True, eq=False)
class TrainPlan:
    """What will happen: printable, and nothing has been written yet."""

    job: TrainJob
    volume: Volume
    folder: Path
    factor: float
    gap: float
    box: tuple[slice, ...]  # the part of the stack that is learned from
    device: torch.device
    warnings: tuple[str, ...]
    learned: Mapping[str, Path]  # by role: models whose weights are the start
    reference: Volume | None = None  # isotropic: what stage III learns from instead
    num_processes: int = 1  # that share every batch

    def lines(self) -> tuple[str, ...]:
        """The plan in words, for ``--dry-run`` and the top of a run."""
        shape = " x ".join(str(s.stop - s.start) for s in self.box)
        several = self.num_processes > 1
        machine = (
            f"{self.num_processes} x {self.device.type}" if several else computed_on(self.device)
        )
        budget = f"{self.job.max_minutes:g} minutes" if self.job.max_minutes else "no time limit"
        how = self.job.degradation.value
        also = "" if how.is_sampling else f", {how}: they are restored too"
        source = f"{shape} voxels (z, y, x) of {self.volume.name}, {self.volume.voxel_size}"
        if self.reference is None:
            source = f"learn from {source}"
        else:
            truth = " x ".join(map(str, self.reference.shape))
            source = (
                f"learn from {truth} voxels of {self.reference.name}, "
                f"{self.reference.voxel_size}; judge by {source}"
            )
        return (
            source,
            f"factor {self.factor:g}, measured slices {self.gap:g} lateral voxels apart{also}",
            f"{budget} on {machine}, models to {self.folder}",
        )


def resolve_train(
    job: TrainJob, volume: Volume, folder: Path, *, resume: bool = False, overwrite: bool = False
) -> TrainPlan:
    """Check that the stack can be learned from; write nothing.

    Raises
    ------
    InputError
        For channels, too few slices, no anisotropy, pixels that are not square, or a
        folder that is taken; for a reference that is not isotropic, or of other pixels.
    """
    volume.require_slices()
    factor = resolve_factor(volume.voxel_size, job.factor)
    if not volume.voxel_size.has_square_pixels:
        raise InputError(
            f"{volume.name} has pixels of {volume.voxel_size.y:g} x {volume.voxel_size.x:g} nm "
            "(y, x), so XZ and YZ slices need different factors; resample it to square pixels."
        )
    gap = resolve_gap(volume.voxel_size, factor)
    if gap > MAX_FACTOR:
        raise InputError(
            f"The slices of {volume.name} are {gap:.3g} lateral voxels apart; up to "
            f"{MAX_FACTOR:g} can be learned. Bin it laterally first."
        )
    least = 3 * math.ceil(gap) + len(job.degradation.value.widest.kernel(gap))
    if min(volume.shape[1:]) < least:
        raise InputError(
            f"{volume.name} is {volume.shape[1]} x {volume.shape[2]} pixels; learning a factor of "
            f"{gap:g} from slices that are {job.degradation.value} needs at least {least} on both "
            "axes."
        )
    _check_folder(folder, resume, overwrite)
    if job.reference is not None:
        if job.student is None:
            raise InputError("A reference teaches stage III; this job has none.")
        if not job.degradation.value.is_sampling:
            raise InputError(
                "A reference teaches networks of point samples only; leave out the degradation, "
                "or the reference."
            )
        job = job.model_copy(update={"prior": None})
    job, learned = _with_learned_networks(job)
    job = _of_channels(job, volume)
    if job.prior is None and job.student is None:
        raise InputError("There is nothing to train: prior and student are both switched off.")
    job = _made_for(gap, job)
    num_processes = ranks_told().count
    for stage in (job.prior, job.student):
        if stage is not None and job.max_minutes is None and stage.optimizer.max_steps is None:
            raise InputError(
                "The training would never end: set max_minutes, or max_steps of each stage."
            )
        if stage is not None:
            _check_losses(stage.loss, stage.network)
            _check_batch(stage.optimizer.batch, num_processes)
    reference = None
    if job.reference is not None:
        reference = open_reference(job.reference, volume, gap, job.max_voxels)
    elif job.targets.kind == "prior" and job.prior is None and job.student is not None:
        raise InputError("Targets of kind 'prior' need stage I; choose linear or none instead.")
    warnings = []
    if abs(gap - factor) > 0.01 * gap:
        warnings.append(
            f"The factor is {factor:g} but the slices are {gap:g} lateral voxels apart; the model "
            "learns gaps of that width, and output voxels will not be isotropic."
        )
    if factor != round(factor):
        warnings.append(
            f"The factor {factor:g} is not whole: its two neighbours are practised in proportion."
        )
    edge = max(256, math.isqrt(job.max_voxels // volume.shape[0]))
    box = centred_box(volume.shape, (job.max_voxels, edge, edge))
    if any(s.stop - s.start < length for s, length in zip(box, volume.shape, strict=True)):
        warnings.append("The stack is larger than the training needs; its centre is used.")
    return TrainPlan(
        job,
        volume,
        folder,
        factor,
        gap,
        box,
        device_of_rank(resolve_device(job.device)),
        tuple(warnings),
        learned,
        reference,
        num_processes,
    )


def _with_learned_networks(job: TrainJob) -> tuple[TrainJob, dict[str, Path]]:
    """A job that adapts models has their networks."""
    if job.start_from is None:
        return job, {}
    folder, learned = model_folder(job.start_from), {}
    changes: dict[str, PriorSettings | StudentSettings] = {}
    for role in ("prior", "student"):
        settings: PriorSettings | StudentSettings | None = getattr(job, role)
        if settings is None:
            continue
        card, learned[role] = load_card(folder / role if load_index(folder) else folder)
        if card.role != role:
            raise InputError(
                f"{folder} holds a {card.role} and no {role}; start from a folder with both, such "
                "as the bundled model, or switch that stage off."
            )
        if card.degradation != job.degradation:
            raise InputError(
                f"{folder} learned from slices that are {card.degradation.value}, and yours are "
                f"{job.degradation.value}; train from scratch, or choose the same degradation."
            )
        network = NetworkSettings(architecture=card.architecture, options=card.options)
        changes[role] = settings.model_copy(update={"network": network})
    return job.model_copy(update=changes), learned


def unwritable(folder: Path) -> str:
    """What is said of a folder that cannot take a model."""
    return f"{folder} cannot be written; choose another folder for the model."


def _of_channels(job: TrainJob, volume: Volume) -> TrainJob:
    """A job whose network restores the channels of the volume together; few can."""
    prior, count = job.prior, volume.num_channels or 1
    if prior is None or not restores_channels(job):
        refuse_channels(volume, "take a preset")
        return job
    num_slices = OF_CHANNELS[contract_of(prior.network)]
    wanted = {"in_channels": num_slices * count, "out_channels": count}
    options = wanted | prior.network.options
    if not wanted.items() <= options.items():
        raise InputError(
            f"The network is made for {options['out_channels']} channels and {volume.name} has "
            f"{count}; leave the network's options in_channels and out_channels out."
        )
    network = prior.network.model_copy(update={"options": options})
    return job.model_copy(update={"prior": prior.model_copy(update={"network": network})})


def _made_for(gap: float, job: TrainJob) -> TrainJob:
    """A job whose networks serve their stages, and slices measured like these."""
    is_sampling = job.degradation.value.is_sampling
    of_blurred = "" if is_sampling else " of slices that are blurred"
    contracts: Collection[Contract]
    if job.prior is not None:
        network = _restoring(job.prior.network, is_sampling)
        contracts = PRIOR_TASKS if is_sampling else BLURRED_PRIOR_TASKS
        _check_network(network, contracts, f"stage I{of_blurred}")
        job = job.model_copy(update={"prior": job.prior.model_copy(update={"network": network})})
    if job.student is not None:
        network = _restoring(_of_factor(gap, job.student.network), is_sampling)
        contracts = STUDENT_TASKS if is_sampling else BLURRED_STUDENT_TASKS
        _check_network(network, contracts, f"stage III{of_blurred}")
        job = job.model_copy(
            update={"student": job.student.model_copy(update={"network": network})}
        )
    return job


def _restoring(network: NetworkSettings, is_sampling: bool) -> NetworkSettings:
    """Where measured slices are blurred, networks that would return them are told not to."""
    known = {field.name for field in fields(architecture_named(network.architecture).config)}
    if is_sampling or "restores_measured" not in known:
        return network
    options = network.options | {"restores_measured": True}
    return network.model_copy(update={"options": options})


def _of_factor(gap: float, network: NetworkSettings) -> NetworkSettings:
    """A network of blocks is made for one factor, which is named here."""
    factor = max(2, round(gap))
    if is_of_blocks(network):
        options = {"factor": factor} | network.options
        if options["factor"] != factor:
            raise InputError(
                f"Network {network.architecture} is made for slices {options['factor']} lateral "
                f"voxels apart, these are {gap:g} apart; leave its option factor out."
            )
        network = network.model_copy(update={"options": options})
    return network


def is_of_blocks(network: NetworkSettings) -> bool:
    """Whether it fills all gaps of a block at once."""
    return contract_of(network) == "blocks"


def contract_of(network: NetworkSettings) -> Contract:
    """What it expects to be fed, which also says how it is taught."""
    return architecture_named(network.architecture).contract


def _check_network(settings: NetworkSettings, contracts: Collection[Contract], stage: str) -> None:
    """Refuse a network now rather than after the stages before it."""
    name = settings.architecture
    if architecture_named(name).contract not in contracts:
        fitting = " or ".join(
            n for n, entry in ARCHITECTURES.items() if entry.contract in contracts
        )
        raise InputError(f"Network {name} does not serve {stage}; choose {fitting}.")
    with torch.device("meta"):  # allocates nothing
        build_network(name, settings.options)


def _check_losses(loss: LossSettings, network: NetworkSettings) -> None:
    """Refuse losses that look at more than the network predicts."""
    if loss.cubic and not is_of_blocks(network):
        raise InputError(
            f"The cubic-weighted loss is for networks of blocks, not for {network.architecture}; "
            "take l2 instead."
        )
    if loss.continuity and contract_of(network) != "sequence":
        raise InputError(
            f"The continuity loss is for networks of sequences, not for {network.architecture}; "
            "leave it out."
        )
    if loss.perception and loss.continuity:
        load_lpips(loss.perception)


def _check_batch(batch: int, num_processes: int) -> None:
    """Refuse a batch of which a process would get nothing."""
    if batch < num_processes:
        raise InputError(
            f"A batch of {batch} crops cannot be shared by {num_processes} processes; start fewer, "
            "or set optimizer.batch of each stage to at least as many."
        )


def _check_folder(folder: Path, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that is taken; one that no training of ours has filled in any case."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give the name of a folder for the model.")
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise InputError(unwritable(folder))
    if not folder.exists() or not any(folder.iterdir()):
        return
    work, complete = folder / WORK, (folder / JOB).is_file()
    # A folder without a file in it was made by a run that was ended in the same instant.
    begun = (work / JOB).is_file() or (work.is_dir() and not any(work.iterdir()))
    if not begun and not complete:
        raise InputError(
            f"{folder} holds other things than a model; give the name of a new folder."
        )
    if not (resume or overwrite):
        raise InputError(f"{folder} is not empty; pass --resume to go on, or --overwrite.")
    if resume and not begun and not overwrite:
        raise InputError(f"The training in {folder} is complete; --overwrite repeats it.")
