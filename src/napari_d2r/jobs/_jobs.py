"""What is asked: one frozen value per job, written to and read from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError

from napari_d2r.errors import InputError
from napari_d2r.jobs._settings import (
    ClusterSettings,
    DegradationSettings,
    FrozenModel,
    PriorSettings,
    SamplerSettings,
    StudentSettings,
    TargetSettings,
)
from napari_d2r.jobs._yaml import parse_yaml
from napari_d2r.volumes import DegradationKind

Device = Literal["auto", "cpu", "cuda", "mps"]
Engine = Literal["auto", "torch", "half", "int8"]


class Job(FrozenModel):
    """What every job has in common."""

    device: Device = Field("auto", title="Device", description="auto: cuda, then mps, then cpu.")
    seed: int = Field(0, ge=0, title="Seed")

    def to_yaml(self) -> str:
        """The whole job as YAML; `from_yaml` reads it back."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))

    @classmethod
    def from_yaml(cls, text: str, origin: str = "The job") -> Self:
        """Read a job; a wrong field is named.

        Raises
        ------
        InputError
            For text that is not YAML, unknown fields and values out of range.
        """
        return cls.checked(parse_yaml(text, origin) or {}, origin)

    @classmethod
    def checked(cls, fields: Any, origin: str = "The job") -> Self:
        """Validate plain values; the first wrong one is named in one sentence."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the top level"
            raise InputError(f"{origin}: {where}: {first['msg']}.") from error

    def override(self, assignments: list[str]) -> Self:
        """Apply ``a.b=value`` assignments, values read as YAML.

        Raises
        ------
        InputError
            When a name does not exist or a value does not fit.
        """
        fields = self.model_dump(mode="json")
        for assignment in assignments:
            path, separator, value = assignment.partition("=")
            *parents, leaf = path.strip().split(".")
            target: Any = fields
            for parent in parents:
                target = target.get(parent) if isinstance(target, dict) else None
            if not separator or not isinstance(target, dict):
                raise InputError(
                    f"--set takes name=value with an existing name; got {assignment!r}."
                )
            target[leaf] = parse_yaml(value, f"--set {assignment}")
        return self.checked(fields, "--set")


class TrainJob(Job):
    """The three stages of D2R on one anisotropic stack, or its third on an isotropic reference."""

    factor: float | None = Field(
        None, gt=1, title="Factor", description="None: what makes the voxels isotropic."
    )
    max_minutes: float | None = Field(15.0, gt=0, title="Minutes", description="Time budget.")
    clock: Literal["wall", "processor"] = Field(
        "wall",
        title="Clock",
        description="By which the time budget is counted; processor: whatever else runs.",
    )
    judge: bool = Field(
        True,
        title="Judge",
        description="Say by leave-one-out what each model gains over linear interpolation, and "
        "prefer the better one; else the last one is preferred.",
    )
    max_voxels: int = Field(
        200_000_000, ge=100_000, title="Training voxels", description="More are cropped centrally."
    )
    start_from: Path | None = Field(
        None,
        title="Start from",
        description="None: from scratch. Else bundled, or the folder of a model to adapt.",
    )
    degradation: DegradationSettings = Field(DegradationSettings(), title="Degradation")
    reference: Path | None = Field(
        None,
        title="Reference",
        description="None: learn from the stack alone. Else an isotropic volume with the same "
        "pixels, from which stage III learns instead; stages I and II are left out.",
    )
    prior: PriorSettings | None = Field(PriorSettings(), title="Stage I")
    targets: TargetSettings = Field(TargetSettings(), title="Stage II")
    student: StudentSettings | None = Field(StudentSettings(), title="Stage III")


class SuperResolveJob(Job):
    """One stack to a finer one, block by block."""

    factor: float | None = Field(
        None, gt=1, title="Factor", description="None: what makes the voxels isotropic."
    )
    keep_measured: bool = Field(
        False, title="Keep measured slices", description="Round the factor to a whole number."
    )
    z_positions: tuple[float, ...] | None = Field(
        None,
        title="Positions along Z",
        description="Of every slice, in nm, where they stand at uneven distances. None: evenly.",
    )
    method: Literal["model", "nearest", "linear", "cubic"] = Field("model", title="Method")
    model: Path | None = Field(
        None, title="Model", description="Folder of a trained model; None: the bundled one."
    )
    degradation: DegradationKind = Field(
        "slice",
        title="Slices are",
        description="How they were measured, for interpolation (slice: point samples; block: means "
        "over a gap; gaussian: blurred along Z); a model knows what it restores.",
    )
    engine: Engine = Field(
        "auto",
        title="Engine",
        description="int8: eight-bit integers, faster on a processor; half: 16-bit floats. auto: "
        "int8 or half on a processor, half on cuda, where they lose next to nothing on the stack.",
    )
    compile: bool = Field(
        False,
        title="Compile",
        description="By torch's compiler, which takes minutes before it gains a little.",
    )
    sampler: SamplerSettings | None = Field(
        None, title="Sampling", description="Of a diffusion model. None: as its card says."
    )
    refine_with: Path | None = Field(
        None,
        title="Refine with",
        description="An IRSDE model that sharpens, in a few steps, what the model predicts: a "
        "sample. None: no refinement.",
    )
    uncertainty: bool = Field(
        False,
        title="Uncertainty",
        description="Write beside the result how far it may be off: 90 % of errors lie within.",
    )
    fall_back: bool = Field(
        True,
        title="Fall back where damaged",
        description="Fill gaps that look damaged or missing by linear interpolation.",
    )
    shard: int | None = Field(
        None, ge=32, title="Shard", description="Edge in voxels; None: from the measured rate."
    )
    shard_seconds: float = Field(
        10.0, gt=0, title="Seconds per shard", description="Fewer show results sooner."
    )
    max_memory_gb: float | None = Field(
        None, gt=0, title="Memory in GB", description="Most to use; None: what speed asks for."
    )
    max_minutes: float | None = Field(None, gt=0, title="Minutes", description="Stop, resumable.")
    cluster: ClusterSettings | None = Field(
        None, title="Cluster", description="None: shards are computed in this process."
    )
