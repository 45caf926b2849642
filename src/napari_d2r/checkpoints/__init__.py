"""Weights and model cards on disk."""

from napari_d2r.checkpoints._card import HaloCard, ModelCard
from napari_d2r.checkpoints._library import (
    ModelEntry,
    bundled_model,
    home_folder,
    is_bundled,
    known_models,
    list_models,
    model_folder,
    remember_model,
)
from napari_d2r.checkpoints._store import (
    Model,
    ModelIndex,
    load_card,
    load_index,
    load_model,
    save_index,
    save_model,
)

__all__ = [
    "HaloCard",
    "Model",
    "ModelCard",
    "ModelEntry",
    "ModelIndex",
    "bundled_model",
    "home_folder",
    "is_bundled",
    "known_models",
    "list_models",
    "load_card",
    "load_index",
    "load_model",
    "model_folder",
    "remember_model",
    "save_index",
    "save_model",
]
