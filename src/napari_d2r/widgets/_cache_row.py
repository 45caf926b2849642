"""How much the kept results take, and buttons to look at and delete them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMessageBox, QWidget

from napari_d2r.io import is_filled_elsewhere, is_shown_elsewhere
from napari_d2r.jobs import CancelToken, Event, Finished, Outcome
from napari_d2r.widgets._controls import named, push_button
from napari_d2r.widgets._latest import Latest
from napari_d2r.widgets._preferences import preferences
from napari_d2r.widgets._save import being_saved
from napari_d2r.widgets._shown import shown_stores, watch


@dataclass(frozen=True, slots=True)
class _Sweep:
    """Count what is in the cache; with ``delete``, delete what is not in ``used``."""

    folder: Path
    used: frozenset[Path]
    delete: bool = False


class CacheRow(QWidget):
    """A label such as “Results kept: 3, 1.2 GB”, with buttons to open and to clear."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        watch(viewer)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.label = named(QLabel(), "cache", "Size of the results that are kept")
        self.open = push_button(
            "open_cache",
            "Open",
            "Show the folder where results are kept.",
            "Open the folder of kept results",
        )
        self.clear = push_button(
            "clear_cache",
            "Clear…",
            "Delete kept results that no layer shows; asks first.",
            "Clear the folder of kept results",
        )
        row.addWidget(self.label, 1)
        row.addWidget(self.open)
        row.addWidget(self.clear)
        self._sweeper = Latest("cache", _sweep, self)
        self._sweeper.answered.connect(self._on_swept)
        self._sweeper.failed.connect(self._on_failed)
        self.open.clicked.connect(self._on_open)
        self.clear.clicked.connect(self._on_clear)
        self.recount()

    def recount(self) -> None:
        """Count again, in a thread."""
        self._sweeper.ask(_Sweep(preferences().results_folder, _used()))

    def _on_swept(self, asked: _Sweep, found: tuple[int, int, int]) -> None:
        number, num_bytes, deleted = found
        if asked.delete:
            show_info(f"Deleted {deleted} results; those that are in use are kept.")
        size = f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
        self.label.setText(f"Results kept: {number}, {size}")
        self.clear.setEnabled(number > 0)

    def _on_failed(self, asked: _Sweep, sentence: str) -> None:
        show_error(
            f"The kept results could not be {'deleted' if asked.delete else 'counted'}: {sentence}"
        )
        if asked.delete:
            self.recount()

    def _on_open(self) -> None:
        folder = preferences().results_folder
        folder.mkdir(parents=True, exist_ok=True)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _on_clear(self) -> None:
        answer = QMessageBox.question(
            self,
            "Delete kept results?",
            "All results in the cache folder that no layer shows will be deleted, unfinished ones "
            "too. Results that were saved elsewhere stay.",
        )
        if answer == QMessageBox.StandardButton.Yes:
            self._sweeper.ask(_Sweep(preferences().results_folder, _used(), delete=True))


def _used() -> frozenset[Path]:
    """Stores that a layer of any window reads from, or a Save."""
    return shown_stores() | frozenset(being_saved)


def _sweep(asked: _Sweep, cancel: CancelToken) -> Iterator[Event]:
    """Finished with (results, bytes, deleted); a store and its remains are one result."""
    number = num_bytes = deleted = 0
    found: dict[str, list[Path]] = {}
    for path in asked.folder.iterdir() if asked.folder.is_dir() else ():
        name, separator, _ = path.name.partition(".ome.zarr")
        if separator:  # not ours otherwise
            found.setdefault(name, []).append(path)
    for name, paths in found.items():
        store = asked.folder / f"{name}.ome.zarr"
        if asked.delete and store not in asked.used and not _is_used_elsewhere(store):
            for path in paths:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            deleted += 1
            continue
        number += 1
        num_bytes += sum(_size(path) for path in paths)
    yield Finished(Outcome.COMPLETED, (number, num_bytes, deleted))


def _is_used_elsewhere(store: Path) -> bool:
    return is_filled_elsewhere(store) or is_shown_elsewhere(store)


def _size(path: Path) -> int:
    total = 0
    for file in [path, *path.rglob("*")]:
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # a run goes on meanwhile
            continue
    return total
