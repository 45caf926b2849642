"""Super-resolution: one anisotropic stack to a finer one, shard by shard."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from napari_d2r.checkpoints import Model, load_model
from napari_d2r.errors import InputError
from napari_d2r.inference import (
    CHUNK,
    AxialPredictor,
    Box,
    InterpolationPredictor,
    Interrupted,
    ShardPlan,
    choose_shard,
    fill_shard,
    measure_rate,
    predictor_for,
)
from napari_d2r.io import (
    OmeZarrOutput,
    check_room,
    create_output,
    interrupted_shard,
    ome_zarr_num_bytes,
    save_tiff,
)
from napari_d2r.jobs import (
    BlockWritten,
    CancelToken,
    Event,
    Finished,
    Outcome,
    Progress,
    StageStarted,
    Started,
    SuperResolveJob,
    Warned,
)
from napari_d2r.models import architecture_named
from napari_d2r.stages._device import resolve_device
from napari_d2r.volumes import (
    AxialGrid,
    IntensityRange,
    Volume,
    VoxelSize,
    resolve_factor,
    resolve_gap,
)

TIFF_SUFFIXES, ZARR_SUFFIX = (".tif", ".tiff"), ".zarr"
_BATCH_SHARD_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class SuperResolvePlan:
    """What will happen: printable, and nothing has been written yet."""

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

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(Z, Y, X) of the result."""
        return (self.grid.num_output, *self.volume.shape[1:])

    @property
    def voxel_size(self) -> VoxelSize:
        """Of the result."""
        return self.volume.voxel_size.with_upscale(self.grid.factor)

    @property
    def num_bytes(self) -> int:
        """On disk without compression: the pyramid, or the TIFF and the store it is made of."""
        num_bytes = ome_zarr_num_bytes(self.output_shape, self.volume.dtype)
        if _is_tiff(self.output):
            num_bytes += math.prod(self.output_shape) * self.volume.dtype.itemsize
        return num_bytes

    @property
    def memory_bytes(self) -> int:
        """Peak working memory: bounded by a shard and the pixels computed at once."""
        per_voxel = 3 * 4 + 3 * self.volume.dtype.itemsize  # prediction, selection, encoding
        return round(self.shard.num_voxels * per_voxel / self.shard.efficiency) + 700_000_000

    @property
    def seconds(self) -> float:
        """Estimated from the rate that was measured when planning."""
        z, y, x = self.output_shape
        return z * y * x / self.shard.voxels_per_s

    def lines(self) -> tuple[str, ...]:
        """The plan in words, for ``--dry-run`` and the top of a run."""
        shapes = [" x ".join(map(str, s)) for s in (self.volume.shape, self.output_shape)]
        edges = " x ".join(map(str, self.shard.shape))
        how = self.job.method if self.model is None else self.model.card.summary
        return (
            f"{self.volume.name}: {shapes[0]} voxels of {self.volume.voxel_size}",
            f"{self.output.name}: {shapes[1]} voxels of {self.voxel_size}, {self.volume.dtype}",
            f"by {how}, factor {self.grid.factor:g}, on {self.device}",
            f"in shards of {edges} voxels; memory about {self.memory_bytes / 1e9:.1f} GB, disk at "
            f"most {self.num_bytes / 1e9:.3g} GB, time about {duration(self.seconds)}",
        )


