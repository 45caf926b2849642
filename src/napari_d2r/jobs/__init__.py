"""What is asked and what is told: jobs, settings, events, cancellation. No torch."""

from napari_d2r.jobs._cancel import CancelToken
from napari_d2r.jobs._events import (
    BlockWritten,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Outcome,
    Preview,
    Progress,
    Scalars,
    StageStarted,
    Started,
    Warned,
)
from napari_d2r.jobs._jobs import Device, Job, SuperResolveJob, TrainJob
from napari_d2r.jobs._presets import load_preset, preset_names
from napari_d2r.jobs._settings import (
    FrozenModel,
    LossSettings,
    NetworkSettings,
    OptimizerSettings,
    PriorSettings,
    SamplerSettings,
    StudentSettings,
    TargetSettings,
)

__all__ = [
    "BlockWritten",
    "CancelToken",
    "CheckpointSaved",
    "Device",
    "Event",
    "Failed",
    "Finished",
    "FrozenModel",
    "Job",
    "LossSettings",
    "NetworkSettings",
    "OptimizerSettings",
    "Outcome",
    "Preview",
    "PriorSettings",
    "Progress",
    "SamplerSettings",
    "Scalars",
    "StageStarted",
    "Started",
    "StudentSettings",
    "SuperResolveJob",
    "TargetSettings",
    "TrainJob",
    "Warned",
    "load_preset",
    "preset_names",
]
