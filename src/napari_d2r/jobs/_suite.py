"""Suites: which methods are held against each other, on what, and for how long."""

from __future__ import annotations

import json
import math
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from napari_d2r.errors import InputError
from napari_d2r.jobs._jobs import Job, SuperResolveJob, TrainJob
from napari_d2r.jobs._presets import load_preset
from napari_d2r.jobs._settings import DegradationSettings, FrozenModel, SamplerSettings
from napari_d2r.jobs._yaml import read_yaml

Metric = Literal[
    "psnr",
    "gain",
    "ssim",
    "ssim-gaussian",
    "ms-ssim",
    "fsc",
    "fsc-z",
    "detail",
    "sfrc",
    "slice-fid",
    "lpips",
    "shift",
]
PHANTOM = Path("phantom")
_NAME = r"^\w([\w .,+=()-]*[\w)+])?$"  # it is the name of a folder too


class SuiteCase(FrozenModel):
    """How the stack is made from the volume."""

    factor: int = Field(8, ge=2, le=16, title="Factor", description="One slice in so many.")
    degradation: DegradationSettings = Field(DegradationSettings(), title="Degradation")

    @property
    def name(self) -> str:
        """Of its folder, such as ``x8`` or ``x8-gaussian4``."""
        how = self.degradation
        if how.kind == "slice":
            return f"x{self.factor}"
        return f"x{self.factor}-{how.kind}" + (f"{how.sigma:g}" if how.kind == "gaussian" else "")