@dataclass(frozen=True, slots=True)
class SuperResolved:
    """What a finished run leaves behind."""

    path: Path
    shape: tuple[int, int, int]
    voxel_size: VoxelSize
    seconds: float

    def summary(self) -> dict[str, object]:
        """Plain values: ``path``, ``shape``, ``voxel_size_nm`` and ``seconds``."""
        return {
            "path": str(self.path),
            "shape": list(self.shape),
            "voxel_size_nm": list(self.voxel_size),
            "seconds": self.seconds,
        }


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
        exists or cannot hold the result, a model that is missing or damaged.
    """
    volume.require_single_channel()
    volume.require_slices()
    warnings = []
    factor = resolve_factor(volume.voxel_size, job.factor)
    gap = resolve_gap(volume.voxel_size, factor)
    if job.keep_measured and factor != round(factor):
        rounded = float(max(2, round(factor)))
        warnings.append(
            f"The factor {factor:g} is rounded to {rounded:g} to keep every measured slice; "
            f"voxels will be {volume.voxel_size.z / rounded:g} nm along Z."
        )
        factor = rounded
    grid = AxialGrid(volume.shape[0], factor)
    if not grid.is_integer:
        warnings.append(
            f"The factor {factor:g} is not whole: output slices stand every "
            f"{volume.voxel_size.z / factor:g} nm and measured slices are kept where they fall "
            "on that grid; --keep-measured keeps them all."
        )
    if not volume.voxel_size.has_square_pixels:
        warnings.append(
            f"Pixels are {volume.voxel_size.y:g} x {volume.voxel_size.x:g} nm (y, x); the factor "
            "is taken against the finer of the two."
        )
    device = resolve_device(job.device)
    model, predictor = _method(job, device)
    if model is not None:
        warnings += _mismatches(model, gap)
    intensity = IntensityRange.of(volume)
    _check_output(output, overwrite)
    begun = interrupted_shard(_store_of(output)) if resume else None
    shard = choose_shard(
        (grid.num_output, *volume.shape[1:]),
        factor,
        predictor.halo,
        measure_rate(predictor, gap, device),
        _BATCH_SHARD_S,
        begun or (None if job.shard is None else (job.shard,) * 3),
    )
    plan = SuperResolvePlan(
        job, volume, output, model, predictor, intensity, grid, gap, shard, device, tuple(warnings)
    )
    if begun is None:  # an interrupted run has most of its room already
        check_room(output, plan.num_bytes)
    return plan


def run_super_resolve(
    plan: SuperResolvePlan,
    *,
    resume: bool = False,
    overwrite: bool = False,
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """Fill the output; ends in ``Finished`` with `SuperResolved`, or with the partial path.

    Cancelling keeps finished shards beside the output, and ``resume`` goes on from them.

    Raises
    ------
    InputError
        When voxels cannot be used, or ``resume`` meets other input, model or settings.
    DiskFullError
        When the disk runs out of room; finished shards are kept.
    """
    began = time.perf_counter()
    output = create_output(
        _store_of(plan.output),
        shape=plan.output_shape,
        dtype=plan.volume.dtype,
        voxel_size=plan.voxel_size,
        identity=_identity(plan),
        shard=plan.shard.shape,
        chunk=CHUNK,
        resume=resume,
        overwrite=overwrite,
    )
    yield Started("super-resolve", output.partial_path)
    for warning in plan.warnings:
        yield Warned(warning)
    yield StageStarted("super-resolve", 1, 2)
    outcome = yield from _fill(plan, output, cancel, began)
    if outcome is not Outcome.COMPLETED:
        yield Finished(outcome, output.partial_path)
        return
    if _is_tiff(plan.output):
        yield StageStarted("write TIFF", 2, 2)
        save_tiff(
            plan.output,
            output.slices(),
            shape=plan.output_shape,
            dtype=plan.volume.dtype,
            voxel_size=plan.voxel_size,
            overwrite=overwrite,
        )
        output.discard()
    else:
        yield StageStarted("write the image pyramid", 2, 2)
        output.publish(_provenance(plan))
    result = SuperResolved(
        plan.output, plan.output_shape, plan.voxel_size, time.perf_counter() - began
    )
    yield Finished(Outcome.COMPLETED, result)


def _fill(
    plan: SuperResolvePlan, output: OmeZarrOutput, cancel: CancelToken | None, began: float
) -> Generator[Event, None, Outcome]:
    """Write every shard that is not done yet; returns how it ended."""
    shards = output.shards()
    finished = output.done
    done, written, started = len(finished), 0, time.perf_counter()
    yield Progress(done, len(shards), "shards")
    for shard in shards:
        if shard.index in finished:
            continue
        limit = plan.job.max_minutes
        if limit is not None and time.perf_counter() - began > 60 * limit:
            return Outcome.OUT_OF_TIME
        try:
            values = fill_shard(
                plan.volume,
                plan.grid,
                Box(shard.start, shard.stop),
                plan.predictor,
                plan.intensity,
                plan.gap,
                plan.device,
                cancel,
            )
        except Interrupted:
            return Outcome.CANCELLED
        output.write(shard, values)
        done, written = done + 1, written + 1
        yield BlockWritten(shard.start, shard.stop)
        eta = (time.perf_counter() - started) / written * (len(shards) - done)
        yield Progress(done, len(shards), "shards", eta_s=eta)
        if cancel:
            return Outcome.CANCELLED
    return Outcome.COMPLETED


def _method(job: SuperResolveJob, device: torch.device) -> tuple[Model | None, AxialPredictor]:
    if job.method != "model":
        return None, InterpolationPredictor(job.method)
    if job.model is None:
        raise InputError("No model was given; pass --model FOLDER, or --model linear.")
    model = load_model(job.model, device)
    predictor = predictor_for(
        model.network,
        architecture_named(model.card.architecture).contract,
        halo=model.card.halo,
        prediction=model.card.prediction,
        sampler=model.card.sampler,
        seed=job.seed,
    )
    return model, predictor


def _mismatches(model: Model, gap: float) -> Iterator[str]:
    low, high = model.card.gap_range
    if not low - 0.5 <= gap <= high + 0.5:
        yield (
            f"The slices are {gap:g} lateral voxels apart, but the model has practised {low:g} to "
            f"{high:g}; compare its result with linear before you trust it."
        )
    if model.card.sampler is not None:
        yield "The result is a diffusion sample: sharp, but one of many that fit the slices."


def _store_of(output: Path) -> Path:
    """The store that is filled: the output itself, or for TIFF one beside it."""
    return output.with_name(output.name + ".ome.zarr") if _is_tiff(output) else output


def _is_tiff(output: Path) -> bool:
    return output.suffix.lower() in TIFF_SUFFIXES


def _check_output(output: Path, overwrite: bool) -> None:
    if not _is_tiff(output) and output.suffix.lower() != ZARR_SUFFIX:
        raise InputError(f"{output.name} must end in .ome.zarr or .tif, which can be written.")
    if _is_tiff(output) and output.is_dir():
        raise InputError(f"{output} is a folder; give the name of a TIFF file.")
    if output.exists() and not overwrite:
        raise InputError(f"{output} exists; pass --overwrite to replace it, or another name.")
    if not output.resolve().parent.is_dir():
        raise InputError(f"There is no folder {output.resolve().parent}; create it first.")


def _identity(plan: SuperResolvePlan) -> str:
    """A hash of everything that shapes the result: input, model and settings."""
    volume, grid = plan.volume, plan.grid
    weights = plan.model.card.weights_sha256 if plan.model else plan.job.method
    facts = (volume.shape, str(volume.dtype), tuple(volume.voxel_size), grid.factor, plan.gap)
    digest = hashlib.sha256(f"{facts} {weights} {plan.job.seed} {plan.intensity}".encode())
    for k in (0, volume.shape[0] // 2, volume.shape[0] - 1):
        digest.update(volume.read(z=slice(k, k + 1)).tobytes())
    return digest.hexdigest()


def _provenance(plan: SuperResolvePlan) -> dict[str, object]:
    """What is written beside the voxels."""
    return {
        "version": version("napari-d2r"),
        "source": plan.volume.name,
        "source_voxel_size_nm": list(plan.volume.voxel_size),
        "factor": plan.grid.factor,
        "method": plan.job.method if plan.model is None else plan.model.card.summary,
        "weights_sha256": "" if plan.model is None else plan.model.card.weights_sha256,
        "is_sample": plan.model is not None and plan.model.card.sampler is not None,
        "measured_slices_at_multiples_of": plan.grid.factor if plan.grid.is_integer else None,
        "seed": plan.job.seed,
    }


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
