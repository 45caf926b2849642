"""Which trainings restore the channels of a volume together, and what is said where none does."""

from __future__ import annotations

from napari_d2r.errors import InputError
from napari_d2r.jobs import TrainJob, load_preset, preset_names
from napari_d2r.models import OF_CHANNELS, architecture_named
from napari_d2r.volumes import Volume

__all__ = ["refuse_channels", "restores_channels"]


def restores_channels(job: TrainJob) -> bool:
    """Whether the one network of a job can be made for several channels."""
    if job.prior is None or job.student is not None:
        return False
    return architecture_named(job.prior.network.architecture).contract in OF_CHANNELS


def refuse_channels(volume: Volume, instead: str) -> None:
    """Refuse a volume with channels; ``instead`` leads up to the presets that take them.

    Raises
    ------
    InputError
        Where there are channels, with both ways out.
    """
    if volume.num_channels is None:
        return
    *names, last = (name for name in preset_names() if restores_channels(load_preset(name)))
    raise InputError(
        f"{volume.name} has {volume.num_channels} channels; choose one with --channel N, or "
        f"{instead} that restores them together: {', '.join(names)} or {last}."
    )
