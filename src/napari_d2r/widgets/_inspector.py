"""What was noticed about a stack, looked for in a thread as soon as its layer is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_d2r.errors import InputError
from napari_d2r.inspection import Finding, Inspection, inspect_stream
from napari_d2r.io import is_slice_folder
from napari_d2r.jobs import CancelToken, Event, Progress
from napari_d2r.volumes import VoxelSize
from napari_d2r.widgets._latest import Latest
from napari_d2r.widgets._layer_choice import LayerChoice
from napari_d2r.widgets._layers import require_stack, volume_of, voxel_size_of
from napari_d2r.widgets._wrapped_label import WrappedLabel

_UNKNOWN = VoxelSize(1, 1, 1)
_LEADS = {"blocks": "Must be solved first: ", "warning": "Warning: ", "note": "Note: "}
_known: WeakKeyDictionary[Any, Inspection] = WeakKeyDictionary()


class Inspector(WrappedLabel):
    """The findings in words; ``inspected`` is emitted when they are there.

    ``is_looking`` is true until then: nothing is known yet about the chosen layer.
    """

    inspected = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("findings", "What was noticed about the stack", parent)
        self.inspection: Inspection | None = None
        self.is_looking = False
        self._stack_lines: list[str] = []
        self._fit_lines: list[str] = []
        self._latest = Latest("inspection", _inspect, self, delay_ms=200)
        self._latest.answered.connect(self._on_inspected)
        self._latest.failed.connect(self._on_failed)
        self._latest.told.connect(self._on_told)
        self.inspect(None)

    @property
    def blocks(self) -> bool:
        """Whether the stack cannot be used as it is."""
        return self.inspection is not None and self.inspection.blocks

    def show_fit(self, fit: Sequence[Finding]) -> None:
        """What the plan found about stack and model together, below the rest."""
        self._fit_lines = _in_words(fit)
        self._refresh()

    def follow(self, choice: LayerChoice) -> None:
        """Inspect the layer that is chosen, and again when that or its voxels change."""
        choice.layer_changed.connect(self.inspect)
        choice.data_changed.connect(self.inspect)
        self.inspect(choice.layer)

    def inspect(self, layer: Any) -> None:
        """Look through a layer, or recall what was found before."""
        self.inspection, self.is_looking = None, False
        self._fit_lines = []
        try:
            require_stack(layer, in_colour=True)
        except InputError:  # the plan says so
            self._latest.ask(None)
            self._show()
            return
        found = _known.get(layer)
        if found is not None:
            self._latest.ask(None)
            self._take(found)
        else:
            self._show("Looking through the stack…")
            self.is_looking = True
            self._latest.ask((layer,))  # a question of its own, even about the same layer

    def _on_told(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._show(
                f"Looking through the stack: {event.done:g} of {event.total:g} {event.unit}…"
            )

    def _on_inspected(self, question: tuple[Any], inspection: Inspection) -> None:
        (layer,) = question
        _known[layer] = inspection
        layer.events.data.disconnect(_forget)
        layer.events.data.connect(_forget)
        self._take(inspection)

    def _on_failed(self, question: tuple[Any], sentence: str) -> None:
        self._take(Inspection.of([Finding("unreadable", "warning", sentence)]))

    def _take(self, inspection: Inspection) -> None:
        self.inspection, self.is_looking = inspection, False
        self._show(*_in_words(inspection.findings))
        self.inspected.emit()

    def _show(self, *lines: str) -> None:
        self._stack_lines = list(lines)
        self._refresh()

    def _refresh(self) -> None:
        text = "\n".join([*self._stack_lines, *self._fit_lines])
        self.setText(text)
        self.setVisible(bool(text))


def _in_words(findings: Sequence[Finding]) -> list[str]:
    return [f"{_LEADS[one.severity]}{one.sentence}" for one in findings]


def _forget(event: Any) -> None:
    """New data in a layer: what was found is no longer true."""
    _known.pop(event.source, None)


def _inspect(question: tuple[Any], cancel: CancelToken) -> Iterator[Event]:
    """The folder that a layer was read from, whose file names tell more; else its voxels."""
    (layer,) = question
    path = Path(layer.source.path) if layer.source.path else None
    subject: Any = volume_of(layer, voxel_size_of(layer) or _UNKNOWN, in_colour=True)
    if path is not None and is_slice_folder(path):
        subject = path
    told = 0.0
    for event in inspect_stream(subject, cancel=cancel):
        if isinstance(event, Progress):  # a line of text need not change for every slice
            if event.done - told < event.total / 20:
                continue
            told = event.done
        yield event
