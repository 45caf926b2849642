"""A result against a reference: ``napari-d2r evaluate out.ome.zarr reference.tif``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.jobs import Event, Finished, Outcome, Progress, StageStarted, Started, Warned
from napari_d2r.metrics import PLANES, axial_shift, resolution_curves, score_plane
from napari_d2r.stages._comparison import (
    THRESHOLDS,
    comparison_box,
    load_box,
    require_same_voxel_size,
)
from napari_d2r.stages._evaluation_report import EvaluationReport, VolumeScores
from napari_d2r.volumes import AxialGrid, Volume, interpolate_axial

__all__ = ["THRESHOLDS", "EvaluationReport", "VolumeScores", "evaluate", "evaluate_stream"]

# Three planes, the shift, the FSC.
_STEPS = len(PLANES) + 2


def evaluate(
    result: Volume, reference: Volume, *, factor: float, others: Sequence[Volume] = ()
) -> EvaluationReport:
    """Measure a result against its reference; see `evaluate_stream`."""
    *_, last = evaluate_stream(result, reference, factor=factor, others=others)
    assert isinstance(last, Finished) and isinstance(last.result, EvaluationReport)
    return last.result


def evaluate_stream(
    result: Volume, reference: Volume, *, factor: float, others: Sequence[Volume] = ()
) -> Iterator[Event]:
    """Measure a result against its reference; ends in ``Finished(result=EvaluationReport)``.

    The slices ``reference[::factor]``, n of them, count as measured, and the first
    ``(n - 1) * factor + 1`` slices are compared. Linear interpolation of the measured
    slices, in their stored dtype, is always scored beside the result. Volumes of more
    than 2**28 voxels are compared in a central cube.

    Parameters
    ----------
    result
        On the grid of the reference, from slice 0 on; it may end later than what is
        compared, but not earlier.
    reference
        The truth, single-channel.
    factor
        A whole number from 2 on.
    others
        Further volumes to score, on the same grid; ``name`` labels them.

    Raises
    ------
    InputError
        When a volume does not fit the reference, is constant or holds NaN, when too few
        slices are measured, or when the factor is not a whole number.
    """
    step, num_compared = _measured_slices(reference, factor)
    for tested in (result, *others):
        _require_fitting(tested, reference, num_compared)

    yield Started("evaluate")
    comparable = (num_compared, *reference.shape[1:])
    z, y, x = box = comparison_box(comparable, step)
    truth = load_box(reference, box)
    if truth.shape != comparable:
        yield Warned(f"The volumes are large: a central box of {truth.shape} voxels is compared.")
    data_range = _data_range(truth)

    measured = truth[::step]
    linear = interpolate_axial(measured, AxialGrid(len(measured), step).positions())
    scores: list[VolumeScores] = []
    candidates: list[Volume | None] = [None, result, *others]
    for index, volume in enumerate(candidates, 1):
        name = "linear" if volume is None else volume.name
        yield StageStarted(f"Measuring {name}", index, len(candidates))
        test = linear if volume is None else load_box(volume, box)
        planes = []
        for done, plane in enumerate(PLANES, 1):
            planes.append(score_plane(truth, test, plane, factor=step, data_range=data_range))
            yield Progress(done, _STEPS, "measurements")
        shift = axial_shift(truth, test)
        yield Progress(len(PLANES) + 1, _STEPS, "measurements")
        curves = resolution_curves(truth, test, reference.voxel_size)
        yield Progress(_STEPS, _STEPS, "measurements")
        exact = sum(np.array_equal(a, b) for a, b in zip(measured, test[::step], strict=True))
        scores.append(VolumeScores(name, tuple(planes), shift, len(measured), exact, curves))

    z_size, y_size, x_size = truth.shape
    report = EvaluationReport(
        reference=reference.name,
        factor=step,
        voxel_size=reference.voxel_size,
        reference_shape=reference.shape,
        start=(z.start, y.start, x.start),
        shape=(z_size, y_size, x_size),
        data_range=data_range,
        volumes=tuple(scores),
    )
    yield Finished(Outcome.COMPLETED, report)


def _measured_slices(reference: Volume, factor: float) -> tuple[int, int]:
    """The whole factor, and how many slices lie between the first and last measured one."""
    reference.require_single_channel()
    step = round(factor)
    if abs(factor - step) > 1e-6 or step < 2:
        raise InputError(
            f"Evaluation needs a whole factor of at least 2, not {factor:g}: every factor-th "
            "slice of the reference stands for a measured one."
        )
    num_measured = (reference.shape[0] - 1) // step + 1
    if num_measured < 2:
        raise InputError(
            f"{reference.name} has {reference.shape[0]} slices, too few for factor {step}: "
            "at least two of them must be measured ones."
        )
    return step, AxialGrid(num_measured, step).num_output


def _require_fitting(volume: Volume, reference: Volume, num_compared: int) -> None:
    volume.require_single_channel()
    require_same_voxel_size(volume, reference)
    if volume.shape[1:] != reference.shape[1:] or volume.shape[0] < num_compared:
        raise InputError(
            f"{volume.name} has shape {volume.shape} and {reference.name} {reference.shape}; "
            f"at this factor a result needs at least {num_compared} slices of the same size."
        )


def _data_range(truth: NDArray[Any]) -> float:
    """Grey levels between black and white: 255 for uint8, else a robust span."""
    if truth.dtype == np.uint8:
        return 255.0
    low, high = np.percentile(truth, [0.1, 99.9])
    if high <= low:  # a few bright voxels on an even background are still a signal
        low, high = truth.min(), truth.max()
    return float(high) - float(low)
