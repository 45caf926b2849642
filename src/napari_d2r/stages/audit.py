"""What a model does on a stack whose truth is known: ``napari-d2r audit isotropic.tif --drop 8``.

Slices of an isotropic stack are dropped, super-resolved, and held against those that were dropped:
once as the stack is, under all controls, and once for each way in which it is made unlike what the
model knows.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume
from napari_d2r.jobs import (
    CancelToken,
    Device,
    Event,
    Finished,
    Outcome,
    Provenance,
    Started,
    SuperResolveJob,
    Warned,
)
from napari_d2r.metrics import axial_noise_sigma, gain_interval, psnr_interval, score_inserted
from napari_d2r.stages._audit_report import AuditReport, Trial
from napari_d2r.stages._comparison import require_content
from napari_d2r.stages._passed_on import passed_on
from napari_d2r.stages.evaluate import evaluate_stream
from napari_d2r.stages.super_resolve import (
    SuperResolved,
    provenance_of,
    resolve_super_resolve,
    run_super_resolve,
)
from napari_d2r.volumes import (
    AxialGrid,
    Volume,
    centred_box,
    interpolate_axial,
    to_dtype,
)

__all__ = ["AuditReport", "Trial", "audit_stream"]

MOST_EDGE = 256
_MOST_ANISOTROPY = 1.5
_FEWEST_GAPS = 4
_SEED = 0


class _Cancelled(Exception):
    """The user wants no more."""


def audit_stream(
    isotropic: Volume,
    *,
    drop: int = 8,
    model: Path | None = None,
    max_edge: int = MOST_EDGE,
    device: Device = "auto",
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """Drop slices, super-resolve, judge; ends in ``Finished(result=AuditReport)``.

    Parameters
    ----------
    isotropic
        Single-channel, as fine along Z as laterally (within a factor of 1.5).
    drop
        Every ``drop``-th slice is kept, from 2 on.
    model
        A model folder; None: the bundled model.
    max_edge
        The middle of the stack is judged, at most so many voxels along each axis.

    Raises
    ------
    InputError
        When the stack is not isotropic, has fewer than four gaps, or cannot be used.
    """
    began = time.perf_counter()
    truth, voxel_size = _truth(isotropic, drop, max_edge), isotropic.voxel_size
    reference = Volume(truth, voxel_size, isotropic.name, isotropic.source)
    job = SuperResolveJob(model=model, factor=float(drop), device=device)
    yield Started("audit")
    try:
        values, provenance = yield from _restored(reference, job, drop, cancel)
        result = Volume(values, voxel_size, provenance.model)
        _, evaluation = yield from passed_on(
            _stopping(evaluate_stream(result, reference, factor=drop, controls=True), cancel)
        )
        trials = []
        for name, altered, wanted in _trials(truth):
            stack = Volume(altered, voxel_size, isotropic.name)
            found, _ = yield from _restored(stack, job, drop, cancel)
            trials.append(_judged(name, altered, wanted, found, drop, evaluation.data_range))
    except _Cancelled:
        yield Finished(Outcome.CANCELLED)
        return
    report = AuditReport(
        stack=isotropic.name,
        drop=drop,
        whole_shape=isotropic.shape,
        evaluation=evaluation,
        trials=tuple(trials),
        provenance=provenance,
        seconds=time.perf_counter() - began,
        result=result,
        reference=reference,
    )
    yield Finished(Outcome.COMPLETED, report)


def _truth(isotropic: Volume, drop: int, max_edge: int) -> NDArray[Any]:
    """The middle of the stack, from one slice that is kept to another."""
    isotropic.require_single_channel()
    size = isotropic.voxel_size
    if not 1 / _MOST_ANISOTROPY <= size.z / size.lateral <= _MOST_ANISOTROPY:
        raise InputError(
            f"{isotropic.name} has voxels of {size}; an audit drops slices of a stack that is as "
            "fine along Z as laterally (--voxel-size Z,Y,X corrects a wrong size)."
        )
    if drop < 2:
        raise InputError(f"An audit keeps every 2nd slice or fewer, not every {drop}th.")
    z, y, x = centred_box(isotropic.shape, (max_edge,) * 3)
    num_gaps = (z.stop - z.start - 1) // drop
    if num_gaps < _FEWEST_GAPS:
        raise InputError(
            f"{isotropic.name} has {z.stop - z.start} slices to judge, too few when every {drop}th "
            f"is kept; at least {_FEWEST_GAPS * drop + 1} are needed."
        )
    truth = isotropic.read(slice(z.start, z.start + num_gaps * drop + 1), y, x)
    require_content(truth, isotropic.name)
    return truth


def _trials(truth: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Name, the altered stack, and what its result should be, all as stored."""
    sigma = axial_noise_sigma(truth)
    noise = np.random.default_rng(_SEED).standard_normal(truth.shape, np.float32)
    noise *= np.sqrt(3.0) * sigma  # variances add: three more make twice the deviation
    yield "noise doubled", to_dtype(truth + noise, truth.dtype), truth
    inverted = (truth.max() - truth) + truth.min()
    yield "contrast inverted", inverted, inverted
    rotated = np.ascontiguousarray(np.rot90(truth, axes=(1, 2)))
    yield "rotated by 90°", rotated, rotated


def _restored(
    stack: Volume, job: SuperResolveJob, drop: int, cancel: CancelToken | None
) -> Generator[Event, None, tuple[NDArray[Any], Provenance]]:
    """What `super-resolve` makes of every ``drop``-th slice, and how."""
    size = stack.voxel_size
    kept = Volume(stack.read()[::drop], replace(size, z=size.z * drop), stack.name)
    with tempfile.TemporaryDirectory(prefix="napari-d2r-") as folder:
        plan = resolve_super_resolve(job, kept, Path(folder) / "result.ome.zarr")
        if plan.output_shape != stack.shape:
            raise InputError(
                "An audit drops slices, and this model is for slices that were measured otherwise; "
                "take another model."
            )
        for warning in plan.warnings:
            yield Warned(warning)
        outcome, done = yield from passed_on(run_super_resolve(plan, cancel=cancel))
        if outcome is not Outcome.COMPLETED:
            raise _Cancelled
        assert isinstance(done, SuperResolved)
        return open_volume(done.path).read(), provenance_of(plan)


def _judged(
    name: str,
    altered: NDArray[Any],
    wanted: NDArray[Any],
    found: NDArray[Any],
    drop: int,
    data_range: float,
) -> Trial:
    measured = altered[::drop]
    linear = interpolate_axial(measured, AxialGrid(len(measured), drop).positions())
    model, baseline = (
        score_inserted(wanted, test, factor=drop, data_range=data_range) for test in (found, linear)
    )
    return Trial(
        name, psnr_interval(baseline), psnr_interval(model), gain_interval(model, baseline)
    )


def _stopping(events: Iterator[Event], cancel: CancelToken | None) -> Iterator[Event]:
    """The same events, given up between two of them."""
    for event in events:
        if cancel:
            raise _Cancelled
        yield event
