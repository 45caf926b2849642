"""Super-resolution: one anisotropic stack to a finer one, shard by shard."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_d2r.checkpoints import UncertaintyCard
from napari_d2r.inference import (
    CHUNK,
    Box,
    Interrupted,
    fill_in_parts,
    fill_shard,
)
from napari_d2r.io import OmeZarrOutput, Shard, create_output, save_tiff_stream
from napari_d2r.jobs import (
    BlockWritten,
    CancelToken,
    Event,
    Finished,
    Outcome,
    Progress,
    Provenance,
    StageStarted,
    Started,
    Warned,
)
from napari_d2r.stages._ahead import made_ahead
from napari_d2r.stages._beats import CountingToken
from napari_d2r.stages._guard import find_damage, guarded, told_damage
from napari_d2r.stages._half_widths import half_width_plan
from napari_d2r.stages._provenance import provenance_of
from napari_d2r.stages._super_resolve_plan import (
    SuperResolvePlan,
    is_tiff,
    resolve_super_resolve,
)
from napari_d2r.stages._uncertainty import beside
from napari_d2r.volumes import VoxelSize

__all__ = [
    "SuperResolvePlan",
    "SuperResolved",
    "beside",
    "provenance_of",
    "resolve_super_resolve",
    "run_super_resolve",
]

_HASHED_BYTES, _SLAB_SLICES = 2**30, 16


@dataclass(frozen=True, slots=True)
class SuperResolved:
    """What a finished run leaves behind."""

    path: Path
    shape: tuple[int, int, int]
    voxel_size: VoxelSize
    seconds: float
    num_written: int
    """Voxels computed in this session: after a resume, fewer than the result holds."""
    uncertainty: Path | None = None
    """Half-widths of intervals that hold 90 % of the errors, where they were asked for."""

    def summary(self) -> dict[str, object]:
        """Plain values: ``path``, ``shape``, ``voxel_size_nm``, ``seconds``, ``uncertainty``."""
        return {
            "path": str(self.path),
            "shape": list(self.shape),
            "voxel_size_nm": list(self.voxel_size),
            "seconds": self.seconds,
            "uncertainty": None if self.uncertainty is None else str(self.uncertainty),
        }


def run_super_resolve(
    plan: SuperResolvePlan,
    *,
    resume: bool = False,
    overwrite: bool = False,
    cancel: CancelToken | None = None,
    first: tuple[float, float, float] | None = None,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    provenance: Provenance | None = None,
) -> Iterator[Event]:
    """Fill the output; ends in ``Finished`` with `SuperResolved`, or with the partial path.

    Cancelling keeps finished shards beside the output, and ``resume`` goes on from them; so
    it does where all shards are finished, and the coarser levels or the TIFF are not.
    The shards closest to ``first`` (z, y, x in output voxels) come first; any order gives
    the same bytes. ``origin`` is where the centre of the first voxel stands, in nm (z, y, x);
    OME-Zarr keeps it, TIFF does not. ``provenance`` is written into the file; by default it
    is what the plan says.

    Raises
    ------
    InputError
        When voxels cannot be used, or ``resume`` meets other input, model or settings.
    DiskFullError
        When the disk runs out of room; finished shards are kept.
    """
    began = time.perf_counter()
    create = partial(
        create_output,
        shape=plan.output_shape,
        dtype=plan.volume.dtype,
        voxel_size=plan.voxel_size,
        identity=_identity(plan),
        shard=plan.shard.shape,
        chunk=CHUNK,
        origin=origin,
        resume=resume,
        overwrite=overwrite,
    )
    output = create(plan.store)
    try:
        facts = provenance or provenance_of(plan)
        yield from _run(plan, output, create, cancel, began, first, overwrite, facts)
    finally:
        output.release()


def _run(
    plan: SuperResolvePlan,
    output: OmeZarrOutput,
    create: Callable[[Path], OmeZarrOutput],
    cancel: CancelToken | None,
    began: float,
    first: tuple[float, float, float] | None,
    overwrite: bool,
    provenance: Provenance,
) -> Iterator[Event]:
    yield Started("super-resolve", output.partial_path)
    for warning in plan.warnings:
        yield Warned(warning)
    damaged: tuple[int, ...] = ()
    if plan.job.fall_back and plan.model is not None:
        damaged = yield from find_damage(plan.volume, cancel)
        if damaged:
            yield Warned(told_damage(damaged))
    facts = provenance.model_copy(update={"linear_gaps": damaged}).model_dump(mode="json")
    count = 2 if plan.uncertainty is None else 4
    yield StageStarted("super-resolve", 1, count)
    outcome, num_written = yield from _fill(
        guarded(plan, damaged), output, fill_shard, cancel, began, first
    )
    if outcome is Outcome.COMPLETED and plan.uncertainty is not None:
        outcome = yield from _fill_beside(
            plan, plan.uncertainty, damaged, create, cancel, began, overwrite, facts
        )
    if outcome is Outcome.COMPLETED:
        outcome = yield from _deliver(plan, output, cancel, overwrite, facts, count)
    if outcome is not Outcome.COMPLETED:
        yield Finished(outcome, output.partial_path)
        return
    yield Finished(
        Outcome.COMPLETED,
        SuperResolved(
            plan.output,
            plan.output_shape,
            plan.voxel_size,
            time.perf_counter() - began,
            num_written,
            None if plan.uncertainty is None else beside(plan.output),
        ),
    )


def _fill_beside(
    plan: SuperResolvePlan,
    card: UncertaintyCard,
    damaged: tuple[int, ...],
    create: Callable[[Path], OmeZarrOutput],
    cancel: CancelToken | None,
    began: float,
    overwrite: bool,
    facts: Mapping[str, Any],
) -> Generator[Event, None, Outcome]:
    """The half-widths, in a file of their own that is whole before the result is."""
    yield StageStarted("uncertainty", 2, 4)
    if beside(plan.output).exists() and not overwrite:
        return Outcome.COMPLETED  # a run that is resumed had come so far
    try:
        widths, scale = half_width_plan(plan, card, damaged, cancel)
    except Interrupted:
        return Outcome.CANCELLED
    output = create(widths.store)
    try:
        outcome, _ = yield from _fill(
            widths,
            output,
            partial(fill_shard, half_widths=True),
            cancel,
            began,
            None,
            is_shown=False,
        )
        if outcome is Outcome.COMPLETED:
            about = {"kind": "uncertainty", "level": card.model.level, "scale": scale}
            outcome = yield from _deliver(widths, output, cancel, overwrite, {**facts, **about}, 3)
        return outcome
    finally:
        output.release()


def _fill(
    plan: SuperResolvePlan,
    output: OmeZarrOutput,
    fill_box: Callable[..., NDArray[Any]],
    cancel: CancelToken | None,
    began: float,
    first: tuple[float, float, float] | None,
    *,
    is_shown: bool = True,
) -> Generator[Event, None, tuple[Outcome, int]]:
    """Write every shard that is not done yet; returns how it ended and the voxels written."""
    stop = CountingToken(cancel)
    fitting: int | None = None  # lateral edge above which memory has run out

    def part(box: Box) -> NDArray[Any]:
        return fill_box(
            plan.volume,
            plan.grid,
            box,
            plan.predictor,
            plan.intensity,
            plan.gap,
            plan.device,
            stop,
        )

    def fill(shard: Shard) -> tuple[NDArray[Any], bool]:
        nonlocal fitting
        values, fitting = fill_in_parts(part, Box(shard.start, shard.stop), fitting)
        return values, fitting is not None

    def in_time(shards: list[Shard]) -> Iterator[Shard]:
        limit = math.inf if plan.job.max_minutes is None else 60 * plan.job.max_minutes
        for shard in shards:
            if time.perf_counter() - began > limit:
                return
            yield shard

    shards, finished = output.shards(), output.done
    waiting = [shard for shard in shards if shard.index not in finished]
    if first is not None:
        waiting.sort(key=lambda shard: _distance(shard, first))
    started, num_written, count, was_cramped = time.perf_counter(), 0, 0, False
    unit = "shards" if is_shown else "parts"
    yield Progress(len(finished), len(shards), unit)
    with closing(made_ahead(in_time(waiting), fill, stop)) as filled:
        try:
            for count, (shard, (values, is_cramped)) in enumerate(filled, start=1):
                if is_cramped and not was_cramped:
                    yield Warned(
                        "Memory ran out, so shards are now computed in smaller parts: the result "
                        "is the same, but it takes longer."
                    )
                was_cramped = is_cramped
                output.write(shard, values)
                num_written += values.size
                if is_shown:
                    yield BlockWritten(shard.start, shard.stop)
                eta = (time.perf_counter() - started) / count * (len(waiting) - count)
                yield Progress(len(finished) + count, len(shards), unit, eta_s=eta)
                if cancel:
                    return Outcome.CANCELLED, num_written
        except Interrupted:
            return Outcome.CANCELLED, num_written
    if count == len(waiting):
        return Outcome.COMPLETED, num_written
    return Outcome.CANCELLED if cancel else Outcome.OUT_OF_TIME, num_written


def _deliver(
    plan: SuperResolvePlan,
    output: OmeZarrOutput,
    cancel: CancelToken | None,
    overwrite: bool,
    facts: Mapping[str, Any],
    stage: int,
) -> Generator[Event, None, Outcome]:
    """Make of the whole store what was asked for; returns how it ended."""
    if is_tiff(plan.output):
        title, unit = "write TIFF", "slices"
        steps = save_tiff_stream(
            plan.output,
            output.slices(),
            shape=plan.output_shape,
            dtype=plan.volume.dtype,
            voxel_size=plan.voxel_size,
            provenance=facts,
            overwrite=overwrite,
        )
    else:
        title, unit = "write the image pyramid", "chunks"
        steps = output.publish_stream(facts)
    yield StageStarted(title, stage, 2 if plan.uncertainty is None else 4)
    with closing(steps):
        for done, total in steps:
            yield Progress(done, total, unit)
            if cancel and done < total:
                return Outcome.CANCELLED
    if is_tiff(plan.output):
        output.discard()
    return Outcome.COMPLETED


def _distance(shard: Shard, point: tuple[float, float, float]) -> float:
    """Squared distance in voxels from a point to a shard; 0 inside."""
    axes = zip(point, shard.start, shard.stop, strict=True)
    return sum(max(start - at, at - stop, 0.0) ** 2 for at, start, stop in axes)


def _identity(plan: SuperResolvePlan) -> str:
    """A hash of everything that shapes the result: input, model and settings.

    Up to 1 GiB every voxel counts, which takes about a second. Of more, slabs spread evenly
    along Z that hold about 1 GiB: a file that was replaced is noticed, in bounded time.
    """
    volume, grid = plan.volume, plan.grid
    weights = plan.model.card.weights_sha256 if plan.model else plan.job.method
    facts = (volume.shape, str(volume.dtype), tuple(volume.voxel_size), grid.factor, plan.gap)
    made_by = (weights, plan.engine, plan.job.seed, plan.intensity, plan.job.fall_back)
    digest = hashlib.blake2b(f"{facts} {made_by}".encode())
    slice_bytes = math.prod(volume.shape[1:]) * volume.dtype.itemsize
    thickness = max(1, min(_SLAB_SLICES, _HASHED_BYTES // (8 * slice_bytes)))
    starts = range(0, volume.shape[0], thickness)
    every = -(-volume.shape[0] * slice_bytes // _HASHED_BYTES)
    for start in sorted({*starts[::every], starts[-1]}):
        slab = volume.read(z=slice(start, start + thickness))
        digest.update(slab.tobytes())
    return digest.hexdigest()
