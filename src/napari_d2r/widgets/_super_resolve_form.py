"""What the user asks for: layer, model, voxel size, target, region, place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QSpinBox,
    QWidget,
)

from napari_d2r.errors import InputError
from napari_d2r.jobs import Device, Engine, SuperResolveJob
from napari_d2r.volumes import MAX_FACTOR, MIN_FACTOR, VoxelSize
from napari_d2r.widgets._controls import in_a_row, named, push_button
from napari_d2r.widgets._fold import Fold
from napari_d2r.widgets._layer_choice import LayerChoice
from napari_d2r.widgets._layers import Box, finest_data, require_stack
from napari_d2r.widgets._method_choice import MethodChoice
from napari_d2r.widgets._model_choice import ModelChoice
from napari_d2r.widgets._preferences import preferences
from napari_d2r.widgets._regions import RegionChoice
from napari_d2r.widgets._voxel_size_edit import VoxelSizeEdit
from napari_d2r.widgets._where_to_run import WhereToRun
from napari_d2r.widgets._wrapped_label import WrappedLabel
from napari_d2r.widgets._z_table_choice import ZTable, ZTableChoice

SHARD_SECONDS = 1.0  # of work per block: the screen should show something soon
_TIMES_ELSEWHERE = 10  # as much for other processes, which each begin with some more
_SUFFIXES = {"OME-Zarr": ".ome.zarr", "TIFF": ".tif"}


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """The filled form: everything that shapes a result, and where it goes.

    ``box`` is the region in voxels of the layer (None: all of it), ``save_to`` the file
    wished for (None: the cache folder). ``z_table`` says where slices stand (None: evenly); the
    voxel size has their mean distance then.
    """

    layer: Any
    voxel_size: VoxelSize
    job: SuperResolveJob
    model_title: str
    box: Box | None
    save_to: Path | None
    z_table: ZTable | None = None

    @property
    def start(self) -> tuple[float, float, float]:
        """First voxel of the region; along z in steps of the voxel size, wherever slices stand."""
        if self.box is None:
            return 0.0, 0.0, 0.0
        z, y, x = (part.start or 0 for part in self.box)
        if self.z_table is not None:
            z = self.z_table.places[z] / self.voxel_size.z
        return float(z), float(y), float(x)


class SuperResolveForm(QWidget):
    """Emits ``changed`` whenever `wish` may give another answer."""

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._fill(rows, viewer)
        self.method = MethodChoice(self.model)
        self._method = Fold("method", "Method", self.method)
        self.where = WhereToRun()
        rows.addRow(self._method)
        rows.addRow(Fold("where_to_run", "Where to run", self.where))
        rows.addRow(Fold("advanced", "Advanced", self._make_advanced()))
        self._listen()
        self._on_described()
        self._on_layer(self.layer.layer)
        self._show_target()

    @property
    def wish(self) -> Wish:
        """What the form says.

        Raises
        ------
        InputError
            Where something is missing or does not fit, in one sentence.
        """
        layer = self.layer.layer
        require_stack(layer, in_colour=True)
        table = self.z_table.table_of(finest_data(layer).shape[0])
        voxel_size = self._voxel_size_by(table)
        if voxel_size is None:
            raise InputError(
                f"The voxel size of {layer.name} is not known; enter its three edges in nm."
            )
        cluster = self.where.settings
        fields: dict[str, Any] = {
            "keep_measured": self.keep_measured.isChecked(),
            "uncertainty": self.uncertainty.isChecked(),
            "fall_back": self.fall_back.isChecked(),
            "device": self.device.currentText(),
            "engine": self.engine.currentText(),
            "seed": self.seed.value(),
            "max_memory_gb": self.memory.value(),
            "shard_seconds": SHARD_SECONDS * (_TIMES_ELSEWHERE if cluster else 1),
            "cluster": cluster,
            **self.model.fields,
            **self.method.fields,
        }
        if self.target.currentIndex() == 1:
            fields["factor"] = self.factor.value()
        box = self.region.box_in(layer)
        if table is not None:
            fields["z_positions"] = table.positions if box is None else table.positions[box[0]]
        return Wish(
            layer,
            voxel_size,
            SuperResolveJob.checked(fields, "The form"),
            self.model.title,
            box,
            self._save_to(),
            table,
        )

    def _fill(self, rows: QFormLayout, viewer: Any) -> None:
        self.layer = LayerChoice(viewer, measured=True)
        self.layer.setToolTip("The stack to sample finer along Z.")
        self.model = ModelChoice()
        self.voxel_size = VoxelSizeEdit()
        self.voxel_size_note = WrappedLabel("voxel_size_note", "Where the voxel size comes from")
        self.z_table = ZTableChoice()
        self.target = _choice(
            "target",
            "Target",
            "Isotropic: slices as close to each other as pixels. Factor: your own number.",
            ["Isotropic voxels", "Factor"],
        )
        self.factor = named(
            QDoubleSpinBox(), "factor", "Factor", "How many times finer the result is along Z."
        )
        self.factor.setRange(MIN_FACTOR, MAX_FACTOR)
        self.factor.setDecimals(2)
        self.factor.setValue(4)
        self.factor.setKeyboardTracking(False)
        self.keep_measured = named(
            QCheckBox("Keep every measured slice"),
            "keep_measured",
            "Keep every measured slice",
            "Round the factor to a whole number, so that every measured slice is in the result, "
            "unchanged.",
        )
        self.uncertainty = named(
            QCheckBox("How far it may be off"),
            "uncertainty",
            "How far it may be off",
            "A second layer, in grey levels: 90 % of the errors lie within. A run takes longer.",
        )
        self.region = RegionChoice(viewer)
        self.save_to = named(
            QLineEdit(),
            "save_to",
            "Save to",
            "File of the result. Empty: the cache folder, where it stays until you delete it; "
            "you can still save it afterwards.",
        )
        self.save_to.setPlaceholderText("cache folder")
        self.browse = push_button(
            "browse", "…", "Choose where the result is saved.", "Choose a file"
        )
        self.browse.setMaximumWidth(32)
        self.save_format = _choice(
            "save_format",
            "File format",
            "OME-Zarr opens at once, TIFF opens everywhere.",
            list(_SUFFIXES),
        )

        rows.addRow("Layer", self.layer)
        rows.addRow("Model", self.model)
        rows.addRow(self.model.note)
        rows.addRow("Voxel, nm", self.voxel_size)
        rows.addRow(self.voxel_size_note)
        rows.addRow(Fold("uneven", "Slices at uneven distances", self.z_table))
        rows.addRow("Target", self.target)
        rows.addRow("Factor", self.factor)
        rows.addRow(self.keep_measured)
        rows.addRow(self.uncertainty)
        rows.addRow("Region", self.region)
        rows.addRow("Save to", in_a_row(self.save_to, self.browse))
        rows.addRow("Format", self.save_format)

    def _make_advanced(self) -> QWidget:
        stored, page = preferences(), QWidget()
        rows = QFormLayout(page)
        rows.setContentsMargins(0, 0, 0, 0)
        self.device = _choice(
            "device",
            "Device",
            "Where the network runs: auto takes a graphics card if there is one.",
            list(get_args(Device)),
        )
        self.device.setCurrentText(stored.device)
        self.engine = _choice(
            "engine",
            "Engine",
            "int8 computes in eight-bit integers, which is faster on a processor; auto takes it "
            "where it is installed and loses next to nothing on your stack.",
            list(get_args(Engine)),
        )
        self.memory = named(
            QDoubleSpinBox(), "memory", "Memory budget", "The most memory that a run may take."
        )
        self.memory.setRange(0.5, 1024)
        self.memory.setDecimals(1)
        self.memory.setSuffix(" GB")
        self.memory.setValue(stored.memory_gb)
        self.memory.setKeyboardTracking(False)
        self.seed = named(
            QSpinBox(),
            "seed",
            "Seed",
            "Another number gives another sample, where a model samples; others ignore it.",
        )
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setKeyboardTracking(False)
        self.fall_back = named(
            QCheckBox("Linear where damaged"),
            "fall_back",
            "Linear where damaged",
            "Gaps beside slices that look damaged or missing are interpolated linearly.",
        )
        self.fall_back.setChecked(True)
        rows.addRow("Device", self.device)
        rows.addRow("Engine", self.engine)
        rows.addRow("Memory", self.memory)
        rows.addRow("Seed", self.seed)
        rows.addRow(self.fall_back)
        return page

    def _listen(self) -> None:
        self.layer.layer_changed.connect(self._on_layer)
        self.layer.layer_moved.connect(self.voxel_size.follow)  # which tells
        self.layer.data_changed.connect(self._tell)
        self.voxel_size.changed.connect(self._on_voxel_size)
        self.z_table.changed.connect(self._on_voxel_size)
        self.target.currentIndexChanged.connect(self._show_target)
        self.save_format.currentTextChanged.connect(self._on_format)
        self.save_to.editingFinished.connect(self._on_save_to)
        self.browse.clicked.connect(self._browse)
        self.model.described.connect(self._on_described)
        for signal in (
            self.model.changed,
            self.method.changed,
            self.where.changed,
            self.region.changed,
            self.factor.valueChanged,
            self.keep_measured.toggled,
            self.uncertainty.toggled,
            self.fall_back.toggled,
            self.device.currentIndexChanged,
            self.engine.currentIndexChanged,
            self.memory.valueChanged,
            self.seed.valueChanged,
        ):
            signal.connect(self._tell)

    def _tell(self, *_: Any) -> None:
        self.changed.emit()

    def _on_described(self) -> None:
        self.method.follow()
        self._method.setVisible(self.method.is_open)

    def _on_layer(self, layer: Any) -> None:
        self.region.suggest(None)
        self.z_table.clear()
        self.voxel_size.read(layer)  # tells

    @property
    def _table(self) -> ZTable | None:
        """That of the layer; None also where it is wrong."""
        layer = self.layer.layer
        try:
            require_stack(layer, in_colour=True)
            return self.z_table.table_of(finest_data(layer).shape[0])
        except InputError:
            return None

    def _voxel_size_by(self, table: ZTable | None) -> VoxelSize | None:
        """As entered, with the mean distance of slices where a table says that."""
        return self.voxel_size.value if table is None else self.voxel_size.value_at(table.mean)

    def _on_voxel_size(self) -> None:
        table = self._table
        size, layer = self._voxel_size_by(table), self.layer.layer
        if size is None:
            text = "Please enter: the layer does not say how large its voxels are."
        elif table is not None:
            entered, mean = f"{self.voxel_size.edges['z'].value():.6g}", f"{size.z:.6g}"
            instead = "" if entered in ("0", mean) else f" instead of {entered}"
            text = (
                f"Along Z the table counts: slices are {mean} nm apart in the mean{instead}; Run "
                "sets that on the layer too."
            )
        elif self.voxel_size.is_from_layer:
            text = "From the layer; correct it here if it is wrong."
        else:
            text = "Entered by you; Run sets it on the layer too."
        self.voxel_size_note.setText("" if layer is None else text)
        self._show_target()
        self._tell()

    def _show_target(self, *_: Any) -> None:
        is_isotropic, size = self.target.currentIndex() == 0, self._voxel_size_by(self._table)
        self.factor.setEnabled(not is_isotropic)
        if is_isotropic and size is not None and MIN_FACTOR <= size.anisotropy <= MAX_FACTOR:
            was_blocked = self.factor.blockSignals(True)
            self.factor.setValue(size.anisotropy)
            self.factor.blockSignals(was_blocked)
        if self.sender() is self.target:
            self._tell()

    def _save_to(self) -> Path | None:
        text = self.save_to.text().strip()
        return Path(text).expanduser() if text else None

    def _on_format(self, name: str) -> None:
        path = self._save_to()
        if path is not None:
            self.save_to.setText(str(_with_suffix(path, _SUFFIXES[name])))
        self._tell()

    def _on_save_to(self) -> None:
        path = self._save_to()
        if path is not None:
            lower = path.name.lower()
            if lower.endswith((".tif", ".tiff", ".zarr")):
                self.save_format.setCurrentText("OME-Zarr" if lower.endswith("zarr") else "TIFF")
            else:
                suffix = _SUFFIXES[self.save_format.currentText()]
                self.save_to.setText(str(_with_suffix(path, suffix)))
        self._tell()

    def _browse(self) -> None:
        name = self.save_format.currentText()
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the result as", self.save_to.text(), f"{name} (*{_SUFFIXES[name]})"
        )
        if chosen:
            self.save_to.setText(chosen)
            self._on_save_to()


def _with_suffix(path: Path, suffix: str) -> Path:
    """The path with another of our suffixes."""
    stem = path.name
    for known in (".ome.zarr", ".zarr", ".ome.tif", ".tiff", ".tif"):
        if stem.lower().endswith(known):
            stem = stem[: -len(known)]
            break
    return path.with_name(stem + suffix)


def _choice(object_name: str, label: str, tip: str, items: list[str]) -> QComboBox:
    box = named(QComboBox(), object_name, label, tip)
    box.addItems(items)
    return box
