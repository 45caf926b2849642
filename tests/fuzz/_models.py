"""Models and states of trainings: cards, weights, archives."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import torch

from napari_d2r.checkpoints import (
    HaloCard,
    ModelCard,
    ModelIndex,
    export_model,
    import_model,
    load_model,
    save_index,
    save_model,
)
from napari_d2r.jobs import TrainJob
from napari_d2r.models import build_network, describe_config
from napari_d2r.training._state import Counters, load_state, save_state
from tests.fuzz._target import Target

_TINY = {"widths": [4, 4], "blocks": [1, 1]}
_CPU = torch.device("cpu")


def model_folder(folder: Path) -> Path:
    """A sound model; made once."""
    model = folder / "model"
    if not (model / "card.json").exists():
        torch.manual_seed(0)
        network = build_network("lateral", _TINY)
        card = ModelCard(
            architecture="lateral",
            options=describe_config(network),
            role="prior",
            gap=8,
            gap_range=(2, 16),
            voxel_size_nm=(80, 10, 10),
            halo=HaloCard(slices=2, lateral=24),
            scores={},
            trained_on="",
            trained_by=TrainJob(),
            seconds=1,
            steps=1,
            package_version="",
        )
        save_model(model, network, card)
    return model


def _feed_weights(blob: bytes, folder: Path) -> None:
    model = model_folder(folder)
    card = json.loads((model / "card.json").read_text("utf-8"))
    card["weights_sha256"] = hashlib.sha256(blob).hexdigest()  # what follows it is reached
    (model / "card.json").write_text(json.dumps(card), "utf-8")
    (model / "weights.safetensors").write_bytes(blob)
    load_model(model)


def _weights(folder: Path) -> list[bytes]:
    return [(model_folder(folder) / "weights.safetensors").read_bytes()]


def _feed_card(blob: bytes, folder: Path) -> None:
    model = model_folder(folder)
    (model / "card.json").write_bytes(blob)
    load_model(model)


def _cards(folder: Path) -> list[bytes]:
    return [(model_folder(folder) / "card.json").read_bytes()]


def _feed_index(blob: bytes, folder: Path) -> None:
    several = folder / "several"
    if not several.exists():
        shutil.copytree(model_folder(folder), several / "prior")
    (several / "models.json").write_bytes(blob)
    load_model(several)


def _indices(folder: Path) -> list[bytes]:
    save_index(folder, ModelIndex(default="prior", models=["prior"]))
    return [(folder / "models.json").read_bytes()]


def _feed_archive(blob: bytes, folder: Path) -> None:
    home = folder / "home"
    shutil.rmtree(home / "models", ignore_errors=True)
    path = folder / "x.zip"
    path.write_bytes(blob)
    with patch.dict(os.environ, NAPARI_D2R_HOME=str(home)):
        import_model(path)


def _archives(folder: Path) -> list[bytes]:
    path = folder / "sound.zip"
    path.unlink(missing_ok=True)
    export_model(model_folder(folder), path)
    return [path.read_bytes()]


def _feed_state(blob: bytes, folder: Path) -> None:
    path = folder / "state.safetensors"
    path.write_bytes(blob)
    load_state(path, "same", _CPU)


def _states(folder: Path) -> list[bytes]:
    path = folder / "state.safetensors"
    save_state(path, Counters("same", step=3), {"weight": torch.zeros(2, 3)})
    return [path.read_bytes()]


MODELS: Mapping[str, Target] = {
    "weights": Target(_feed_weights, _weights),
    "card": Target(_feed_card, _cards),
    "index": Target(_feed_index, _indices),
    "archive": Target(_feed_archive, _archives),
    "state": Target(_feed_state, _states),
}
