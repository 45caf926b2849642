"""“Save as…”: asks for a name, copies in a thread, can be stopped."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget

from napari_d2r.jobs import Event, Failed, Finished, Outcome, Progress
from napari_d2r.widgets._latest import start_kept
from napari_d2r.widgets._runner import JobRunner
from napari_d2r.widgets._save import save_result

_FILTERS = "OME-Zarr (*.ome.zarr);;TIFF (*.tif)"


class SaveButton(QPushButton):
    """Save as… / Stop saving; ``told`` gives progress, ``said`` a sentence at the end."""

    told = Signal(object)
    said = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Save as…", parent)
        self.setObjectName("save")
        self.setAccessibleName("Save the result as")
        self.setToolTip("Copy the finished result to OME-Zarr or TIFF; the voxel size is kept.")
        self._source: Path | None = None
        self._runner: JobRunner | None = None
        self._message = ""
        self.clicked.connect(self._on_clicked)
        self.set_source(None)

    @property
    def is_saving(self) -> bool:
        """Whether a copy is being made."""
        return self._runner is not None

    def set_source(self, source: Path | None) -> None:
        """The finished store that would be saved."""
        self._source = source
        self.setEnabled(self.is_saving or source is not None)

    def save_to(self, target: Path) -> None:
        """Begin to copy."""
        assert self._source is not None
        runner = JobRunner(partial(save_result, self._source, target))
        runner.told.connect(self._on_told)
        runner.ended.connect(self._on_ended)
        self._runner = runner
        self.setText("Stop saving")
        start_kept(runner, "save", self)
        self.told.emit(Progress(0, 1, "parts"))

    def _on_clicked(self) -> None:
        if self._runner is not None:
            self._runner.cancel()
        elif self._source is not None:
            name, chosen = QFileDialog.getSaveFileName(
                self, "Save the result as", self._source.name, _FILTERS
            )
            if name:
                self.save_to(_with_suffix(Path(name), chosen))

    def _on_told(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.told.emit(event)
        elif isinstance(event, Failed):
            self._message = event.message
            show_error(event.message)
        elif isinstance(event, Finished):
            is_saved = event.outcome is Outcome.COMPLETED
            where: Any = event.result
            self._message = f"Saved as {where}." if is_saved else "Not saved; nothing is left."
            show_info(self._message)

    def _on_ended(self) -> None:
        self._runner = None
        self.setText("Save as…")
        self.set_source(self._source)
        self.said.emit(self._message)


def _with_suffix(path: Path, chosen_filter: str) -> Path:
    if path.suffix.lower() in {".zarr", ".tif", ".tiff"}:
        return path
    return path.with_name(path.name + (".tif" if chosen_filter.startswith("TIFF") else ".ome.zarr"))
