"""Which kept results the layers of all windows show, told to other processes as well."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any
from weakref import WeakSet

from napari_d2r._npe2 import METADATA
from napari_d2r.io import begin_showing, stop_showing
from napari_d2r.widgets._preferences import preferences

_viewers: WeakSet[Any] = WeakSet()
_told: set[Path] = set()


def watch(viewer: Any) -> None:
    """From now on, no process clears the kept results that a layer of this window shows."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # what a dock is given dies with the dock
    if viewer in _viewers:
        return
    _viewers.add(viewer)
    viewer.layers.events.inserted.connect(_tell)
    viewer.layers.events.removed.connect(_tell)
    _tell()


def shown_stores() -> frozenset[Path]:
    """Stores that a layer of any window reads from, made here or opened from a file."""
    layers = [layer for viewer in _viewers for layer in viewer.layers]
    paths = [layer.metadata.get(METADATA, {}).get("path") for layer in layers]
    return frozenset(Path(path) for path in [*paths, *(x.source.path for x in layers)] if path)


def _tell(event: Any = None) -> None:
    folder = preferences().results_folder
    ours = shown_stores() if folder.is_dir() else ()
    _say({store for store in ours if store.parent == folder})


def _say(shown: set[Path]) -> None:
    for store in shown - _told:
        begin_showing(store)
    for store in _told - shown:
        stop_showing(store)
    _told.clear()
    _told.update(shown)


atexit.register(_say, set())