class SuiteMethod(FrozenModel):
    """One row: an interpolation, a model that exists, a preset, or the model of another row."""

    name: str = Field(pattern=_NAME, max_length=80)
    baseline: Literal["nearest", "linear", "cubic", "mis-phased"] | None = Field(
        None, description="mis-phased: what is often published as bicubic, half a gap off."
    )
    model: Path | None = Field(None, description="A folder, or bundled.")
    preset: str | None = None
    model_of: str | None = Field(None, description="A method before this one, whose model it uses.")
    set: dict[str, Any] = Field(
        default_factory=dict, description="Fields of the preset, such as targets.factor."
    )
    use: Literal["prior", "student"] | None = Field(
        None, description="Of the models that a training leaves; None: the better one."
    )
    super_resolve: dict[str, Any] = Field(
        default_factory=dict, description="Fields of the super-resolution, such as engine."
    )
    sampler: dict[str, Any] = Field(
        default_factory=dict,
        description="How a sample is drawn, such as direction; the rest as the model's card says.",
    )
    refine_with: str | None = Field(
        None, description="A method before this one, whose IRSDE model sharpens the result."
    )
    supervised: bool = Field(False, description="Learns from the reference of the suite.")
    blind: bool = Field(
        False, description="Learns as if slices were blurred as much as means over a gap are."
    )
    inference_share: float = Field(
        0.1, ge=0, lt=1, description="Part of the minutes kept for super-resolution."
    )
    cases: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Names of the cases it is for, such as x8-gaussian4; None: all.",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        origins = ("baseline", "model", "preset", "model_of")
        given = [name for name in origins if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{self.name} needs exactly one of {', '.join(origins)}")
        if self.preset is None and (self.set or self.supervised or self.blind):
            raise ValueError(f"{self.name} trains nothing: set, supervised and blind need a preset")
        SamplerSettings.model_validate(self.sampler)
        return self

    def serves(self, case: SuiteCase) -> bool:
        """Whether it is a row of this case."""
        return self.cases is None or case.name in self.cases

    @property
    def borrows(self) -> tuple[str, ...]:
        """Methods whose models it uses."""
        return tuple(other for other in (self.model_of, self.refine_with) if other is not None)

    def train_job(self, suite: Suite, case: SuiteCase, reference: Path | None) -> TrainJob | None:
        """The training of this row; None where it needs none.

        Raises
        ------
        InputError
            For an unknown preset, or a field that the job does not have.
        """
        if self.preset is None:
            return None
        changes: dict[str, Any] = {
            "factor": case.factor,
            "device": suite.device,
            "seed": suite.seed,
            "degradation": case.degradation.model_dump(),
        }
        if suite.minutes is not None:
            changes["max_minutes"] = suite.minutes * (1 - self.inference_share)
        if self.blind:  # a mean over r slices has the variance (r^2 - 1) / 12
            sigma = math.sqrt((case.factor**2 - 1) / 12)
            changes["degradation"] = {"kind": "gaussian", "sigma": sigma}
        if self.supervised:
            changes["reference"] = str(reference)
        assignments = [f"{k}={json.dumps(v)}" for k, v in (changes | self.set).items()]
        try:
            job = load_preset(self.preset).override(assignments)
        except InputError as error:
            raise InputError(f"Method {self.name} of the suite: {error}") from error
        has_choice = self.use is None and None not in (job.prior, job.student)
        return job.model_copy(update={"judge": has_choice and not self.supervised})

    def super_resolve_job(self, suite: Suite, case: SuiteCase) -> SuperResolveJob:
        """The super-resolution of this row, its model not yet named.

        By torch in full precision and without a look at damage, unless the row says otherwise:
        the method is judged, not what stands around it.
        """
        fields: dict[str, Any] = {
            "factor": case.factor,
            "device": suite.device,
            "seed": suite.seed,
            "engine": "torch",
            "fall_back": False,
            "method": "cubic" if self.baseline == "mis-phased" else self.baseline or "model",
        }
        if self.baseline is not None:
            fields["degradation"] = case.degradation.kind
        return SuperResolveJob.checked(fields | self.super_resolve, f"Method {self.name}")


class Suite(Job):
    """Methods on one volume, under one budget."""

    title: str = ""
    volume: Path | None = Field(
        None, description="Isotropic; phantom is the built-in one; None: named when it is run."
    )
    reference: Path | None = Field(
        None, description="Another isotropic volume, from which supervised methods learn."
    )
    crop: tuple[int, int, int] | None = Field(
        None, description="Central voxels (z, y, x); None: all of the volume."
    )
    cases: tuple[SuiteCase, ...] = Field((SuiteCase(),), min_length=1)
    minutes: float | None = Field(
        15.0,
        gt=0,
        description="Of each method, training and super-resolution together; None: as presets say.",
    )
    threads: int = Field(1, ge=1, description="Of torch, on a processor.")
    metrics: tuple[Metric, ...] = ("psnr", "gain", "ssim", "fsc")
    perception: str | None = Field(
        None,
        description="Networks for slice-fid and lpips: a folder, download, or random, a stand-in.",
    )
    methods: tuple[SuiteMethod, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        names = [method.name.lower() for method in self.methods]  # folders may not know case
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"two methods are called {twice[0]!r}")
        known = {case.name for case in self.cases}
        trained: dict[str, set[str]] = {}
        for method in self.methods:
            for name in method.cases or ():
                if name not in known:
                    raise ValueError(f"{method.name}: no case is called {name!r}")
            cases = [case for case in self.cases if method.serves(case)]
            served = {case.name for case in cases}
            is_of_slices = method.blind or method.baseline == "mis-phased"
            if is_of_slices and any(case.degradation.kind == "block" for case in cases):
                raise ValueError(f"{method.name}: who does not know of blocks is half a gap off")
            for other in method.borrows:
                if not served <= trained.get(other, set()):
                    raise ValueError(f"{method.name}: no method before it trains {other!r}")
            if method.preset is not None:
                trained[method.name] = served
        if self.perception is None and {"slice-fid", "lpips"} & set(self.metrics):
            raise ValueError("slice-fid and lpips need perception: random, download or a folder")
        return self

    def only(self, names: list[str]) -> Suite:
        """The methods with these names, and those whose models they use.

        Raises
        ------
        InputError
            For a name that is not among them.
        """
        known = {method.name: method for method in self.methods}
        for name in names:
            if name not in known:
                raise InputError(f"The suite has no method {name!r}; it has {', '.join(known)}.")
        wanted = {*names, *(other for name in names for other in known[name].borrows)}
        kept = tuple(method for method in self.methods if method.name in wanted)
        return self.model_copy(update={"methods": kept})


def suite_names() -> tuple[str, ...]:
    """Names of the suites that ship with the package."""
    files = (resources.files("napari_d2r.jobs") / "suites").iterdir()
    return tuple(sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml")))


def load_suite(suite: str | Path) -> Suite:
    """Read a suite: a file, or the name of one that ships with the package.

    Raises
    ------
    InputError
        When there is none, or a field is wrong.
    """
    path = Path(suite)
    if path.is_file():
        return Suite.from_yaml(read_yaml(path), str(path))
    if str(suite) not in suite_names():
        raise InputError(
            f"There is no suite {str(suite)!r}; give a YAML file, or one of "
            f"{', '.join(suite_names())}."
        )
    text = (resources.files("napari_d2r.jobs") / "suites" / f"{suite}.yaml").read_text("utf-8")
    return Suite.from_yaml(text, f"Suite {suite}")
