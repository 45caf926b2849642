"""What is asked and what is told: jobs, settings, events, cancellation. No torch."""

from napari_d2r.jobs._cancel import CancelToken
from napari_d2r.jobs._events import (
    TRAINING_LOSS,
    VALIDATION_GAIN,
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
    VolumeBegun,
    Warned,
)
from napari_d2r.jobs._jobs import Device, Engine, Job, SuperResolveJob, TrainJob
from napari_d2r.jobs._presets import describe_preset, load_preset, preset_names
from napari_d2r.jobs._provenance import Provenance
from napari_d2r.jobs._settings import (
    DegradationSettings,
    FrozenModel,
    LossSettings,
    NetworkSettings,
    OptimizerSettings,
    PriorSettings,
    SamplerSettings,
    StudentSettings,
    TargetSettings,
)
from napari_d2r.jobs._wire import decode, encode

__all__ = [
    "TRAINING_LOSS",
    "VALIDATION_GAIN",
    "BlockWritten",
    "CancelToken",
    "CheckpointSaved",
    "DegradationSettings",
    "Device",
    "Engine",
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
    "Provenance",
    "SamplerSettings",
    "Scalars",
    "StageStarted",
    "Started",
    "StudentSettings",
    "SuperResolveJob",
    "TargetSettings",
    "TrainJob",
    "VolumeBegun",
    "Warned",
    "decode",
    "describe_preset",
    "encode",
    "load_preset",
    "preset_names",
]
