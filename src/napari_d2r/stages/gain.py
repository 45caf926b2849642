"""What a model gains on a stack without ground truth: measured slices, left out."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from napari_d2r.checkpoints import ModelCard, load_model, model_folder
from napari_d2r.inference import (
    AxialPredictor,
    Box,
    InterpolationPredictor,
    Interrupted,
    fill_shard,
    measured_again,
    predictor_of,
)
from napari_d2r.jobs import (
    CancelToken,
    Device,
    Event,
    Finished,
    Outcome,
    Progress,
    StageStarted,
    Started,
)
from napari_d2r.metrics import (
    gain_over_linear,
    linear_between_neighbours,
    ring_correlation_steps,
)
from napari_d2r.stages._comparison import Stopped, require_content, told
from napari_d2r.stages._device import resolve_device
from napari_d2r.stages._gain_report import GainReport
from napari_d2r.volumes import (
    AxialGrid,
    IntensityRange,
    Interpolation,
    Volume,
    VoxelSize,
    centred_box,
    resolve_factor,
    resolve_gap,
)

__all__ = ["GainReport", "gain_stream"]

# Enough slices and pixels for a steady number in seconds, whatever the size of the stack.
_MOST = (96, 384, 384)
_TILE = 128
_UNIT = IntensityRange(0.0, 1.0)
_ONE = VoxelSize(1, 1, 1)


def gain_stream(
    stack: Volume,
    model: Path | None = None,
    *,
    method: Literal["model"] | Interpolation = "model",
    factor: float | None = None,
    device: Device = "auto",
    max_edge: int | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """Leave every measured slice out in turn; ends in ``Finished(result=GainReport)``.

    Every other slice is hidden and predicted by the sliding window, as the slice in the
    middle of a gap, then the rest. The gap is twice the usual one, so errors are larger
    than between measured slices; what carries over is how they compare with linear. What a
    model of blurred slices restores is blurred again before it is compared: that tells whether
    it agrees with slices that it has not seen, not how well it restores what the blur hides.

    Parameters
    ----------
    stack
        The measured slices.
    model
        A model folder, None for the bundled one; counts where ``method`` is ``model``.
    method
        An interpolation to judge instead of a model.
    factor
        r of the super-resolution, which tells the gap where the voxel size does not.
    max_edge
        Judge the middle of the stack, at most so many voxels along each axis; None is
        96 slices of 384 x 384.

    Raises
    ------
    InputError
        When the stack or the model cannot be used.
    """
    stack.require_single_channel()
    stack.require_slices()
    gap = resolve_gap(stack.voxel_size, resolve_factor(stack.voxel_size, factor))
    judged = _resolve(model, method, device, stack, gap)
    yield Started("evaluate")
    yield StageStarted("Leaving measured slices out")
    limit = _MOST if max_edge is None else (max_edge,) * 3
    z, y, x = centred_box(stack.shape, limit)
    stored = stack.read(z, y, x)
    require_content(stored, stack.name)
    unit = IntensityRange.of(stack).to_unit(stored)
    left_out = range(1, len(unit) - 1)
    pixel = stack.voxel_size.y, stack.voxel_size.x
    try:
        predicted = yield from _predict(judged, unit, 2 * gap, cancel)
        found = gain_over_linear(unit, predicted, left_out, data_range=1.0)
        steps = ring_correlation_steps(unit[1:-1], predicted, pixel)
        frc = yield from told(steps, 2, 4, cancel)
        linear = linear_between_neighbours(unit, left_out)
        frc_linear = yield from told(
            ring_correlation_steps(unit[1:-1], linear, pixel), 3, 4, cancel
        )
    except (Interrupted, Stopped):
        yield Finished(Outcome.CANCELLED)
        return
    yield Progress(4, 4, "steps")
    report = GainReport(
        stack=stack.name,
        model=judged.name,
        voxel_size=stack.voxel_size,
        start=(z.start, y.start, x.start),
        shape=(unit.shape[0], unit.shape[1], unit.shape[2]),
        is_whole=unit.shape == stack.shape,
        gain=found.of_slices_from(z.start),
        frc=frc,
        frc_linear=frc_linear,
        caution=judged.caution,
    )
    yield Finished(Outcome.COMPLETED, report)


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """What is judged: how it predicts, and what a report calls it."""

    predictor: AxialPredictor
    device: torch.device
    name: str
    caution: str = ""


def _resolve(
    model: Path | None,
    method: Literal["model"] | Interpolation,
    device: Device,
    stack: Volume,
    gap: float,
) -> _Judged:
    if method != "model":
        name = f"{method.capitalize()} interpolation"
        return _Judged(InterpolationPredictor(method), torch.device("cpu"), name)
    place = resolve_device(device)
    folder = model_folder(model)
    loaded = load_model(folder, place)
    card = loaded.card
    predictor = measured_again(predictor_of(loaded), card.degradation.value, gap)
    return _Judged(predictor, place, card.title or folder.name, _caution(card, stack))


def _caution(card: ModelCard, stack: Volume) -> str:
    """What the model had seen before it was judged, and of what."""
    how = card.degradation.value
    if not how.is_sampling:
        return (
            f"It restores slices that are {how}; its result was blurred likewise to be compared, "
            "so what it restores beyond the blur does not show here."
        )
    if card.trained_on == stack.name:
        return "It learned from this stack and has seen its slices, which flatters it a little."
    return f"It learned from {card.trained_on}; there it may look better than on your stack."


def _predict(
    judged: _Judged, unit: NDArray[np.float32], gap: float, cancel: CancelToken | None
) -> Generator[Event, None, NDArray[np.float32]]:
    """(Z - 2, Y, X): slices 1 .. Z - 2, each predicted from every other slice but itself."""
    predicted = np.empty_like(unit)
    num_rows, num_columns = unit.shape[1:]
    tiles = list(itertools.product((0, 1), range(0, num_rows, _TILE), range(0, num_columns, _TILE)))
    for done, (parity, y, x) in enumerate(tiles):
        kept = Volume(unit[parity::2], _ONE)
        grid = AxialGrid(kept.shape[0], 2.0)
        corner = min(y + _TILE, num_rows), min(x + _TILE, num_columns)
        box = Box((0, y, x), (grid.num_output, *corner))
        filled: NDArray[Any] = fill_shard(
            kept, grid, box, judged.predictor, _UNIT, gap, judged.device, cancel
        )
        last = parity + grid.num_output
        predicted[parity + 1 : last : 2, y : corner[0], x : corner[1]] = filled[1::2]
        yield Progress(2 * (done + 1) / len(tiles), 4, "steps")
    return predicted[1:-1]
