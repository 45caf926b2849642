"""A drop-down of diffusion models that may refine what another model predicts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_d2r.widgets._controls import named, rich
from napari_d2r.widgets._number_box import ChoiceBox

_NOTHING, _FOLDER = "nothing", "Choose a folder…"


class RefinerChoice(ChoiceBox):
    """Emits ``changed``; ``folder`` is that of the model, None where nothing refines."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__()
        self.setParent(parent)
        named(
            self,
            "refine_with",
            "Refine with",
            rich(
                "A diffusion model (preset irsde) that sharpens, in a few steps, what the model "
                "predicts. The result is then a sample: one of many that fit the slices."
            ),
        )
        self.addItem(_NOTHING, "")
        self.addItem(_FOLDER, "")
        self._before = 0
        self.currentIndexChanged.connect(self._on_index)

    @property
    def folder(self) -> Path | None:
        """Of the chosen model."""
        stored = self.itemData(self._before)
        return Path(stored) if stored else None

    def offer(self, folders: Iterable[Path]) -> None:
        """Add those that the list does not have."""
        for folder in folders:
            if self.findData(str(folder)) < 0:
                name = f"{folder.parent.name}, {folder.name}"
                self.insertItem(self.count() - 1, name, str(folder))

    def choose(self, folder: Path) -> None:
        """Choose a model by its folder, listed or not."""
        self.offer([folder])
        self.setCurrentIndex(self.findData(str(folder)))

    def _on_index(self, index: int) -> None:
        if index < self.count() - 1:
            self._before = index
            self.changed.emit()
            return
        was_blocked = self.blockSignals(True)
        self.setCurrentIndex(self._before)  # until something is chosen
        self.blockSignals(was_blocked)
        if folder := QFileDialog.getExistingDirectory(self, "Folder of a diffusion model"):
            self.choose(Path(folder))
