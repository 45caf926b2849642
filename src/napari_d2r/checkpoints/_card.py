"""The model card: what a network is, what it learned from, and how it may be used."""

from __future__ import annotations

import platform
from typing import Any, Literal, Self

import torch
from pydantic import ConfigDict, Field

from napari_d2r.checkpoints._uncertainty import UncertaintyCard
from napari_d2r.inspection import TrainingDomain
from napari_d2r.jobs import DegradationSettings, FrozenModel, SamplerSettings, TrainJob


class HaloCard(FrozenModel):
    """Context beyond which an output changes by less than a quarter of a grey level.

    Measured on the training stack.
    """

    slices: int = Field(ge=0, le=64)
    lateral: int = Field(ge=0, le=1024)


class DataCard(FrozenModel):
    """One volume that a model learned from; empty where it is not stated."""

    name: str
    species: str = ""
    tissue: str = ""
    instrument: str = ""
    voxel_size_nm: tuple[float, float, float] | None = Field(None, description="z, y, x.")
    shape: tuple[int, int, int] | None = Field(None, description="Voxels learned from; z, y, x.")
    licence: str = ""
    source: str = Field("", description="Who made it, and where it is published.")


class UseCard(FrozenModel):
    """What a model is for, in sentences, beyond what the numbers of its card say."""

    intended: tuple[str, ...] = ()
    out_of_scope: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()


class EvaluationCard(FrozenModel):
    """One measurement: how many dB above aligned linear interpolation, and on what."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    volume: str
    relation: Literal["training stack", "held out", "foreign"] = Field(
        description="held out: of the same data set, but not learned from; foreign: of another."
    )
    measure: str = Field(description="What was compared with what.")
    factor: float = Field(gt=1, description="Lateral voxels from slice to slice that was given.")
    gain_db: float
    psnr_db: float | None = None


class ComputeCard(FrozenModel):
    """Where a model was trained; for how long stands in ``seconds``."""

    device: str
    num_threads: int | None = Field(None, description="Of a processor.")
    num_processes: int = Field(1, ge=1, description="That shared each batch, one to a device.")

    @classmethod
    def of(cls, device: torch.device) -> Self:
        """A device of this machine, by its name."""
        if device.type == "cuda":
            return cls(device=torch.cuda.get_device_name(device))
        if device.type == "mps":
            return cls(device=f"GPU of an {platform.machine()} Apple processor")
        return cls(device=f"{platform.machine()} processor", num_threads=torch.get_num_threads())


class ModelCard(FrozenModel):
    """Everything needed to rebuild a network and to judge whether it fits a volume."""

    # JSON has no word for infinity, which is the gain of a perfect prediction.
    model_config = ConfigDict(ser_json_inf_nan="strings")

    format_version: Literal[1] = 1
    title: str = Field("", description="What a list calls the model; empty: its folder's name.")
    architecture: str
    options: dict[str, Any]
    role: Literal["prior", "student"]
    gap: float = Field(gt=1, description="Lateral voxels from slice to slice when trained.")
    gap_range: tuple[float, float] = Field(description="Gap widths practised in training.")
    voxel_size_nm: tuple[float, float, float] = Field(description="z, y, x of the training stack.")
    halo: HaloCard
    degradation: DegradationSettings = Field(
        DegradationSettings(), description="How the slices were measured that it restores."
    )
    prediction: Literal["x0", "noise"] = "x0"
    sampler: SamplerSettings | None = Field(
        None, description="How a diffusion prior is sampled; None for deterministic networks."
    )
    scores: dict[str, float] = Field(description="Gains in dB over aligned linear interpolation.")
    trained_on: str = Field(description="Name of the training stack, or of the reference.")
    reference: str = Field(
        "", description="Isotropic volume that supervised the training; empty: the stack alone."
    )
    trained_by: TrainJob | None = Field(description="None where a script trained it.")
    seconds: float = Field(ge=0, description="Time spent in training.")
    steps: int = Field(ge=0)
    package_version: str
    weights_sha256: str = ""
    developer: str = Field("", description="Who trained it; empty: we, or the user of the job.")
    licence: str = ""
    attribution: str = Field("", description="Whose data it learned from, and their terms.")
    num_parameters: int | None = None
    uses: UseCard = UseCard()
    data: tuple[DataCard, ...] = ()
    evaluation: tuple[EvaluationCard, ...] = ()
    procedure: str = Field("", description="How it was trained, where no job says so.")
    compute: ComputeCard | None = None
    domain: TrainingDomain | None = Field(
        None, description="What slices looked like that it learned from; None: not known."
    )
    uncertainty: UncertaintyCard | None = Field(
        None, description="How far it may be off; None: that of the bundled model of its role."
    )

    @property
    def summary(self) -> str:
        """One line for a table or a list."""
        gains = ", ".join(f"{name} {value:+.2f}" for name, value in self.scores.items())
        gap = f"gap {self.gap:g}"
        if self.trained_by is None:
            gap = "gaps {:g} to {:g}".format(*self.gap_range)
        return f"{self.role} {self.architecture}, {gap}, {gains or 'not judged yet'}"
