"""From the device asked for to the device there is."""

from __future__ import annotations

import torch

from napari_d2r.errors import InputError
from napari_d2r.jobs import SuperResolveJob


def resolve_device(wanted: str) -> torch.device:
    """``auto`` takes cuda, then mps, then cpu; else the name of a `Device`.

    Raises
    ------
    InputError
        When the device asked for is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[wanted]:
        raise InputError(f"This machine has no {wanted} device; use --device auto or cpu.")
    return torch.device(wanted)


def computed_on(device: torch.device) -> str:
    """What the last bits of a result may hang on, in words: the device, and threads of a cpu."""
    if device.type != "cpu":
        return device.type
    count = torch.get_num_threads()
    return f"cpu by {count} thread{'s' * (count > 1)}"


def begun_otherwise(before: str, now: str) -> tuple[str, ...]:
    """A sentence where a run goes on by other means than it began with; empty: nobody said."""
    if before == now or not before or not now:
        return ()
    return (
        f"This run was begun on {before} and goes on on {now}: its last bits may differ from those "
        "of a run that was not interrupted.",
    )


def planning_device(job: SuperResolveJob) -> torch.device:
    """As `resolve_device`; the processor, where only workers elsewhere may have the device."""
    try:
        return resolve_device(job.device)
    except InputError:
        if not _is_elsewhere(job):
            raise
        return torch.device("cpu")


def kind_of(job: SuperResolveJob, device: torch.device) -> str:
    """Of what computes the shards: that of ``device``, or what workers elsewhere must have."""
    return device.type if job.device == "auto" else job.device


def without_gpu(job: SuperResolveJob, device: torch.device) -> tuple[str, ...]:
    """A sentence where workers elsewhere would not use the GPUs that they may have."""
    if not _is_elsewhere(job) or job.device != "auto" or device.type != "cpu":
        return ()
    return (
        "This machine has no GPU, so workers compute on their processors too; pass --device cuda "
        "where they have GPUs.",
    )


def _is_elsewhere(job: SuperResolveJob) -> bool:
    """Whether other machines may compute the shards."""
    cluster = job.cluster
    return cluster is not None and (cluster.scheduler is not None or cluster.kind == "slurm")
