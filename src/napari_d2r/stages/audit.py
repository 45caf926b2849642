"""What a model does on a stack whose truth is known: ``napari-d2r audit isotropic.tif --drop 8``.

Slices of an isotropic stack are dropped, super-resolved, and held against those that were dropped:
once as the stack is, under all controls, and once for each way in which it is made unlike what the
model knows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_d2r.checkpoints import load_card, model_folder
from napari_d2r.errors import InputError
from napari_d2r.jobs import (
    CancelToken,
    Device,
    Event,
    Finished,
    Outcome,
    Started,
    SuperResolveJob,
)
from napari_d2r.metrics import Perception
from napari_d2r.stages._audit_report import AuditReport
from napari_d2r.stages._comparison import require_content
from napari_d2r.stages._out_of_domain import Cancelled, restored, stopping, trials_of
from napari_d2r.stages._passed_on import passed_on
from napari_d2r.stages._trial import Trial
from napari_d2r.stages.evaluate import EvaluationReport, evaluate_stream
from napari_d2r.volumes import Volume, centred_box

__all__ = ["AuditReport", "Trial", "audit_stream", "evaluate_model_stream"]

MOST_EDGE = 256
_MOST_ANISOTROPY = 1.5
_FEWEST_GAPS = 4


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
        values, provenance = yield from restored(reference, job, drop, cancel)
        result = Volume(values, voxel_size, provenance.model)
        _, evaluation = yield from passed_on(
            stopping(evaluate_stream(result, reference, factor=drop, controls=True), cancel)
        )
        trials = yield from trials_of(reference, job, drop, evaluation.data_range, cancel)
    except Cancelled:
        yield Finished(Outcome.CANCELLED)
        return
    report = AuditReport(
        stack=isotropic.name,
        drop=drop,
        whole_shape=isotropic.shape,
        evaluation=evaluation,
        trials=trials,
        provenance=provenance,
        seconds=time.perf_counter() - began,
        result=result,
        reference=reference,
    )
    yield Finished(Outcome.COMPLETED, report)


def evaluate_model_stream(
    result: Volume,
    reference: Volume,
    *,
    factor: float,
    model: Path,
    perception: Perception | None = None,
    device: Device = "auto",
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """A result under all controls, and its model on altered stacks beside it.

    As `evaluate_stream` with controls; then slices of the reference are dropped and super-resolved
    by ``model`` anew, with twice the noise, with inverted contrast and turned. Ends in
    ``Finished(result=EvaluationReport)`` with ``trials``.

    Raises
    ------
    InputError
        As for `evaluate_stream`, and when the model cannot be used on such slices.
    """
    load_card(model_folder(model))  # what is no model is told at once, not after the evaluation
    yield Started("evaluate")
    job = SuperResolveJob(model=model, factor=factor, device=device)
    try:
        events = evaluate_stream(
            result, reference, factor=factor, controls=True, perception=perception
        )
        _, evaluation = yield from passed_on(stopping(events, cancel))
        assert isinstance(evaluation, EvaluationReport)
        trials = yield from trials_of(
            evaluation.compared_part(reference),
            job,
            evaluation.factor,
            evaluation.data_range,
            cancel,
        )
    except Cancelled:
        yield Finished(Outcome.CANCELLED)
        return
    yield Finished(Outcome.COMPLETED, replace(evaluation, trials=trials))


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
