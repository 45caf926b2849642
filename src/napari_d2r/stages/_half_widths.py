"""From the plan of a result to that of the half-widths beside it."""

from __future__ import annotations

from dataclasses import replace

import torch

from napari_d2r.checkpoints import UncertaintyCard
from napari_d2r.inference import (
    AxialPredictor,
    FallbackPredictor,
    InterpolationPredictor,
    IntervalPredictor,
    calibrate,
)
from napari_d2r.jobs import CancelToken
from napari_d2r.stages._guard import sound_slices
from napari_d2r.stages._super_resolve_plan import SuperResolvePlan
from napari_d2r.stages._uncertainty import beside
from napari_d2r.volumes import centred_box

__all__ = ["half_width_plan"]

# Left-out slices that the scale is taken from: a steady quantile, in seconds.
_MOST = (49, 256, 256)


def half_width_plan(
    plan: SuperResolvePlan,
    card: UncertaintyCard,
    damaged: tuple[int, ...],
    cancel: CancelToken | None,
) -> tuple[SuperResolvePlan, float]:
    """A plan that fills half-widths, and the scale that left-out slices gave them.

    ``plan`` is that of the result without fallback.

    Raises
    ------
    Interrupted
        When ``cancel`` is set.
    """
    volume = plan.volume
    z, y, x = centred_box(volume.shape, _MOST)
    stored = volume.read(z, y, x)
    stack = torch.from_numpy(plan.intensity.to_unit(stored)).to(plan.device)
    sound = sound_slices(damaged, volume.shape[0])[z]
    if not sound[1:-1].any():
        sound[:] = True

    def scaled(method: AxialPredictor, is_linear: bool) -> IntervalPredictor:
        shape = card.linear if is_linear else card.model
        scale = calibrate(method, shape, stack, plan.gap, sound, cancel)
        return IntervalPredictor(method, shape, scale)

    made_by = scaled(plan.predictor, plan.model is None)
    predictor: AxialPredictor = made_by
    if damaged:
        linear = scaled(InterpolationPredictor("linear"), True)
        predictor = FallbackPredictor(made_by, linear, damaged)
    return replace(plan, output=beside(plan.output), predictor=predictor), made_by.scale
