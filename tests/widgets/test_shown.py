"""Kept results are deleted by nobody while a window shows them, this one's or another's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("napari")
from napari.layers._source import layer_source
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

from napari_d2r._npe2 import METADATA
from napari_d2r.widgets._cache_row import CacheRow

pytestmark = pytest.mark.usefixtures("no_threads_left")
_OTHER = """
import pathlib, sys
from napari_d2r.io import begin_showing
begin_showing(pathlib.Path(sys.argv[1]))
print("shown", flush=True)
sys.stdin.read()
"""


def test_clear_spares_what_any_window_shows(
    viewer: Any,
    add_stack: Any,
    own_folders: Path,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = own_folders / "cache" / "results"
    names = ("mine", "reopened", "theirs", "old")
    mine, reopened, theirs, nobodys = (folder / f"{name}.ome.zarr" for name in names)
    for store in (mine, reopened, theirs, nobodys):
        store.mkdir(parents=True)
    add_stack(metadata={METADATA: {"kind": "super-resolved", "path": str(mine)}})
    with layer_source(path=str(reopened)):
        add_stack(name="reopened")
    cache = CacheRow(viewer)
    qtbot.addWidget(cache)
    marks = sorted(folder.glob("*.shown.*"))
    assert [mark.name.split(".shown.")[0] for mark in marks] == [mine.name, reopened.name]
    monkeypatch.setattr(QMessageBox, "question", lambda *a, **k: QMessageBox.StandardButton.Yes)

    def clear(left: int) -> None:
        qtbot.waitUntil(cache.clear.isEnabled, timeout=30_000)
        qtbot.mouseClick(cache.clear, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: f"kept: {left}," in cache.label.text(), timeout=30_000)

    with subprocess.Popen(
        [sys.executable, "-c", _OTHER, str(theirs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "shown\n"
        clear(left=3)
        assert mine.is_dir() and reopened.is_dir() and theirs.is_dir() and not nobodys.exists()
    clear(left=2)  # the other program has ended, without a word
    viewer.layers.clear()
    assert not list(folder.glob("*.shown.*"))
    clear(left=0)
