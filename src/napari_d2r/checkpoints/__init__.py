"""Weights and model cards on disk."""

from napari_d2r.checkpoints._archive import (
    export_model,
    import_model,
    require_new_zip,
    verify_model,
    write_zip,
)
from napari_d2r.checkpoints._card import (
    ComputeCard,
    DataCard,
    EvaluationCard,
    HaloCard,
    ModelCard,
    UseCard,
)
from napari_d2r.checkpoints._card_text import render_card
from napari_d2r.checkpoints._fit import compare_with_card
from napari_d2r.checkpoints._library import (
    ModelEntry,
    all_folders,
    all_models,
    bundled_model,
    home_folder,
    is_bundled,
    known_models,
    list_models,
    model_folder,
    remember_model,
    remove_model,
)
from napari_d2r.checkpoints._published import import_published
from napari_d2r.checkpoints._store import (
    Model,
    ModelIndex,
    load_card,
    load_index,
    load_model,
    save_card,
    save_index,
    save_model,
)
from napari_d2r.checkpoints._uncertainty import UncertaintyCard

__all__ = [
    "ComputeCard",
    "DataCard",
    "EvaluationCard",
    "HaloCard",
    "Model",
    "ModelCard",
    "ModelEntry",
    "ModelIndex",
    "UncertaintyCard",
    "UseCard",
    "all_folders",
    "all_models",
    "bundled_model",
    "compare_with_card",
    "export_model",
    "home_folder",
    "import_model",
    "import_published",
    "is_bundled",
    "known_models",
    "list_models",
    "load_card",
    "load_index",
    "load_model",
    "model_folder",
    "remember_model",
    "remove_model",
    "render_card",
    "require_new_zip",
    "save_card",
    "save_index",
    "save_model",
    "verify_model",
    "write_zip",
]
