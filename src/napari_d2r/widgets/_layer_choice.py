"""A drop-down of the viewer's image layers that follows the layer list."""

from __future__ import annotations

from typing import Any

from napari.layers import Image
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_d2r._npe2 import METADATA
from napari_d2r.widgets._alive import while_alive
from napari_d2r.widgets._layers import PREVIEW
from napari_d2r.widgets._provenance import find_source, is_result

_MOVES = ("scale", "units", "translate", "rotate", "shear", "affine")


class LayerChoice(QComboBox):
    """Emits ``layer_changed`` with the chosen layer, or None when there is none.

    One that is for ``measured`` stacks begins with the source of a result that is selected.

    ``layer_moved`` tells that the chosen layer has another size, unit or place, and
    ``data_changed`` that it has other voxels; either once for edits that belong together.
    """

    layer_changed = Signal(object)
    layer_moved = Signal(object)
    data_changed = Signal(object)

    def __init__(
        self,
        viewer: Any,
        *,
        object_name: str = "layer",
        label: str = "Image layer",
        optional: str = "",
        measured: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName(object_name)
        self.setAccessibleName(label)
        self.setMinimumContentsLength(12)
        self._viewer, self._optional, self._measured = viewer, optional, measured
        self._layers: list[Any] = []
        self._chosen: Any = None
        self._moved = self._told_later(self.layer_moved)
        self._replaced = self._told_later(self.data_changed)
        for event in ("inserted", "removed", "reordered"):
            getattr(viewer.layers.events, event).connect(self.refill)
        self.currentIndexChanged.connect(self._on_index)
        self.refill()

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self._chosen

    def choose(self, layer: Any) -> None:
        """Choose a layer of the viewer."""
        if layer in self._layers:
            self.setCurrentIndex(self._layers.index(layer))

    @while_alive
    def refill(self, event: Any = None) -> None:
        """Read the layer list again; the choice stays where it can."""
        images = [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, Image) and layer.metadata.get(METADATA, {}).get("kind") != PREVIEW
        ]
        self._layers = [None, *images] if self._optional else images
        chosen = self._chosen if self._chosen in self._layers else self._first_choice()
        was_blocked = self.blockSignals(True)
        self.clear()
        for layer in self._layers:
            self.addItem(self._optional if layer is None else layer.name)
            if layer is not None:
                layer.events.name.disconnect(self._on_renamed)
                layer.events.name.connect(self._on_renamed)
        self.setCurrentIndex(self._layers.index(chosen) if chosen in self._layers else -1)
        self.blockSignals(was_blocked)
        self._set(chosen)

    def _first_choice(self) -> Any:
        if self._optional:
            return None
        active = self._viewer.layers.selection.active
        first = active if active in self._layers else next(reversed(self._layers), None)
        if self._measured and first is not None and is_result(first):
            return find_source(first, self._layers) or first
        return first

    def _on_index(self, index: int) -> None:
        self._set(self._layers[index] if 0 <= index < len(self._layers) else None)

    @while_alive
    def _on_renamed(self, event: Any) -> None:
        for index, layer in enumerate(self._layers):
            if layer is not None:
                self.setItemText(index, layer.name)

    def _set(self, layer: Any) -> None:
        if layer != self._chosen:  # napari hands out a new proxy at each look
            for event, slot in self._edits_of(self._chosen):
                event.disconnect(slot)
            for event, slot in self._edits_of(layer):
                event.connect(slot)
            self._moved.stop()
            self._replaced.stop()
            self._chosen = layer
            self.layer_changed.emit(layer)

    def _edits_of(self, layer: Any) -> list[tuple[Any, Any]]:
        if layer is None:
            return []
        moves = [(getattr(layer.events, name), self._on_moved) for name in _MOVES]
        return [*moves, (layer.events.data, self._on_data)]

    def _told_later(self, signal: Any) -> QTimer:
        """When the edits are over, of which several come in a row."""
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(lambda: signal.emit(self._chosen))
        return timer

    @while_alive
    def _on_moved(self, event: Any) -> None:
        self._moved.start(0)

    @while_alive
    def _on_data(self, event: Any) -> None:
        self._replaced.start(0)
