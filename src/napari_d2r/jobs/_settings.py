"""The settings of a job: frozen, titled and described, so that files and forms agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_d2r.volumes import Degradation, DegradationKind


class FrozenModel(BaseModel):
    """A value that a person writes or reads: immutable, and no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DegradationSettings(FrozenModel):
    """How the slices were measured, which is what training imitates and undoes."""

    kind: DegradationKind = Field(
        "slice",
        title="Slices are",
        description="slice: point samples; block: means over a gap; gaussian: samples of a "
        "volume that is blurred along Z.",
    )
    sigma: float = Field(
        4.0,
        gt=0,
        title="Sigma",
        description="Of a gaussian, in lateral voxels: its width at half height over 2.355.",
    )
    spread: float = Field(
        1.0,
        ge=1,
        title="Spread",
        description="1: sigma is known. 2: anything from half of it to twice is practised (blind).",
    )

    @property
    def value(self) -> Degradation:
        """What these settings describe."""
        return Degradation(self.kind, self.sigma, self.spread)


class NetworkSettings(FrozenModel):
    """Which network, by its name in the registry, and its size."""

    architecture: str = Field(title="Network", description="A name from the registry.")
    options: dict[str, Any] = Field(
        default_factory=dict, title="Size", description="Fields of the network's own config."
    )


class OptimizerSettings(FrozenModel):
    """How a network is fitted."""

    method: Literal["adamw", "muon"] = Field(
        "adamw", title="Method", description="muon learns convolutions in fewer steps."
    )
    learning_rate: float = Field(2e-3, gt=0, title="Learning rate")
    batch: int = Field(16, ge=1, title="Batch", description="Crops per step.")
    max_steps: int | None = Field(
        None, ge=1, title="Steps", description="None: as many as the time budget allows."
    )
    share: float = Field(
        0.5, gt=0, le=1, title="Share", description="Part of the time budget left at this stage."
    )
    schedule: Literal["cosine", "plateau"] = Field(
        "cosine", title="Schedule", description="Cosine to zero, or halve when validation stalls."
    )
    patience: int = Field(5, ge=1, title="Patience", description="Validations before halving.")
    warmup_steps: int = Field(50, ge=1, title="Warm-up steps")
    weight_decay: float = Field(0.0, ge=0, title="Weight decay")
    ema_decay: float = Field(
        0.995, ge=0, lt=1, title="Averaging", description="Of weights, step by step."
    )
    clip_norm: float = Field(1.0, gt=0, title="Gradient limit", description="Of its norm.")
    validate_every: int = Field(
        150, ge=1, title="Validate every", description="Steps between validations."
    )


class LossSettings(FrozenModel):
    """Weights of the losses; zero leaves one out."""

    l1: float = Field(1.0, ge=0, title="L1")
    l2: float = Field(0.0, ge=0, title="L2")
    ssim: float = Field(0.0, ge=0, title="1 - SSIM")
    ffl: float = Field(0.0, ge=0, title="Focal frequency")
    continuity: float = Field(
        0.0,
        ge=0,
        title="Continuity",
        description="Slices of a gap change little and evenly; for networks of sequences.",
    )
    perception: str = Field(
        "",
        title="Perception",
        description="Folder with the weights of LPIPS, by which continuity is then judged; empty: "
        "by edges.",
    )
    cubic: float = Field(
        0.0,
        ge=0,
        title="Cubic-weighted",
        description="Squares, where cubic interpolation errs above all; for networks of blocks.",
    )

    @property
    def weights(self) -> dict[str, float]:
        """Of the losses that count, by name."""
        named = self.model_dump(exclude={"perception"})
        return {name: weight for name, weight in named.items() if weight}


class DDNMSettings(FrozenModel):
    """How an unconditional prior restores one slice after the other (Lee and Jeong)."""

    operator: Literal["exact", "blind"] = Field(
        "exact",
        title="Operator",
        description="exact: what the degradation of the job says; blind: linear interpolation.",
    )
    level: int = Field(
        200,
        ge=1,
        le=1000,
        title="Level",
        description="Time up to which a restored slice is encoded to begin the next one.",
    )
    encode_steps: int = Field(4, ge=1, le=1000, title="Encoding steps")
    first_steps: int = Field(
        250, ge=1, le=1000, title="First steps", description="Of the first slice, from pure noise."
    )


Direction = Literal["mean", "xz", "yz"]


