"""Three edges in nm, read from the layer, changed by the user, never guessed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QWidget

from napari_d2r.volumes import VoxelSize
from napari_d2r.widgets._layers import known_edges_of, voxel_size_of

_UNKNOWN = 0.0  # shown as "?"; a voxel has no zero edge


class _Edge(QDoubleSpinBox):
    """As short as the number allows: three of them stand in a narrow dock."""

    def textFromValue(self, value: float) -> str:
        """Without zeros at the end."""
        return f"{value:.7g}".replace(".", self.locale().decimalPoint())

    def valueFromText(self, text: str | None) -> float:
        """A text that nobody changed stands for the exact value, not for what it shows."""
        shown = (text or "").removeprefix(self.prefix())
        is_same = shown == self.textFromValue(self.value())
        return self.value() if is_same else super().valueFromText(text)


class VoxelSizeEdit(QWidget):
    """Emits ``changed`` when an edge changes; ``value`` is None until all three are known.

    ``is_from_layer`` says whether the layer states this size; an edit ends that.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Voxel size in nanometres")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        # napari's 70 pixels are too wide for three of them in a narrow dock.
        self.setStyleSheet("QDoubleSpinBox { min-width: 40px; }")
        self.edges = {}
        for axis in "zyx":
            edge = _Edge()
            edge.setObjectName(f"voxel_size_{axis}")
            edge.setAccessibleName(f"Voxel size along {axis} in nanometres")
            edge.setToolTip(f"Distance between voxels along {axis.upper()}, in nanometres.")
            edge.setRange(_UNKNOWN, 1e9)
            edge.setDecimals(9)  # 40 / 3.333333333 is a whole factor, 40 / 3.333 is not
            edge.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
            edge.setSpecialValueText("?")
            edge.setPrefix(f"{axis} ")
            edge.setKeyboardTracking(False)
            edge.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
            edge.valueChanged.connect(self._on_edited)
            row.addWidget(edge)
            self.edges[axis] = edge
        self.is_from_layer = False
        self._stated: VoxelSize | None = None

    @property
    def value(self) -> VoxelSize | None:
        """The voxel size, or None while an edge is unknown."""
        return self.value_at(self.edges["z"].value())

    def value_at(self, z: float) -> VoxelSize | None:
        """The voxel size where slices are ``z`` nm apart, whatever is entered for that."""
        edges = z, self.edges["y"].value(), self.edges["x"].value()
        return VoxelSize(*edges) if all(edge > _UNKNOWN for edge in edges) else None

    def set_value(self, size: VoxelSize | None) -> None:
        """Show a voxel size, or question marks; emits ``changed`` once."""
        self.is_from_layer = False
        self._show(size or (None,) * 3)

    def read(self, layer: Any) -> None:
        """Take the size from a layer; a layer in pixels leaves it to the user.

        Edges that the file of such a layer did state are shown; the others stay open.
        """
        self._stated = size = _stated_by(layer)
        self.is_from_layer = size is not None
        self._show(size or known_edges_of(layer))

    def follow(self, layer: Any) -> None:
        """The layer was edited elsewhere: read it again if it states another size than before.

        What the user entered outlives an edit that has nothing to do with it; emits
        ``changed`` in any case, for the place of the layer may be another.
        """
        if _stated_by(layer) != self._stated:
            self.read(layer)
        else:
            self.changed.emit()

    def _on_edited(self) -> None:
        self.is_from_layer = False
        self.changed.emit()

    def _show(self, edges: Iterable[float | None]) -> None:
        for axis, edge in zip("zyx", edges, strict=True):
            was_blocked = self.edges[axis].blockSignals(True)
            self.edges[axis].setValue(edge or _UNKNOWN)
            self.edges[axis].blockSignals(was_blocked)
        self.changed.emit()


def _stated_by(layer: Any) -> VoxelSize | None:
    return None if layer is None or layer.ndim < 3 else voxel_size_of(layer)
