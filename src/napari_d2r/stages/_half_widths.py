"""Half-widths of intervals beside a result: how wide they are, as left-out slices tell."""

from __future__ import annotations

from dataclasses import dataclass

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
from napari_d2r.metrics import IntervalShape
from napari_d2r.stages._guard import sound_slices
from napari_d2r.stages._super_resolve_plan import SuperResolvePlan
from napari_d2r.volumes import centred_box

__all__ = ["HalfWidths", "half_widths_of"]

# Left-out slices that the scale is taken from: a steady quantile, in seconds.
_MOST = (49, 256, 256)


@dataclass(frozen=True, slots=True, eq=False)
class HalfWidths:
    """What makes half-widths of the predictor of a result; small, for processes elsewhere too.

    Parameters
    ----------
    shape, scale
        Of the intervals of the predictor.
    linear
        The same for linear interpolation, which fills the gaps that look ``damaged``.
    """

    shape: IntervalShape
    scale: float
    linear: tuple[IntervalShape, float] | None
    damaged: tuple[int, ...]

    def of(self, predictor: AxialPredictor) -> AxialPredictor:
        """Half-widths where ``predictor``, which has no fallback, tells intensities."""
        made_by = IntervalPredictor(predictor, self.shape, self.scale)
        if self.linear is None:
            return made_by
        linear = IntervalPredictor(InterpolationPredictor("linear"), *self.linear)
        return FallbackPredictor(made_by, linear, self.damaged)


def half_widths_of(
    plan: SuperResolvePlan,
    card: UncertaintyCard,
    damaged: tuple[int, ...],
    cancel: CancelToken | None,
) -> HalfWidths:
    """Scaled so that slices of the stack that are left out lie within, as often as is said.

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

    def scale_of(method: AxialPredictor, shape: IntervalShape) -> float:
        return calibrate(method, shape, stack, plan.gap, sound, cancel)

    shape = card.linear if plan.model is None else card.model
    linear = None
    scale = scale_of(plan.predictor, shape)
    if damaged:
        linear = card.linear, scale_of(InterpolationPredictor("linear"), card.linear)
    return HalfWidths(shape, scale, linear, damaged)