class SamplerSettings(FrozenModel):
    """How a diffusion prior is turned into a slice."""

    direction: Direction = Field(
        "mean",
        title="Direction",
        description="Of methods that restore lateral slices: mean averages XZ and YZ slices.",
    )

    solver: Literal["reverse_sde", "posterior", "ddim", "dpm++"] = Field(
        "dpm++",
        title="Solver",
        description="Of IRSDE: the paper's reverse SDE takes 100 steps. DDPMs take ddim.",
    )
    steps: int = Field(8, ge=1, le=1000, title="Steps")
    start: int | None = Field(
        None,
        ge=1,
        le=100,
        title="Start",
        description="Time at which IRSDE begins: None is its end, 100; a refinement begins late.",
    )
    eta: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Fresh noise",
        description="Of ddim, step by step: 0 is none, 1 as much as DDPM has.",
    )
    samples: int = Field(
        1, ge=1, le=64, title="Samples", description="Averaged; one sample is sharp, many are true."
    )
    shared_noise: bool = Field(
        True, title="Shared noise", description="The same noise for all slices of a direction."
    )
    blur: float = Field(
        0.0,
        ge=0,
        le=2,
        title="Blur",
        description="Of MSDSR: standard deviation of a Gaussian of 3 x 3 x 3 voxels; measured "
        "slices stay as they are.",
    )
    ddnm: DDNMSettings = Field(DDNMSettings(), title="DDNM")


class PriorSettings(FrozenModel):
    """Stage I: a 2D network learns from XY slices with rows left out."""

    prediction: Literal["x0", "noise"] = Field(
        "x0",
        title="Prediction",
        description="IRSDE: clean slice, or the paper's noise with its maximum-likelihood loss.",
    )
    network: NetworkSettings = Field(NetworkSettings(architecture="lateral"), title="Network")
    optimizer: OptimizerSettings = Field(OptimizerSettings(), title="Fitting")
    loss: LossSettings = Field(LossSettings(l1=0, l2=1), title="Losses")
    num_gaps: int = Field(8, ge=1, title="Gaps per crop", description="Rows of a crop, in gaps.")
    columns: int = Field(128, ge=16, title="Columns per crop")

    @model_validator(mode="before")
    @classmethod
    def _without_process(cls, fields: Any) -> Any:
        """Cards and jobs of early versions name the process too, which the network implies."""
        if isinstance(fields, dict) and fields.get("process") in ("regression", "irsde"):
            return {name: value for name, value in fields.items() if name != "process"}
        return fields


class TargetSettings(FrozenModel):
    """Stage II: the pseudo-HR volume from which stage III learns."""

    kind: Literal["none", "linear", "prior"] = Field(
        "prior",
        title="Targets",
        description="none: the raw stack (k = 1); linear: interpolated; prior: restored by stage I",
    )
    factor: int | None = Field(None, ge=1, title="k", description="None: the factor r, rounded.")
    sampler: SamplerSettings = Field(SamplerSettings(), title="Sampling")
    max_voxels: int = Field(
        20_000_000, ge=100_000, title="Size", description="Voxels of the pseudo-HR volume."
    )


class StudentSettings(FrozenModel):
    """Stage III: the fast network that learns from lateral sequences of the pseudo-HR volume."""

    network: NetworkSettings = Field(NetworkSettings(architecture="aenet-fast"), title="Network")
    optimizer: OptimizerSettings = Field(OptimizerSettings(share=1.0), title="Fitting")
    loss: LossSettings = Field(LossSettings(l1=0, l2=1), title="Losses")
    crop: int = Field(80, ge=16, title="Crop", description="Edge of a crop in pixels.")
    block_slices: int = Field(
        8, ge=2, title="Slices per block", description="For networks of blocks, such as srunet."
    )
    input_noise: float = Field(
        1.5,
        ge=0,
        title="Input noise",
        description="Times the noise of measured slices, added where stage II took it away.",
    )


class ClusterSettings(FrozenModel):
    """Which processes compute the shards, through dask; the result is the same by all."""

    scheduler: str | None = Field(
        None, title="Scheduler", description="Address, such as tcp://node:8786; None: of our own."
    )
    kind: Literal["local", "slurm"] = Field(
        "local", title="Cluster", description="Of our own: processes here, or jobs of SLURM."
    )
    workers: int | None = Field(
        None, ge=1, le=4096, title="Workers", description="None: one per GPU, or one."
    )
    site: Path | None = Field(
        None, title="Site file", description="YAML with what dask-jobqueue's SLURMCluster takes."
    )
