"""What a model leaves open: how slices were measured, what refines, how a sample is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_d2r.jobs import SamplerSettings, SuperResolveJob
from napari_d2r.widgets._controls import show_row
from napari_d2r.widgets._model_choice import ModelChoice
from napari_d2r.widgets._refiner_choice import RefinerChoice
from napari_d2r.widgets._schema_form import SchemaForm

if TYPE_CHECKING:
    from napari_d2r.stages.super_resolve import Choices

_OFFERED = {"direction", "solver", "steps", "samples"}  # as by the command line


class MethodChoice(QWidget):
    """Emits ``changed``; ``fields`` are those of a SuperResolveJob.

    An interpolation is told how slices were measured, which a model knows. A model that predicts
    may be refined by a diffusion model. How samples are drawn is as the card of the model says,
    until it is changed here.
    """

    changed = Signal()

    def __init__(self, model: ModelChoice, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self._drawn: object = None
        self.measured = SchemaForm(
            SuperResolveJob, leave_out=SuperResolveJob.model_fields.keys() - {"degradation"}
        )
        self.refiner = RefinerChoice()
        self.sampler = SchemaForm(
            SamplerSettings, leave_out=SamplerSettings.model_fields.keys() - _OFFERED
        )
        self._rows = QFormLayout()
        self._rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._rows.addRow("Refine with", self.refiner)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.measured)
        column.addLayout(self._rows)
        column.addWidget(self.sampler)
        self.follow()
        self.refiner.changed.connect(self._on_refiner)
        self.measured.changed.connect(self.changed)
        self.sampler.changed.connect(self.changed)

    @property
    def fields(self) -> dict[str, Any]:
        """What is asked for beside the model, and was not hidden."""
        if self._model.is_interpolation:
            return self.measured.values()
        if (choices := self._choices) is None:
            return {}
        values = self.sampler.values()
        chosen = choices.sampler.model_copy(update={name: values[name] for name in choices.fields})
        sampler = None if chosen == choices.sampler else chosen.model_dump(mode="json")
        return {"refine_with": self._refiner, "sampler": sampler}

    @property
    def is_open(self) -> bool:
        """Whether there is anything to choose."""
        choices = self._choices
        is_drawn = choices is not None and bool(choices.fields)
        return self._model.is_interpolation or self._is_refinable or is_drawn

    @property
    def _is_refinable(self) -> bool:
        choices = self._model.choices
        return choices is not None and choices.refined is not None

    @property
    def _refiner(self) -> Path | None:
        return self.refiner.folder if self._is_refinable else None

    @property
    def _choices(self) -> Choices | None:
        """Of the model, or of what refines it."""
        choices = self._model.choices
        return choices.refined if choices is not None and self._refiner else choices

    def follow(self) -> None:
        """Show what the model leaves open, and samples drawn as its card says."""
        self.refiner.offer(self._model.refiners)
        choices = self._choices
        names = frozenset() if choices is None else choices.fields
        self.measured.setVisible(self._model.is_interpolation)
        show_row(self._rows, self.refiner, self._is_refinable)
        self.sampler.setVisible(bool(names))
        self.sampler.show_only(names)
        drawn = (self._model.fields, choices)
        if choices is not None and drawn != self._drawn:
            was_blocked = self.sampler.blockSignals(True)
            self.sampler.set_values(choices.sampler.model_dump(mode="json"))
            self.sampler.blockSignals(was_blocked)
            self._drawn = drawn

    def _on_refiner(self) -> None:
        self.follow()
        self.changed.emit()
