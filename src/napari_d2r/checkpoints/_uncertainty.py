"""How far a model may be off, as its card tells it."""

from __future__ import annotations

from pydantic import Field

from napari_d2r.jobs import FrozenModel
from napari_d2r.metrics import IntervalShape


class UncertaintyCard(FrozenModel):
    """Shapes of intervals around a prediction; each stack gives them a scale of its own."""

    model: IntervalShape = Field(description="Around what the model predicts.")
    linear: IntervalShape = Field(description="Around linear interpolation, of the same slices.")
    gaps: tuple[float, ...] = Field(description="Gaps, in lateral voxels, that it learned from.")
    learned_on: str = Field(description="Where the truth was known.")
