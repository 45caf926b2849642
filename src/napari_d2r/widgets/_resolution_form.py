"""What is measured: a stack and a model, or two volumes and their source.

napari hands widgets proxies of its layers, a new one at each look: they are equal, not the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QSizePolicy, QTabWidget, QVBoxLayout, QWidget

from napari_d2r.errors import InputError
from napari_d2r.jobs import CancelToken, Device, Event
from napari_d2r.stages._common_grid import Placed
from napari_d2r.volumes import MIN_FACTOR, Volume, VoxelSize
from napari_d2r.widgets._alive import while_alive
from napari_d2r.widgets._controls import named, note
from napari_d2r.widgets._layer_choice import LayerChoice
from napari_d2r.widgets._layers import require_stack, volume_of, voxel_size_of
from napari_d2r.widgets._model_choice import ModelChoice
from napari_d2r.widgets._number_box import IntegerBox
from napari_d2r.widgets._preferences import preferences
from napari_d2r.widgets._provenance import find_source, is_result
from napari_d2r.widgets._voxel_size_edit import VoxelSizeEdit

GAIN, FSC = 0, 1  # the tabs


@dataclass(frozen=True, slots=True, eq=False)
class GainWish:
    """A stack, what predicts its slices and where it runs, and the edge of the crop."""

    stack: Volume
    layer: Any
    model: Path | None
    method: str
    device: Device
    max_edge: int

    def work(self, cancel: CancelToken) -> Iterator[Event]:
        """Leave slices out; in a thread."""
        import torch

        from napari_d2r.stages.gain import gain_stream

        torch.set_num_threads(preferences().num_threads)
        yield from gain_stream(
            self.stack,
            self.model,
            method=self.method,  # type: ignore[arg-type]
            device=self.device,
            max_edge=self.max_edge,
            cancel=cancel,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FSCWish:
    """Two volumes where they stand, what the first was made from, and the edge of the crop."""

    first: Placed
    second: Placed
    source: Placed | None
    layers: tuple[Any, Any]
    made_from: Any
    max_edge: int

    def work(self, cancel: CancelToken) -> Iterator[Event]:
        """Correlate; in a thread."""
        from napari_d2r.stages.fsc import fsc_placed_stream

        yield from fsc_placed_stream(
            self.first, self.second, source=self.source, max_edge=self.max_edge, cancel=cancel
        )


class ResolutionForm(QWidget):
    """Two questions in two tabs, and what they share; emits ``changed``."""

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.question = QTabWidget()
        named(self.question, "question", "Question", "What is measured.")
        self.question.addTab(self._gain_tab(), "What did I gain?")
        self.question.addTab(self._fsc_tab(), "Two volumes (FSC)")
        self.question.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.question.setTabToolTip(GAIN, "One stack and a model; no reference is needed.")
        self.question.setTabToolTip(FSC, "A result and a reference, or two measurements.")
        self.voxel_size = VoxelSizeEdit()
        self.voxel_size_note = note("voxel_size_note", "Whose voxel size this is")
        self.crop = IntegerBox()
        named(
            self.crop,
            "crop",
            "Largest edge of what is measured, in voxels",
            "Only the middle of a large volume is measured, at most so many voxels along each "
            "axis: that bounds memory and time.",
        )
        self.crop.setRange(16, 2048)
        self.crop.setValue(256)
        self.crop.setSuffix(" voxels")
        shared = QFormLayout()
        shared.addRow("Voxel (nm)", self.voxel_size)
        shared.addRow(self.voxel_size_note)
        shared.addRow("At most", self.crop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.question)
        column.addLayout(shared)
        self._listen()
        self._suggest_pair()
        self._read_voxel_size()

    @property
    def is_gain(self) -> bool:
        """Whether the tab of the gain is in front."""
        return self.question.currentIndex() == GAIN

    @property
    def wish(self) -> GainWish | FSCWish:
        """What the form asks.

        Raises
        ------
        InputError
            Where something is missing or does not fit, in one sentence.
        """
        return self._gain_wish() if self.is_gain else self._fsc_wish()

    def _gain_wish(self) -> GainWish:
        layer = self.layer.layer
        require_stack(layer)
        size = self._known_size(layer)
        if size.anisotropy < MIN_FACTOR:
            raise InputError(
                f"{layer.name} is as fine along Z as in XY ({size}): there is no gap to fill; "
                "choose the stack as it was measured."
            )
        fields = self.model.fields
        return GainWish(
            volume_of(layer, size),
            layer,
            fields.get("model"),
            fields.get("method", "model"),
            preferences().device,
            self.crop.value(),
        )

    def _fsc_wish(self) -> FSCWish:
        layers = self.layer_a.layer, self.layer_b.layer
        for layer in layers:
            require_stack(layer)
        if layers[0] == layers[1]:
            raise InputError("Choose two different layers: a volume agrees with itself.")
        source = self.source.layer
        if source is not None:
            require_stack(source)
        first, second = (self._placed(layer) for layer in layers)
        return FSCWish(
            first,
            second,
            None if source is None else self._placed(source),
            layers,
            source,
            self.crop.value(),
        )

    def _gain_tab(self) -> QWidget:
        self.layer = LayerChoice(self._viewer, label="Measured stack", measured=True)
        self.layer.setToolTip("The stack as it was measured, coarse along Z.")
        self.model = ModelChoice()
        self.model.setToolTip("What predicts the slices that are left out.")
        page, rows = _page()
        rows.addRow("Stack", self.layer)
        rows.addRow("Model", self.model)
        rows.addRow(self.model.note)
        return page

    def _fsc_tab(self) -> QWidget:
        self.layer_a = LayerChoice(self._viewer, object_name="layer_a", label="Volume")
        self.layer_a.setToolTip("A result, or one of two measurements of the same place.")
        self.layer_b = LayerChoice(
            self._viewer, object_name="layer_b", label="Volume that it is compared with"
        )
        self.layer_b.setToolTip("A reference, or the other measurement.")
        self.source = LayerChoice(
            self._viewer,
            object_name="source",
            label="Stack that the volume was made from",
            optional="none",
        )
        self.source.setToolTip(
            "The measured stack that the volume was made from: what plain linear interpolation "
            "makes of it is drawn beside the result."
        )
        page, rows = _page()
        rows.addRow("Volume", self.layer_a)
        rows.addRow("Against", self.layer_b)
        rows.addRow("Made from", self.source)
        return page

    def _listen(self) -> None:
        for choice in (self.layer, self.layer_a, self.layer_b, self.source):
            choice.layer_changed.connect(self._on_layer)
        self.layer_a.layer_changed.connect(self._suggest_source)
        for choice in (self.layer_a, self.layer_b):
            choice.activated.connect(self._on_chosen)
        self.question.currentChanged.connect(self._on_layer)
        self._viewer.layers.events.inserted.connect(self._suggest_pair)
        for edge in self.voxel_size.edges.values():
            edge.valueChanged.connect(self._on_chosen)  # not when it is read from a layer
        for signal in (self.voxel_size.changed, self.crop.valueChanged, self.model.changed):
            signal.connect(self._tell)

    def _on_layer(self, *_: Any) -> None:
        self._read_voxel_size()
        self.changed.emit()

    def _on_chosen(self, *_: Any) -> None:
        self._has_chosen = True

    def _tell(self, *_: Any) -> None:
        self.changed.emit()

    @while_alive
    def _suggest_pair(self, event: Any = None) -> None:
        """A result, and what has its voxels but is not its source, until the user chooses."""
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        if self._has_chosen or len(images) < 2:
            return
        first = ([layer for layer in images if is_result(layer)] or images)[-1]
        others = [layer for layer in images if layer != first]
        size = voxel_size_of(first)
        alike = [layer for layer in others if voxel_size_of(layer) == size]
        self.layer_a.choose(first)
        self.layer_b.choose((alike or others)[0])
        self._suggest_source(first)

    def _suggest_source(self, layer: Any) -> None:
        self.source.choose(find_source(layer, self._viewer.layers))

    def _read_voxel_size(self) -> None:
        """Show the size of the stack, or of the first volume that does not know its own."""
        layers = [self.layer.layer]
        if not self.is_gain:
            layers = [self.layer_a.layer, self.layer_b.layer, self.source.layer]
        layers = [layer for layer in layers if layer is not None and layer.ndim == 3]
        unknown = [layer for layer in layers if voxel_size_of(layer) is None]
        asked = (unknown or layers or [None])[0]
        if asked is not None and asked == self._asked and unknown:
            return  # what the user entered for it stays
        self._asked = asked
        self.voxel_size.read(asked)
        self.voxel_size.setEnabled(self.is_gain or bool(unknown))
        if asked is None:
            text = ""
        elif unknown:
            text = f"Please enter: {asked.name} is in pixels and does not say how large they are."
        else:
            text = f"Of {asked.name}, from the layer."
        self.voxel_size_note.setText(text)

    _asked: Any = None  # the layer whose voxel size is shown
    _has_chosen = False  # whether the user has chosen volumes, or entered their voxel size

    def _known_size(self, layer: Any) -> VoxelSize:
        size = self.voxel_size.value if layer == self._asked else voxel_size_of(layer)
        if size is None:
            raise InputError(
                f"The voxel size of {layer.name} is not known; enter its three edges in nm."
            )
        return size

    def _placed(self, layer: Any) -> Placed:
        """A layer as a volume that stands somewhere, in nm."""
        known = voxel_size_of(layer)
        start = np.asarray(layer.data_to_world((0, 0, 0)), float)
        if known is None:
            # What was entered for one layer in pixels says how large a pixel is, for all.
            asked = self._known_size(self._asked)
            per_pixel = np.array(tuple(asked)) / np.asarray(self._asked.scale, float)
            known = VoxelSize(*(np.asarray(layer.scale, float) * per_pixel))
        else:
            per_pixel = np.array([float((1 * unit).to("nm").magnitude) for unit in layer.units])
        z, y, x = start * per_pixel
        return Placed(volume_of(layer, known), (z, y, x))


def _page() -> tuple[QWidget, QFormLayout]:
    page = QWidget()
    rows = QFormLayout(page)
    rows.setContentsMargins(6, 6, 6, 6)
    rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return page, rows
