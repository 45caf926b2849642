"""What a model gains on a stack without ground truth: measured slices, left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from napari_d2r.checkpoints import load_model
from napari_d2r.inference import Interrupted, leave_one_out, predictor_for
from napari_d2r.jobs import CancelToken, Device, Event, Finished, Outcome, StageStarted, Started
from napari_d2r.metrics import GainOverLinear
from napari_d2r.models import architecture_named
from napari_d2r.stages._device import resolve_device
from napari_d2r.volumes import (
    IntensityRange,
    Volume,
    centred_box,
    require_finite,
    resolve_factor,
    resolve_gap,
)

# Enough slices and pixels for a steady number in seconds, whatever the size of the stack.
_MOST = (96, 384, 384)


def gain_stream(
    stack: Volume,
    model: Path,
    *,
    factor: float | None = None,
    device: Device = "auto",
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """Leave every measured slice out in turn; ends in ``Finished(result=GainOverLinear)``.

    The centre of a large stack is judged. The gap is twice the usual one, so both errors
    are larger than between measured slices; what carries over is their difference.

    Raises
    ------
    InputError
        When the stack or the model cannot be used.
    """
    stack.require_single_channel()
    stack.require_slices()
    gap = resolve_gap(stack.voxel_size, resolve_factor(stack.voxel_size, factor))
    place = resolve_device(device)
    loaded = load_model(model, place)
    predictor = predictor_for(
        loaded.network,
        architecture_named(loaded.card.architecture).contract,
        halo=loaded.card.halo,
        prediction=loaded.card.prediction,
        sampler=loaded.card.sampler,
    )
    yield Started("evaluate")
    yield StageStarted("leave measured slices out")
    stored = stack.read(*centred_box(stack.shape, _MOST))
    require_finite(stored, stack.name)
    unit = torch.from_numpy(IntensityRange.of(stack).to_unit(stored)).to(place)
    try:
        yield Finished(Outcome.COMPLETED, leave_one_out(predictor, unit, gap, cancel))
    except Interrupted:
        yield Finished(Outcome.CANCELLED)


def gain_to_json(gain: GainOverLinear) -> str:
    """The report as JSON text; keys are documented in ``docs/evaluation.md``."""
    return json.dumps(
        {
            "psnr_db": gain.psnr_db,
            "psnr_linear_db": gain.psnr_linear_db,
            "gain_db": gain.gain_db,
            "slices": list(gain.slices),
            "mse": list(gain.mse),
            "mse_linear": list(gain.mse_linear),
        },
        indent=2,
    )
