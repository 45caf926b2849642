"""A drop-down of models: bundled, imported, trained here, and plain interpolation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QWidget

from napari_d2r.jobs import CancelToken, Event, Finished, Outcome
from napari_d2r.widgets._alive import while_alive
from napari_d2r.widgets._latest import Latest
from napari_d2r.widgets._models import model_list, models_changed
from napari_d2r.widgets._wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_d2r.stages.super_resolve import Choices

_BUNDLED: dict[str, Any] = {"name": "Bundled model", "fields": {}, "note": ""}
_BASELINES: list[dict[str, Any]] = [
    {
        "name": f"{kind.capitalize()} interpolation",
        "fields": {"method": kind},
        "note": "A baseline: nothing is restored, and nothing can be made up.",
    }
    for kind in ("linear", "cubic")
]
_FOLDER, _IMPORT = "Choose a folder…", "Import a model file…"


class ModelChoice(QComboBox):
    """Emits ``changed``; ``fields`` are those of a SuperResolveJob.

    The list is read in a thread. ``note`` is a label about the chosen model, for the form.
    ``described`` comes whenever more is known of the chosen model, or of those that may refine it.
    """

    changed = Signal()
    described = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("model")
        self.setAccessibleName("Model")
        self.setToolTip(
            "What fills the space between slices: a trained network, or plain interpolation "
            "to compare it with."
        )
        self.setMinimumContentsLength(12)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.note = WrappedLabel("model_note", "About the model")
        self._entries: list[dict[str, Any]] = [_BUNDLED, *_BASELINES]
        self._current = _BUNDLED
        self.refiners: tuple[Path, ...] = ()
        self._show_entries()
        self.currentIndexChanged.connect(self._on_index)
        self._reader = Latest("list of models", _read_models, self)
        self._reader.answered.connect(self._on_models)
        models_changed.connect(self.refill)
        self._importer = Latest("import of a model", _import_model, self)
        self._importer.answered.connect(self._on_imported)
        self._importer.failed.connect(self._on_not_imported)
        self.refill()

    @property
    def fields(self) -> dict[str, Any]:
        """Of the job: ``method``, ``model``, or none for the bundled model."""
        return dict(self._current["fields"])

    @property
    def title(self) -> str:
        """What the list calls the chosen one."""
        return str(self._current["name"])

    @property
    def is_interpolation(self) -> bool:
        """Whether no model is chosen, but a baseline."""
        return "method" in self._current["fields"]

    @property
    def choices(self) -> Choices | None:
        """What the chosen model leaves open; None for a baseline, and until its card was read."""
        return self._current.get("choices")

    @while_alive
    def refill(self) -> None:
        """Read the list of models, and the cards of those from other folders, again."""
        models = [entry["fields"].get("model") for entry in self._entries]
        self._reader.ask(tuple(folder for folder in models if folder is not None))

    def choose_folder(self, folder: str | Path) -> None:
        """Choose a model by its folder, listed or not."""
        path = Path(folder)
        found = [e for e in self._entries if e["fields"].get("model") == path]
        if not found:
            found = [{"name": path.name, "fields": {"model": path}, "note": str(path)}]
            self._entries.insert(len(self._entries) - len(_BASELINES), found[0])
            self.refill()
        self._choose(found[0])

    def import_file(self, path: str | Path) -> None:
        """Check a model file in a thread, keep a copy and choose it; the note says how it went."""
        self._say(f"Importing {Path(path).name}…")
        self._importer.ask(Path(path))

    def _on_imported(self, source: Path, folder: Path) -> None:
        self.choose_folder(folder)
        models_changed.emit()

    def _on_not_imported(self, source: Path, sentence: str) -> None:
        self._say(sentence)

    def _on_models(self, question: object, models: _Models) -> None:
        entries, self.refiners = models.entries, models.refiners
        chosen = self._current["fields"]
        own = [
            e
            for e in self._entries
            if e["fields"].get("model") and e["fields"] not in [n["fields"] for n in entries]
        ]
        for entry in own:
            entry["choices"] = models.choices.get(entry["fields"]["model"])
        self._entries = [*entries, *own, *_BASELINES]
        found = [e for e in self._entries if e["fields"] == chosen] or self._entries
        was, now = self._current, found[0]
        is_other = (now["name"], now.get("sha")) != (was["name"], was.get("sha"))
        self._current = found[0]
        self._show_entries()
        self.described.emit()
        if is_other:  # trained anew in the same folder, for one
            self.changed.emit()

    def _show_entries(self) -> None:
        was_blocked = self.blockSignals(True)
        self.clear()
        self.addItems([*(str(e["name"]) for e in self._entries), _FOLDER, _IMPORT])
        self.setCurrentIndex(self._entries.index(self._current))
        self.blockSignals(was_blocked)
        self._show_note()

    def _choose(self, entry: dict[str, Any]) -> None:
        is_new = entry["fields"] != self._current["fields"]
        self._current = entry
        self._show_entries()
        if is_new:
            self.described.emit()
            self.changed.emit()

    def _on_index(self, index: int) -> None:
        if index < len(self._entries):
            self._choose(self._entries[index])
            return
        is_import = self.itemText(index) == _IMPORT
        self._show_entries()  # back to what it was, until something is chosen
        if is_import:
            path, _ = QFileDialog.getOpenFileName(self, "Model file", "", "Models (*.zip)")
            if path:
                self.import_file(path)
            return
        folder = QFileDialog.getExistingDirectory(self, "Folder of a trained model")
        if folder:
            self.choose_folder(folder)

    def _show_note(self) -> None:
        self._say(str(self._current["note"]))

    def _say(self, text: str) -> None:
        self.note.setText(text)
        self.note.setVisible(bool(text))


@dataclass(frozen=True, slots=True)
class _Models:
    """The list, what models of other folders leave open, and those that may refine others."""

    entries: list[dict[str, Any]]
    choices: dict[Path, Choices]
    refiners: tuple[Path, ...]


def _read_models(folders: tuple[Path, ...], cancel: CancelToken) -> Iterator[Event]:
    """All models with what is to be said about each; in a thread, for it reads files."""
    from napari_d2r.checkpoints import list_models
    from napari_d2r.stages.super_resolve import choices_of, refiners_in

    listed = model_list()
    known = {found.path for found in listed}
    own = list_models(folder for folder in folders if folder not in known)
    models = _Models(
        [_entry(found) for found in listed],
        {found.path: choices_of(found.card) for found in own},
        refiners_in(dict.fromkeys(found.path for found in (*listed, *own))),
    )
    yield Finished(Outcome.COMPLETED, models)


def _import_model(path: Path, cancel: CancelToken) -> Iterator[Event]:
    """Copy a model file among the models of this machine."""
    from napari_d2r.checkpoints import import_model

    yield Finished(Outcome.COMPLETED, import_model(path))


def _entry(found: Any) -> dict[str, Any]:
    from napari_d2r.stages.super_resolve import choices_of

    card = found.card
    is_bundled = found.origin == "bundled"
    low, high = card.gap_range
    gaps = f"slices {low:g} to {high:g} pixels apart" if high > low else f"a gap of {low:g} pixels"
    num_channels = card.options.get("out_channels", 1)
    together = "" if num_channels == 1 else f", {num_channels} channels together"
    return {
        "name": found.name,
        "fields": {} if is_bundled else {"model": found.path},
        "sha": card.weights_sha256,
        "choices": choices_of(card),
        "note": f"Learned from {card.trained_on}, for {gaps}{together}.",
    }
