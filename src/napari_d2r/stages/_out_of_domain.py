"""A model on an isotropic stack, as it is and made unlike what the model knows.

Slices of the stack are dropped, super-resolved, and held against those that were dropped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume
from napari_d2r.jobs import CancelToken, Event, Outcome, Provenance, SuperResolveJob, Warned
from napari_d2r.metrics import axial_noise_sigma, gain_interval, psnr_interval, score_inserted
from napari_d2r.stages._passed_on import passed_on
from napari_d2r.stages._trial import Trial
from napari_d2r.stages.super_resolve import (
    SuperResolved,
    provenance_of,
    resolve_super_resolve,
    run_super_resolve,
)
from napari_d2r.volumes import AxialGrid, Volume, interpolate_axial, to_dtype

__all__ = ["Cancelled", "altered_stacks", "restored", "stopping", "trials_of"]

_SEED = 0


class Cancelled(Exception):
    """The user wants no more."""


def trials_of(
    reference: Volume,
    job: SuperResolveJob,
    drop: int,
    data_range: float,
    cancel: CancelToken | None,
) -> Generator[Event, None, tuple[Trial, ...]]:
    """One trial for each way in which a stack is made unlike what a model knows.

    Parameters
    ----------
    reference
        Isotropic, from one slice that is kept to another.
    drop
        Every ``drop``-th slice is kept.
    data_range
        Grey levels between black and white.

    Raises
    ------
    Cancelled
        When ``cancel`` is set.
    """
    trials = []
    for name, altered, wanted in altered_stacks(reference.read()):
        stack = Volume(altered, reference.voxel_size, reference.name)
        found, _ = yield from restored(stack, job, drop, cancel)
        trials.append(_judged(name, altered, wanted, found, drop, data_range))
    return tuple(trials)


def altered_stacks(truth: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Name, the altered stack, and what its result should be, all as stored."""
    sigma = axial_noise_sigma(truth)
    noise = np.random.default_rng(_SEED).standard_normal(truth.shape, np.float32)
    noise *= np.sqrt(3.0) * sigma  # variances add: three more make twice the deviation
    yield "noise doubled", to_dtype(truth + noise, truth.dtype), truth
    inverted = (truth.max() - truth) + truth.min()
    yield "contrast inverted", inverted, inverted
    rotated = np.ascontiguousarray(np.rot90(truth, axes=(1, 2)))
    yield "rotated by 90°", rotated, rotated


def restored(
    stack: Volume, job: SuperResolveJob, drop: int, cancel: CancelToken | None
) -> Generator[Event, None, tuple[NDArray[Any], Provenance]]:
    """What `super-resolve` makes of every ``drop``-th slice, and how."""
    size = stack.voxel_size
    kept = Volume(stack.read()[::drop], replace(size, z=size.z * drop), stack.name)
    with tempfile.TemporaryDirectory(prefix="napari-d2r-") as folder:
        plan = resolve_super_resolve(job, kept, Path(folder) / "result.ome.zarr")
        if plan.output_shape != stack.shape:
            raise InputError(
                "Slices are dropped here, and this model is for slices that were measured "
                "otherwise; take another model."
            )
        for warning in plan.warnings:
            yield Warned(warning)
        outcome, done = yield from passed_on(run_super_resolve(plan, cancel=cancel))
        if outcome is not Outcome.COMPLETED:
            raise Cancelled
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


def stopping(events: Iterator[Event], cancel: CancelToken | None) -> Iterator[Event]:
    """The same events, given up between two of them."""
    for event in events:
        if cancel:
            raise Cancelled
        yield event
