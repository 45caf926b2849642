"""From a super-resolution job and a stack to a plan; nothing is written."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from napari_d2r.checkpoints import (
    Model,
    UncertaintyCard,
    compare_with_card,
    is_bundled,
    load_model,
    model_folder,
)
from napari_d2r.errors import InputError
from napari_d2r.inference import (
    AxialPredictor,
    InterpolationPredictor,
    OfOneSlab,
    ShardPlan,
    choose_shard,
    fastest_shard,
    measure_rate,
    predictor_of,
)
from napari_d2r.inspection import Finding
from napari_d2r.io import check_room, interrupted_shard, ome_zarr_num_bytes, ome_zarr_num_files
from napari_d2r.jobs import SamplerSettings, SuperResolveJob
from napari_d2r.models import OF_CHANNELS, architecture_named
from napari_d2r.stages._channels import refuse_channels
from napari_d2r.stages._device import computed_on, kind_of, planning_device, without_gpu
from napari_d2r.stages._engine import TORCH, planned_engine, resolve_engine
from napari_d2r.stages._identity import is_made
from napari_d2r.stages._output_file import check_output, is_one_file, store_of
from napari_d2r.stages._output_grid import output_grid, require_uneven, resolve_spacing
from napari_d2r.stages._sampling import load_refiner, sampler_of
from napari_d2r.stages._uncertainty import beside, uncertainty_card
from napari_d2r.volumes import (
    AxialGrid,
    Degradation,
    IntensityRange,
    Volume,
    VoxelSize,
    resolve_gap,
)

_TIMES_AS_LONG = 5  # with uncertainty: the result, two opinions, and what is made of them
_OTHER = "exists, and is of another input, model or settings"
_BASE_BYTES = 700_000_000  # Python, torch, and the pixels whose activations are held at once
# By model, gap, device and threads: a form plans anew at every change.
_known_rates: dict[tuple[object, ...], float] = {}


@dataclass(frozen=True, slots=True, eq=False)
class SuperResolvePlan:
    """What will happen: printable, and nothing has been written yet.

    ``fit`` is in what the volume is unlike those that the model knows; what is grave in it stands
    in ``warnings`` too. ``engine`` is what runs the model: equal names write equal bytes.
    ``uncertainty`` says how far the result may be off, where that was asked for. ``sampler`` is how
    it is drawn, None where it is no sample, and ``refiner`` what refines the model's prediction.
    ``is_made``: it was resolved to be resumed, and its whole result stands there already.
    """

    job: SuperResolveJob
    volume: Volume
    output: Path
    model: Model | None
    predictor: AxialPredictor
    intensity: IntensityRange
    grid: AxialGrid
    gap: float
    shard: ShardPlan
    device: torch.device
    warnings: tuple[str, ...]
    fit: tuple[Finding, ...] = ()
    engine: str = TORCH
    uncertainty: UncertaintyCard | None = None
    sampler: SamplerSettings | None = None
    refiner: Model | None = None
    is_made: bool = False

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(Z, Y, X) of the result."""
        return (self.grid.num_output, *self.volume.shape[1:])

    @property
    def voxel_size(self) -> VoxelSize:
        """Of the result."""
        return self.volume.voxel_size.with_upscale(self.grid.factor)

    @property
    def store(self) -> Path:
        """The store that is filled: the output itself, or for one file a store beside it."""
        return store_of(self.output)

    @property
    def num_bytes(self) -> int:
        """On disk without compression: the pyramid, or the file and the store it is made of."""
        num_bytes = ome_zarr_num_bytes(self.output_shape, self.volume.dtype)
        if is_one_file(self.output):
            num_bytes += math.prod(self.output_shape) * self.volume.dtype.itemsize
        num_bytes *= self.volume.num_channels or 1
        return num_bytes * (1 if self.uncertainty is None else 2)

    @property
    def num_files(self) -> int:
        """Most files and folders on the way to the result."""
        num_files = ome_zarr_num_files(self.output_shape, self.shard.shape)
        return num_files * (1 if self.uncertainty is None else 2)

    @property
    def memory_bytes(self) -> int:
        """Peak working memory: bounded by a shard and the pixels computed at once."""
        per_voxel = _bytes_per_voxel(self.job, self.volume, self.grid)
        return _BASE_BYTES + math.ceil(self.shard.num_computed * per_voxel)

    @property
    def seconds(self) -> float:
        """Estimated from the rate that was measured when planning."""
        z, y, x = self.output_shape
        seconds = z * y * x / self.shard.voxels_per_s
        return seconds if self.uncertainty is None else _TIMES_AS_LONG * seconds

    def lines(self) -> tuple[str, ...]:
        """The plan in words, for ``--dry-run`` and the top of a run."""
        shapes = [" x ".join(map(str, s)) for s in (self.volume.shape, self.output_shape)]
        edges = " x ".join(map(str, self.shard.shape))
        how = self.job.method if self.model is None else _in_words(self.model)
        if self.sampler is not None:
            how += ", " + _drawn(self.sampler, is_refined=self.refiner is not None)
        is_here = self.job.cluster is None
        where = computed_on(self.device) if is_here else kind_of(self.job, self.device)
        where += "" if self.engine == TORCH else f", {self.engine}"
        return (
            f"{self.volume.name}: {shapes[0]} voxels of {self.volume.voxel_size}",
            f"{self.output.name}: {shapes[1]} voxels of {self.voxel_size}, {self.volume.dtype}",
            f"by {how}, factor {self.grid.factor:g}, on {where}",
            f"in shards of {edges} voxels; memory about {self.memory_bytes / 1e9:.1f} GB, disk at "
            f"most {self.num_bytes / 1e9:.3g} GB in {self.num_files:,} files, time about "
            f"{duration(self.seconds)}",
        )


