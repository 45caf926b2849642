"""Which models there are, and a word to all widgets when that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

if TYPE_CHECKING:
    from napari_d2r.checkpoints import ModelEntry


class _Models:
    changed = Signal()


_models = _Models()
models_changed = _models.changed
"""Emitted on the GUI thread when a model was trained, added or deleted."""


def model_list() -> tuple[ModelEntry, ...]:
    """All models, bundled, imported and trained here; reads files, so call it in a thread."""
    from napari_d2r.checkpoints import all_models

    return all_models()
