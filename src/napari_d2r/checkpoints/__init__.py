"""Weights and model cards on disk."""

from napari_d2r.checkpoints._card import HaloCard, ModelCard
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
    "ModelIndex",
    "load_card",
    "load_index",
    "load_model",
    "save_index",
    "save_model",
]
