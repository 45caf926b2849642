"""A result against a reference: ``napari-d2r evaluate out.ome.zarr reference.tif``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.jobs import Event, Finished, Outcome, Progress, StageStarted, Started, Warned
from napari_d2r.metrics import PLANES, Perception, axial_shift, resolution_curves, score_plane
from napari_d2r.stages._comparison import (
    THRESHOLDS,
    comparison_box,
    load_box,
    require_same_voxel_size,
    told,
)
from napari_d2r.stages._controls import ControlBench, control_rows
from napari_d2r.stages._evaluation_report import EvaluationReport, VolumeScores
from napari_d2r.stages._measured_slices import measured_slices
from napari_d2r.stages._perceptual_scores import score_perception
from napari_d2r.volumes import Degradation, Volume, interpolate_axial

__all__ = ["THRESHOLDS", "EvaluationReport", "VolumeScores", "evaluate", "evaluate_stream"]

# Three planes, the shift, the FSC.
_STEPS = len(PLANES) + 2


def evaluate(
    result: Volume,
    reference: Volume,
    *,
    factor: float,
    others: Sequence[Volume] = (),
    controls: bool = False,
    perception: Perception | None = None,
    degradation: Degradation | None = None,
) -> EvaluationReport:
    """Measure a result against its reference; see `evaluate_stream`."""
    *_, last = evaluate_stream(
        result,
        reference,
        factor=factor,
        others=others,
        controls=controls,
        perception=perception,
        degradation=degradation,
    )
    assert isinstance(last, Finished) and isinstance(last.result, EvaluationReport)
    return last.result


def evaluate_stream(
    result: Volume,
    reference: Volume,
    *,
    factor: float,
    others: Sequence[Volume] = (),
    controls: bool = False,
    perception: Perception | None = None,
    degradation: Degradation | None = None,
) -> Iterator[Event]:
    """Measure a result against its reference; ends in ``Finished(result=EvaluationReport)``.

    The slices ``reference[::factor]``, n of them, count as measured, and the first
    ``(n - 1) * factor + 1`` slices are compared. Linear interpolation of the measured
    slices, in their stored dtype, is always scored beside the result. Volumes of more
    than 2**28 voxels are compared in a central cube.

    With a ``degradation`` the measured slices are simulated: those from the centre of the
    first to the centre of the last are compared, measured ones too, since none is a copy.

    Parameters
    ----------
    result
        On the grid of the reference, from slice 0 on, or from slice
        ``degradation.first(factor)``; it may end later than what is compared, but not earlier.
    reference
        The truth, single-channel.
    factor
        A whole number from 2 on.
    others
        Further volumes to score, on the same grid; ``name`` labels them.
    controls
        Score nearest, cubic and mis-phased bicubic interpolation too, and measure all rows
        by depth in the gap, with intervals, noise ceiling, scanning FRC and spectra.
    perception
        Networks for SliceFID and LPIPS; None: without.
    degradation
        How the slices were measured; None: as slices of the reference.

    Raises
    ------
    InputError
        When a volume does not fit the reference, is constant or holds NaN, when too few
        slices are measured, or when the factor is not a whole number.
    """
    how = degradation or Degradation()
    step, num_compared = _measured_slices(reference, factor, how)
    if controls and how.kind == "block":
        raise InputError("Controls are for slices and blurred slices, not for means over a gap.")
    for tested in (result, *others):
        _require_fitting(tested, reference, num_compared)

    yield Started("evaluate")
    comparable = (num_compared, *reference.shape[1:])
    z, y, x = box = comparison_box(comparable, step)
    first = how.first(step)
    truth = load_box(reference, (slice(z.start + first, z.stop + first), y, x))
    if truth.shape != comparable:
        yield Warned(f"The volumes are large: a central box of {truth.shape} voxels is compared.")
    data_range = _data_range(truth)

    measured, positions = measured_slices(reference, how, step, box)
    linear = interpolate_axial(measured, positions)
    candidates: list[tuple[str, NDArray[Any] | Volume]] = [
        ("linear", linear),
        *((volume.name, volume) for volume in (result, *others)),
        *(control_rows(measured, step).items() if controls else ()),
    ]
    bench = ControlBench(truth, step, data_range, reference.voxel_size) if controls else None
    scores: list[VolumeScores] = []
    total = _STEPS + (bench is not None) + (perception is not None)
    # Grey levels of the robust range, from which networks see black and white.
    low = 0.0 if truth.dtype == np.uint8 else float(np.percentile(truth, 0.1))
    for index, (name, volume) in enumerate(candidates, 1):
        yield StageStarted(f"Measuring {name}", index, len(candidates))
        test = load_box(volume, box) if isinstance(volume, Volume) else volume
        planes = []
        for done, plane in enumerate(PLANES, 1):
            planes.append(
                score_plane(
                    truth,
                    test,
                    plane,
                    factor=step,
                    data_range=data_range,
                    are_copied=how.is_sampling,
                )
            )
            yield Progress(done, total, "steps")
        shift = axial_shift(truth, test)
        yield Progress(len(PLANES) + 1, total, "steps")
        curves = resolution_curves(truth, test, reference.voxel_size)
        yield Progress(_STEPS, total, "steps")
        if bench is not None:
            yield from told(bench.measure(name, test), _STEPS, total, None)
            yield Progress(_STEPS + 1, total, "steps")
        seen = None
        if perception is not None:
            high = low + data_range
            seen = score_perception(truth, test, perception, low=low, high=high)
            yield Progress(total, total, "steps")
        exact = 0
        if how.is_sampling:
            pairs = zip(measured, test[::step], strict=True)
            exact = sum(np.array_equal(a, b) for a, b in pairs)
        scores.append(VolumeScores(name, tuple(planes), shift, len(measured), exact, curves, seen))

    z_size, y_size, x_size = truth.shape
    report = EvaluationReport(
        reference=reference.name,
        factor=step,
        voxel_size=reference.voxel_size,
        reference_shape=reference.shape,
        start=(z.start + first, y.start, x.start),
        shape=(z_size, y_size, x_size),
        data_range=data_range,
        volumes=tuple(scores),
        degradation=how,
        controls=None if bench is None else bench.controls(),
    )
    yield Finished(Outcome.COMPLETED, report)


def _measured_slices(reference: Volume, factor: float, how: Degradation) -> tuple[int, int]:
    """The whole factor, and how many slices lie between the first and last measured one."""
    reference.require_single_channel()
    step = round(factor)
    if abs(factor - step) > 1e-6 or step < 2:
        raise InputError(
            f"Evaluation needs a whole factor of at least 2, not {factor:g}: every factor-th "
            "slice of the reference stands for a measured one."
        )
    num_measured = len(how.windows(reference.shape[0], step))
    if num_measured < 2:
        raise InputError(
            f"{reference.name} has {reference.shape[0]} slices, too few for factor {step}: "
            "at least two of them must be measured ones."
        )
    return step, how.grid(num_measured, step).num_output


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