def resolve_super_resolve(
    job: SuperResolveJob,
    volume: Volume,
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> SuperResolvePlan:
    """Check input, model and output, measure the rate, and size the shards.

    Raises
    ------
    InputError
        For channels, too few slices, nothing to do, a factor out of range, an output that
        exists or cannot hold the result, a model that is missing or damaged, a memory limit
        that cannot be kept.
    """
    volume.require_slices()
    volume, factor, warnings = resolve_spacing(job, volume)
    gap = resolve_gap(volume.voxel_size, factor)
    device = planning_device(job)
    model = load_model(model_folder(job.model), device) if job.method == "model" else None
    refiner = load_refiner(job, device)
    sampler = sampler_of(job, model, refiner)
    predictor = _predictor(job, model, refiner)
    _check_channels(job, volume, model, output)
    how = _degradation(job, model)
    require_uneven(job, how, model)
    grid, told = output_grid(job, volume, factor, how, model)
    warnings += told
    if not volume.voxel_size.has_square_pixels:
        warnings.append(
            f"Pixels are {volume.voxel_size.y:g} x {volume.voxel_size.x:g} nm (y, x); the factor "
            "is taken against the finer of the two."
        )
    intensity = IntensityRange.of(volume)
    fit: tuple[Finding, ...] = ()
    engine = TORCH
    if model is not None and volume.num_channels is None:
        predictor, engine, notes = resolve_engine(
            "torch" if refiner is not None else planned_engine(job, device),
            model,
            predictor,
            volume,
            intensity,
            gap,
            compiles=job.compile,
        )
        warnings += notes
        warnings += without_gpu(job, device)
        fit = compare_with_card(volume, model.card, gap, intensity)
        warnings += [str(one) for one in fit if one.severity == "warning"]
    if sampler is not None:
        warnings.append(
            "The result is a diffusion sample: sharp, but one of many that fit the slices."
        )
    uncertainty = uncertainty_card(job, model) if job.uncertainty else None
    check_output(output, overwrite or resume)
    if uncertainty is not None and not resume:
        check_output(beside(output), overwrite)
    begun = interrupted_shard(store_of(output)) if resume else None
    fixed = begun or (None if job.shard is None else (job.shard,) * 3)
    shape, most = (grid.num_output, *volume.shape[1:]), _most_computed(job, volume, grid)
    timed = predictor
    if volume.num_channels is not None:
        timed = OfOneSlab(predictor, volume.num_channels)
    rate = _rate(model, refiner, sampler, timed, gap, device, engine)
    shard = choose_shard(shape, factor, predictor.halo, rate, job.shard_seconds, fixed, most)
    if fixed is None and device.type != "cpu":
        shard = fastest_shard(timed, shape, factor, gap, device, rate, most) or shard
    plan = SuperResolvePlan(
        job,
        volume,
        output,
        model,
        predictor,
        intensity,
        grid,
        gap,
        shard,
        device,
        tuple(warnings),
        fit,
        engine,
        uncertainty,
        sampler,
        refiner,
    )
    is_there = resume and is_made(plan)
    if is_there and begun is None:
        kept = f"{output.name} is complete, of the same input, model and settings; it is kept."
        return replace(plan, is_made=True, warnings=(kept,))
    # A file stands there before the store that it was made of is gone.
    is_ours = is_there and is_one_file(output)
    check_output(output, overwrite or is_ours, "exists" if begun else _OTHER)
    _check_memory(plan)
    if begun is None:  # an interrupted run has most of its room already
        check_room(output, plan.num_bytes, plan.num_files)
    return replace(plan, warnings=(*plan.warnings, *_short_of_memory(plan)))


def _check_channels(
    job: SuperResolveJob, volume: Volume, model: Model | None, output: Path
) -> None:
    """Refuse channels, unless the model restores as many together."""
    made_for = 1
    if model is not None and architecture_named(model.card.architecture).contract in OF_CHANNELS:
        made_for = int(model.card.options["out_channels"])
    if made_for == 1:
        refuse_channels(volume, "a model of a preset")
        return
    if made_for != volume.num_channels:
        raise InputError(
            f"This model restores {made_for} channels together; {volume.name} has "
            f"{volume.num_channels or 1}."
        )
    if job.uncertainty:
        raise InputError("Half-widths of several channels cannot be told; leave uncertainty out.")
    if job.engine not in ("auto", TORCH):
        raise InputError("Channels are restored together in float32 only; pass --engine torch.")
    if is_one_file(output):
        raise InputError(
            f"{output.name} would hold several channels, which are written as OME-Zarr only; give "
            "a name that ends in .ome.zarr."
        )


def predictor_of_job(job: SuperResolveJob, model: Model | None) -> AxialPredictor:
    """What fills the gaps, before an engine is chosen; workers elsewhere make the same of it."""
    device = None if model is None else next(model.network.parameters()).device
    return _predictor(job, model, load_refiner(job, device))


def _predictor(job: SuperResolveJob, model: Model | None, refiner: Model | None) -> AxialPredictor:
    if model is None:
        assert job.method != "model"
        return InterpolationPredictor(job.method)
    if refiner is None:
        return predictor_of(model, job.seed, job.sampler)
    base = predictor_of(model, job.seed)
    return predictor_of(refiner, job.seed, sampler_of(job, model, refiner), base)


def _degradation(job: SuperResolveJob, model: Model | None) -> Degradation:
    """How slices were measured: a model knows, for an interpolation the job says so."""
    if model is None:
        return Degradation(job.degradation)
    how = model.card.degradation.value
    if job.degradation not in ("slice", how.kind):
        raise InputError(
            f"This model learned from slices that are {how}; leave the degradation out, or take a "
            "model that was trained with yours."
        )
    return how


def _rate(
    model: Model | None,
    refiner: Model | None,
    sampler: SamplerSettings | None,
    predictor: AxialPredictor,
    gap: float,
    device: torch.device,
    engine: str,
) -> float:
    """Voxels per second, measured once for a model, a gap, a device and an engine."""
    if model is None:
        return measure_rate(predictor, gap, device)
    weights = [one.card.weights_sha256 for one in (model, refiner) if one is not None]
    key = (*weights, sampler, gap, device, engine, torch.get_num_threads())
    if key not in _known_rates:
        _known_rates[key] = measure_rate(predictor, gap, device)
    return _known_rates[key]


def _bytes_per_voxel(job: SuperResolveJob, volume: Volume, grid: AxialGrid) -> float:
    """Of a shard in the making: prediction (and two opinions), selection, encoding.

    All gaps are predicted at as many depths as the widest.
    """
    of_one_channel = (6 if job.uncertainty else 3) * 4 + 3 * volume.dtype.itemsize
    return of_one_channel * (volume.num_channels or 1) * grid.unevenness


def _most_computed(job: SuperResolveJob, volume: Volume, grid: AxialGrid) -> float:
    """Voxels of a shard with its halo that the memory limit allows."""
    if job.max_memory_gb is None:
        return math.inf
    return (job.max_memory_gb * 1e9 - _BASE_BYTES) / _bytes_per_voxel(job, volume, grid)


def _check_memory(plan: SuperResolvePlan) -> None:
    limit = plan.job.max_memory_gb
    if limit is not None and plan.memory_bytes > limit * 1e9:
        needed = math.ceil(plan.memory_bytes / 1e8) / 10
        edges = " x ".join(map(str, plan.shard.shape))
        raise InputError(
            f"{limit:g} GB of memory are too few: shards of {edges} voxels need {needed:.1f} GB; "
            "allow that much, or choose smaller shards."
        )


def _short_of_memory(plan: SuperResolvePlan) -> tuple[str, ...]:
    """A sentence where this machine has less memory free than the plan takes beyond its base."""
    free, needed = psutil.virtual_memory().available, plan.memory_bytes - _BASE_BYTES
    if needed <= free or plan.job.cluster is not None:
        return ()
    return (
        f"About {needed / 1e9:.1f} GB of memory are needed, and {free / 1e9:.1f} GB are free; "
        "close other programs, or choose smaller shards.",
    )


def _in_words(model: Model) -> str:
    """What the plan says of a model."""
    card = model.card
    if not is_bundled(model.path):
        return card.summary
    return f"the bundled model learned from {card.trained_on} ({card.summary})"


def _drawn(sampler: SamplerSettings, *, is_refined: bool) -> str:
    """How a sample is drawn, in words."""
    steps = "" if sampler.solver in ("reverse_sde", "posterior") else f"{sampler.steps} steps of "
    many = f", mean of {sampler.samples}" if sampler.samples > 1 else ""
    where = "" if sampler.direction == "mean" else f", {sampler.direction.upper()} slices alone"
    verb = "refined" if is_refined else "sampled"
    return f"{verb} by {steps}{sampler.solver}{many}{where}"


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
