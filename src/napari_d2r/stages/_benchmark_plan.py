"""From a suite and a volume to the runs that it takes; nothing is written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from napari_d2r.checkpoints import load_card, model_folder
from napari_d2r.errors import InputError
from napari_d2r.io import open_volume
from napari_d2r.jobs import PHANTOM, Suite, SuiteCase, SuiteMethod, SuperResolveJob, TrainJob
from napari_d2r.samples import phantom_sample
from napari_d2r.stages._benchmark_report import needs_controls
from napari_d2r.stages._device import resolve_device
from napari_d2r.volumes import Volume, VoxelSize, centred_box, require_finite

SUITE, MODEL, RESULT, STACK = "suite.yaml", "model", "result.ome.zarr", "stack.tif"


@dataclass(frozen=True, slots=True)
class BenchmarkRun:
    """One method on one case.

    ``training`` and ``identity`` are hashes of all that shapes the model, and the row;
    ``lacks`` says what is missing where it cannot run.
    """

    case: SuiteCase
    method: SuiteMethod
    folder: Path
    train: TrainJob | None
    super_resolve: SuperResolveJob
    training: str
    identity: str
    lacks: str = ""

    @property
    def title(self) -> str:
        """For the reader."""
        return f"{self.method.name}, {self.case.name}"


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkPlan:
    """What will happen: printable, and nothing has been written yet."""

    suite: Suite
    truth: Volume
    folder: Path
    runs: tuple[BenchmarkRun, ...]
    device: torch.device

    def lines(self) -> tuple[str, ...]:
        """The plan in words."""
        shape = " x ".join(map(str, self.truth.shape))
        trained = sum(run.train is not None and not run.lacks for run in self.runs)
        minutes = self.suite.minutes
        each = "as long as its preset says" if minutes is None else f"{minutes:g} minutes each"
        return (
            f"{self.truth.name}: {shape} voxels of {self.truth.voxel_size}",
            f"{len(self.runs)} runs on {self.device}, {trained} of them with a training, {each}",
            *(f"  {run.title}{': ' + run.lacks if run.lacks else ''}" for run in self.runs),
        )

    def stack(self, case: SuiteCase) -> Volume:
        """What a microscope would have measured of the truth."""
        measured = case.degradation.value.simulate(self.truth.read(), case.factor)
        z, y, x = self.truth.voxel_size
        return Volume(measured, VoxelSize(z * case.factor, y, x), f"{self.truth.name}, {case.name}")


def resolve_benchmark(
    suite: Suite,
    volume: Volume | None,
    folder: Path,
    *,
    reference: Path | None = None,
    only: Sequence[str] = (),
) -> BenchmarkPlan:
    """Check suite, volume and every job of it.

    Parameters
    ----------
    volume
        The isotropic truth; None: that of the suite.
    reference
        What supervised methods learn from; None: that of the suite.
    only
        Names of methods; none: all.

    Raises
    ------
    InputError
        For a volume that is missing, not isotropic or too small, an unknown preset, model or
        field.
    """
    chosen = suite.only(list(only)) if only else suite
    truth = _cropped(volume or _volume_of(suite), suite)
    device = resolve_device(suite.device)
    reference = reference or suite.reference
    voxels = hashlib.sha256(np.ascontiguousarray(truth.read()).tobytes()).hexdigest()
    trainings: dict[tuple[str, str], str] = {}
    runs = []
    for case in suite.cases:
        _require_long_enough(truth, case)
        for method in (m for m in chosen.methods if m.serves(case)):
            where, lacks = folder / case.name / method.name, _lacks(method, case, reference)
            train = None if lacks else method.train_job(suite, case, reference)
            if train is not None:
                clock = "processor" if device.type == "cpu" else "wall"
                train = train.model_copy(update={"clock": clock})
            job = method.super_resolve_job(suite, case)
            refiner = method.refine_with and where.parent / method.refine_with / MODEL
            model = _model_of(method, where)
            job = job.model_copy(update={"model": model, "refine_with": refiner})
            facts = [voxels, case.model_dump_json(), str(suite.threads)]
            learns = "" if train is None else _digest(*facts, train.to_yaml())
            trainings[case.name, method.name] = learns
            identity = _digest(
                *facts,
                job.to_yaml(),
                str(method.sampler),
                "" if model is None or method.model is None else load_card(model)[0].weights_sha256,
                *(trainings[case.name, other] for other in (method.name, *method.borrows)),
                f"{suite.perception} {needs_controls(suite)}",
            )
            runs.append(BenchmarkRun(case, method, where, train, job, learns, identity, lacks))
    return BenchmarkPlan(suite, truth, folder, tuple(runs), device)


def _digest(*facts: str) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _lacks(method: SuiteMethod, case: SuiteCase, reference: Path | None) -> str:
    """Why a method cannot run, if it cannot."""
    if method.supervised and reference is None:
        return "learns from a reference, and none was given"
    if method.model is not None and case.degradation.kind == "block":
        card, _ = load_card(model_folder(method.model))
        if card.degradation.kind != "block":
            return "does not know of means over a gap, and would be half a gap off"
    return ""


def _model_of(method: SuiteMethod, folder: Path) -> Path | None:
    if method.baseline is not None:
        return None
    if method.model is not None:
        model = model_folder(method.model)
    else:
        model = (folder.parent / (method.model_of or method.name)) / MODEL
    return model / method.use if method.use else model


def _volume_of(suite: Suite) -> Volume:
    if suite.volume is None:
        raise InputError("The suite names no volume; name an isotropic one when you run it.")
    return phantom_sample()[1] if suite.volume == PHANTOM else open_volume(suite.volume)


def _cropped(volume: Volume, suite: Suite) -> Volume:
    """The central voxels of the truth, in memory."""
    volume.require_single_channel()
    edges = list(volume.voxel_size)
    if max(edges) > 1.05 * min(edges):
        raise InputError(
            f"{volume.name} has voxels of {volume.voxel_size}; a benchmark leaves slices of an "
            "isotropic volume out, so choose one (--voxel-size corrects a wrong size)."
        )
    values = volume.read(*centred_box(volume.shape, suite.crop or volume.shape))
    require_finite(values, volume.name)
    return Volume(values, volume.voxel_size, volume.name, volume.source)


def _require_long_enough(truth: Volume, case: SuiteCase) -> None:
    fewest = 4
    if truth.shape[0] < (fewest - 1) * case.factor + 1:
        raise InputError(
            f"{truth.shape[0]} slices of {truth.name} leave fewer than {fewest} at factor "
            f"{case.factor}; choose a larger crop or a smaller factor."
        )
