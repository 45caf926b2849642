"""What the user asks for: stack, project folder, preset, minutes, factor, and the rest folded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QWidget,
)
from superqt import QCollapsible

from napari_d2r.errors import InputError
from napari_d2r.jobs import TrainJob, describe_preset, load_preset, preset_names
from napari_d2r.volumes import MAX_FACTOR
from napari_d2r.widgets._controls import in_a_row, named, note, push_button, rich
from napari_d2r.widgets._layer_choice import LayerChoice
from napari_d2r.widgets._layers import require_stack
from napari_d2r.widgets._number_box import ChoiceBox, NumberBox
from napari_d2r.widgets._preferences import preferences
from napari_d2r.widgets._prepare import TrainWish
from napari_d2r.widgets._project import file_name, same_settings
from napari_d2r.widgets._schema_form import SchemaForm
from napari_d2r.widgets._voxel_size_edit import VoxelSizeEdit

_ISOTROPIC, _NO_LIMIT = 1.0, 0.0  # shown as words


class TrainForm(QWidget):
    """Emits ``changed`` whenever `wish` may give another answer."""

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._is_filling = True
        self._folder_was_chosen = False
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._make(viewer)
        self._lay_out(rows)
        self._listen()
        self._on_preset()
        self._on_layer(self.layer.layer)
        self._is_filling = False

    @property
    def wish(self) -> TrainWish:
        """What the form says.

        Raises
        ------
        InputError
            Where a setting does not fit, or there is no folder. A layer that cannot be
            used is only noted, because a resume does without.
        """
        folder = self.project.text().strip()
        layer, voxel_size = self.layer.layer, self.voxel_size.value
        try:
            require_stack(layer, in_colour=True)
            if voxel_size is None:
                raise InputError(
                    f"The voxel size of {layer.name} is not known; enter its three edges in nm."
                )
            problem = ""
        except InputError as error:
            problem = str(error)
        if not folder:
            raise InputError(problem or "Choose a project folder, where the model is to go.")
        preset = self.preset.currentText()
        path = Path(folder).expanduser()
        return TrainWish(path, layer, voxel_size, self.job, preset, problem)

    @property
    def job(self) -> TrainJob:
        """The settings.

        Raises
        ------
        InputError
            For a value that does not fit, with its name.
        """
        minutes, factor = self.minutes.value(), self.factor.value()
        fields = {
            "max_minutes": None if minutes == _NO_LIMIT else minutes,
            "factor": None if factor == _ISOTROPIC else factor,
            "start_from": self.start_from.currentData(),
            "reference": self.reference.text().strip() or None,
        }
        return TrainJob.checked(self.advanced.values() | fields, "The form")

    def set_job(self, job: TrainJob) -> None:
        """Show the settings of a job; tells once."""
        was_filling, self._is_filling = self._is_filling, True
        self.minutes.setValue(_NO_LIMIT if job.max_minutes is None else job.max_minutes)
        self.factor.setValue(_ISOTROPIC if job.factor is None else job.factor)
        start = None if job.start_from is None else str(job.start_from)
        if self.start_from.findData(start) < 0:
            self.start_from.addItem(Path(str(start)).name, start)
        self.start_from.setCurrentIndex(self.start_from.findData(start))
        self.reference.setText("" if job.reference is None else str(job.reference))
        self.advanced.set_values(job.model_dump(mode="json"))
        self._is_filling = was_filling
        self._show_preset()
        self._tell()

    def take_up(self, folder: Path, preset: str, layer: str, job: TrainJob) -> None:
        """Show a training that was begun: its folder, its settings and its layer, if open."""
        was_filling, self._is_filling = self._is_filling, True
        self._folder_was_chosen = True  # the folder stays, whatever layer is chosen
        self.project.setText(str(folder))
        self.preset.setCurrentText(preset)
        if (index := self.layer.findText(layer)) >= 0:
            self.layer.setCurrentIndex(index)
        self.set_job(job)
        self._is_filling = was_filling
        self._tell()

    def _make(self, viewer: Any) -> None:
        self.layer = LayerChoice(viewer, measured=True)
        self.layer.setToolTip("The stack to learn from: itself, no other data are needed.")
        self.voxel_size = VoxelSizeEdit()
        self.voxel_size_note = note("voxel_size_note", "Where the voxel size comes from")
        self.project = named(
            QLineEdit(),
            "project",
            "Project folder",
            rich(
                "A folder of its own for this training: the model goes there, and what is needed "
                "to resume. Choose the folder of an unfinished training to go on with it."
            ),
        )
        self.browse = push_button(
            "browse", "…", rich("Choose the project folder."), "Choose a project folder"
        )
        self.browse.setMaximumWidth(32)
        self.preset = named(
            ChoiceBox(),
            "preset",
            "Preset",
            rich("Which networks learn, and how they are trained."),
        )
        self.preset.addItems(preset_names())
        self.preset_note = note("preset_note", "What the preset does")
        self.minutes = named(
            NumberBox(),
            "minutes",
            "Minutes",
            rich(
                "Time for all three stages together. More time helps for a while; you can pause "
                "and resume."
            ),
        )
        self.minutes.setRange(_NO_LIMIT, 100_000)
        self.minutes.setSpecialValueText("no limit")
        self.start_from = named(
            ChoiceBox(),
            "start_from",
            "Start from",
            rich(
                "Scratch: the model knows nothing but this stack. The bundled model knows FIB-SEM "
                "of fly brain and is adapted to this stack."
            ),
        )
        self.start_from.addItem("scratch", None)
        self.start_from.addItem("the bundled model", "bundled")
        self.reference = named(
            QLineEdit(),
            "reference",
            "Reference",
            rich(
                "An isotropic volume with the pixels of the stack, if you have one: the fast "
                "network learns from it, and not from the stack itself."
            ),
        )
        self.reference.setPlaceholderText("none: the stack teaches itself")
        self.browse_reference = push_button(
            "browse_reference", "…", rich("Choose the isotropic volume."), "Choose a reference"
        )
        self.browse_reference.setMaximumWidth(32)
        self.factor = named(
            NumberBox(),
            "factor",
            "Factor",
            rich(
                "How many times finer along Z. Isotropic: slices as close to each other as pixels."
            ),
        )
        self.factor.setRange(_ISOTROPIC, MAX_FACTOR)
        self.factor.setSpecialValueText("isotropic")
        self.advanced = SchemaForm(
            TrainJob, leave_out=("factor", "max_minutes", "start_from", "reference")
        )
        self.folded = QCollapsible("Advanced")
        self.folded.setObjectName("advanced")
        self.folded.toggleButton().setAccessibleName("Advanced settings")
        self.folded.addWidget(self.advanced)
        self.folded.setDuration(0)
        for part in (self.folded, self.folded.content()):
            part.layout().setContentsMargins(0, 0, 0, 0)  # a dock is narrow

    def _lay_out(self, rows: QFormLayout) -> None:
        rows.addRow("&Layer", self.layer)
        label = QLabel("Voxel size in nm")
        label.setBuddy(self.voxel_size.edges["z"])
        rows.addRow(label)  # a row of its own: three numbers need the width of the dock
        rows.addRow(self.voxel_size)
        rows.addRow(self.voxel_size_note)
        rows.addRow("Project", in_a_row(self.project, self.browse))
        rows.addRow("Preset", self.preset)
        rows.addRow(self.preset_note)
        rows.addRow("Start from", self.start_from)
        rows.addRow("Reference", in_a_row(self.reference, self.browse_reference))
        rows.addRow("Minutes", self.minutes)
        rows.addRow("Factor", self.factor)
        rows.addRow(self.folded)

    def _listen(self) -> None:
        self.layer.layer_changed.connect(self._on_layer)
        self.layer.layer_moved.connect(self.voxel_size.follow)  # which tells
        self.layer.data_changed.connect(self._tell)
        self.voxel_size.changed.connect(self._on_voxel_size)
        self.project.textEdited.connect(self._on_folder_typed)
        self.project.editingFinished.connect(self._tell)
        self.browse.clicked.connect(self._browse)
        self.preset.currentIndexChanged.connect(self._on_preset)
        self.start_from.currentIndexChanged.connect(self._on_setting)
        self.reference.editingFinished.connect(self._on_setting)
        self.browse_reference.clicked.connect(self._browse_reference)
        for signal in (self.minutes.valueChanged, self.factor.valueChanged, self.advanced.changed):
            signal.connect(self._on_setting)

    def _tell(self, *_: object) -> None:
        if not self._is_filling:
            self.changed.emit()

    def _on_layer(self, layer: Any) -> None:
        was_filling, self._is_filling = self._is_filling, True
        self.voxel_size.read(layer)
        if layer is not None and not self._folder_was_chosen:
            folder = preferences().projects_folder / file_name(layer.name)
            self.project.setText(str(folder))
            self.project.setCursorPosition(len(str(folder)))
        self._is_filling = was_filling
        self._tell()

    def _on_voxel_size(self) -> None:
        if self.voxel_size.value is None:
            text = "Please enter: the layer does not say how large its voxels are."
        elif self.voxel_size.is_from_layer:
            text = "From the layer; correct it here if it is wrong."
        else:
            text = "Entered by you; Run sets it on the layer too."
        self.voxel_size_note.setText("" if self.layer.layer is None else text)
        self._tell()

    def _on_folder_typed(self, text: str) -> None:
        self._folder_was_chosen = bool(text.strip())

    def _browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Project folder", self.project.text())
        if chosen:
            self._folder_was_chosen = True
            self.project.setText(chosen)
            self._tell()

    def _browse_reference(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Reference", self.reference.text())
        if chosen:
            self.reference.setText(chosen)
            self._on_setting()

    def _on_preset(self, *_: object) -> None:
        job = load_preset(self.preset.currentText())
        self.set_job(job.model_copy(update={"device": preferences().device}))

    def _on_setting(self, *_: object) -> None:
        if not self._is_filling:
            self._show_preset()
            self._tell()

    def _show_preset(self) -> None:
        """What the preset does, and whether it is still as it was."""
        name = self.preset.currentText()
        try:
            is_changed = not same_settings(self.job, load_preset(name))
        except InputError:
            is_changed = True
        self.preset_note.setText(describe_preset(name) + (" Changed below." if is_changed else ""))
