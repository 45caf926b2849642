"""Super-resolution: one anisotropic stack to a finer one, shard by shard."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from napari_d2r.checkpoints import UncertaintyCard
from napari_d2r.errors import InputError
from napari_d2r.inference import CHUNK, Interrupted
from napari_d2r.inspection import damaged_gaps
from napari_d2r.io import OmeZarrOutput, clear_remains, create_output
from napari_d2r.jobs import (
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
from napari_d2r.stages._device import begun_otherwise, computed_on
from napari_d2r.stages._fill import Compute, compute_here, fill_shards
from napari_d2r.stages._guard import look_through, told, told_damage
from napari_d2r.stages._half_widths import HalfWidths, half_widths_of
from napari_d2r.stages._identity import identity_of
from napari_d2r.stages._output_file import is_one_file, kind_of_file, save_as_one_file
from napari_d2r.stages._output_grid import too_wide
from napari_d2r.stages._provenance import provenance_of
from napari_d2r.stages._sampling import Choices, choices_of, refiners_in, with_sampler
from napari_d2r.stages._super_resolve_plan import SuperResolvePlan, resolve_super_resolve
from napari_d2r.stages._uncertainty import OF_RESULT, beside, is_beside, is_of
from napari_d2r.volumes import VoxelSize

__all__ = [
    "Choices",
    "SuperResolvePlan",
    "SuperResolved",
    "beside",
    "choices_of",
    "provenance_of",
    "refiners_in",
    "resolve_super_resolve",
    "run_super_resolve",
    "with_sampler",
]


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
    it does where all shards are finished, and the coarser levels or the file are not. A result
    that is whole, and that the plan would make again, is left as it is.
    The shards closest to ``first`` (z, y, x in output voxels) come first; any order gives
    the same bytes. ``origin`` is where the centre of the first voxel of the input stands, in nm
    (z, y, x); OME-Zarr and HDF5 keep it, TIFF does not. ``provenance`` is written into the file; by
    default it is what the plan says.

    Raises
    ------
    InputError
        When voxels cannot be used, ``resume`` meets other input, model or settings, the input
        changes meanwhile, or another program begins the same output anew.
    DiskFullError
        When the disk runs out of room; finished shards are kept.
    """
    began = time.perf_counter()
    if resume and plan.is_made:
        yield Started("super-resolve", plan.output)
        for warning in plan.warnings:
            yield Warned(warning)
        clear_remains(plan.store)
        yield Finished(Outcome.COMPLETED, _resolved(plan, began, num_written=0))
        return
    identity = identity_of(plan)
    if plan.uncertainty is not None and not overwrite:
        is_beside(plan.output, identity)  # what is in the way is told before the work
    create = partial(
        create_output,
        shape=plan.output_shape,
        dtype=plan.volume.dtype,
        voxel_size=plan.voxel_size,
        identity=identity,
        shard=plan.shard.shape,
        chunk=CHUNK,
        origin=(origin[0] + plan.grid.offset * plan.voxel_size.z, *origin[1:]),
        num_channels=plan.volume.num_channels,
        computed_on=_computed_on(plan),
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
    for warning in (*plan.warnings, *begun_otherwise(output.computed_on, _computed_on(plan))):
        yield Warned(warning)
    damaged: tuple[int, ...] = ()
    if plan.job.fall_back and plan.model is not None and plan.volume.num_channels is None:
        yield StageStarted("look for damaged slices")
        findings = yield from look_through(plan.volume, cancel)
        num_slices = plan.volume.shape[0]
        yield from told(one for one in findings if not damaged_gaps([one], num_slices))
        damaged = damaged_gaps(findings, num_slices)
        if damaged:
            yield Warned(told_damage(damaged))
        damaged = tuple(sorted({*damaged, *too_wide(plan.grid, plan.gap)}))
    facts = provenance.model_copy(update={"linear_gaps": damaged}).model_dump(mode="json")
    facts[OF_RESULT] = output.identity
    yield StageStarted("super-resolve", 1, _num_stages(plan))
    with _computing(plan, damaged) as compute:
        outcome, num_written = yield from _fill(
            plan, output, compute(output), cancel, began, 2, first=first
        )
        if outcome is Outcome.COMPLETED and plan.uncertainty is not None:
            outcome = yield from _fill_beside(
                plan,
                plan.uncertainty,
                damaged,
                create,
                compute,
                cancel,
                began,
                overwrite,
                facts,
            )
    if outcome is Outcome.COMPLETED:
        outcome = yield from _deliver(plan, output, cancel, overwrite, facts, _num_stages(plan))
    if outcome is not Outcome.COMPLETED:
        yield Finished(outcome, output.partial_path)
        return
    yield Finished(Outcome.COMPLETED, _resolved(plan, began, num_written))


def _computed_on(plan: SuperResolvePlan) -> str:
    """Empty for workers, of which there may be many kinds."""
    return computed_on(plan.device) if plan.job.cluster is None else ""


def _resolved(plan: SuperResolvePlan, began: float, num_written: int) -> SuperResolved:
    return SuperResolved(
        plan.output,
        plan.output_shape,
        plan.voxel_size,
        time.perf_counter() - began,
        num_written,
        None if plan.uncertainty is None else beside(plan.output),
    )


@contextmanager
def _computing(
    plan: SuperResolvePlan, damaged: tuple[int, ...]
) -> Iterator[Callable[..., Compute]]:
    """What computes the shards of an output: this process, or the workers that the job asks for.

    With `HalfWidths` as the second argument it computes those instead.
    """
    if plan.job.cluster is None:
        yield partial(compute_here, plan, damaged)
        return
    try:
        from napari_d2r.stages._cluster import computed_by, connected
        from napari_d2r.stages._shard_task import ShardTask, require_readable
    except ModuleNotFoundError as error:
        raise InputError(
            "Several processes need dask.distributed; install it with "
            "pip install 'napari-d2r[cluster]'."
        ) from error
    require_readable(plan.volume)
    with connected(plan.job.cluster) as client:

        def by_workers(output: OmeZarrOutput, half_widths: HalfWidths | None = None) -> Compute:
            task = ShardTask.of(plan, damaged, output, half_widths)
            return partial(computed_by, client, task, output.sources)

        yield by_workers


def _fill(
    plan: SuperResolvePlan,
    output: OmeZarrOutput,
    compute: Compute,
    cancel: CancelToken | None,
    began: float,
    next_stage: int,
    *,
    first: tuple[float, float, float] | None = None,
    is_shown: bool = True,
) -> Generator[Event, None, tuple[Outcome, int]]:
    """All shards, in a store those of its coarser levels too.

    Returns how it ended, and the voxels of level 0 that were written.
    """
    limit = plan.job.max_minutes
    ends = math.inf if limit is None else began + 60 * limit
    outcome, num_written = yield from fill_shards(
        output, [output.shards()], compute, cancel, ends=ends, first=first, is_shown=is_shown
    )
    if outcome is Outcome.COMPLETED and num_written:
        _require_unchanged(plan, output)
    if outcome is Outcome.COMPLETED and not is_one_file(plan.output):
        yield StageStarted("write the image pyramid", next_stage, _num_stages(plan))
        outcome, _ = yield from fill_shards(
            output, output.coarser_shards(), compute, cancel, ends=ends, is_shown=False
        )
    if outcome is Outcome.COMPLETED and plan.job.cluster is not None:
        output.await_seen()
    return outcome, num_written


def _num_stages(plan: SuperResolvePlan) -> int:
    return 2 if plan.uncertainty is None else 4


def _fill_beside(
    plan: SuperResolvePlan,
    card: UncertaintyCard,
    damaged: tuple[int, ...],
    create: Callable[[Path], OmeZarrOutput],
    compute: Callable[..., Compute],
    cancel: CancelToken | None,
    began: float,
    overwrite: bool,
    facts: Mapping[str, Any],
) -> Generator[Event, None, Outcome]:
    """The half-widths, in a file of their own that is whole before the result is."""
    number = 2 if is_one_file(plan.output) else 3
    yield StageStarted("uncertainty", number, _num_stages(plan))
    if not overwrite and is_beside(plan.output, facts[OF_RESULT]):
        return Outcome.COMPLETED  # a run that is resumed had come so far
    try:
        widths = half_widths_of(plan, card, damaged, cancel)
    except Interrupted:
        return Outcome.CANCELLED
    plan = replace(plan, output=beside(plan.output))
    output = create(plan.store)
    try:
        outcome, _ = yield from _fill(
            plan, output, compute(output, widths), cancel, began, number + 1, is_shown=False
        )
        if outcome is Outcome.COMPLETED:
            about = {"kind": "uncertainty", "level": card.model.level, "scale": widths.scale}
            outcome = yield from _deliver(plan, output, cancel, overwrite, {**facts, **about}, 3)
        return outcome
    finally:
        output.release()


def _deliver(
    plan: SuperResolvePlan,
    output: OmeZarrOutput,
    cancel: CancelToken | None,
    overwrite: bool,
    facts: Mapping[str, Any],
    number: int,
) -> Generator[Event, None, Outcome]:
    """Make of the whole store what was asked for; returns how it ended."""
    if not is_one_file(plan.output):
        output.publish(facts)
        return Outcome.COMPLETED
    if not overwrite and is_of(plan.output, facts[OF_RESULT]):
        output.discard()  # a run that is resumed had come so far
        return Outcome.COMPLETED
    yield StageStarted(f"write {kind_of_file(plan.output)}", number, _num_stages(plan))
    steps = save_as_one_file(
        plan.output,
        output,
        voxel_size=plan.voxel_size,
        provenance=facts,
        overwrite=overwrite,
    )
    with closing(steps):
        for done, total in steps:
            yield Progress(done, total, "slices")
            if cancel and done < total:
                return Outcome.CANCELLED
    output.discard()
    return Outcome.COMPLETED


def _require_unchanged(plan: SuperResolvePlan, output: OmeZarrOutput) -> None:
    """Deliver nothing that was computed from an input that somebody wrote to meanwhile.

    Raises
    ------
    InputError
        If it is not what it was at the beginning.
    """
    if identity_of(plan) != output.identity:
        output.distrust()
        raise InputError(
            f"{plan.volume.name} was changed during the run, so what this run computed is not "
            "kept; put it back as it was and go on with --resume, or start again with --overwrite."
        )
