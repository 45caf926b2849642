"""Models on disk: ``weights.safetensors`` and ``card.json``; nothing executable, no pickle.

``card.md`` is the card for people; it is written, and never read.

A model folder holds one model, or several in subfolders with a ``models.json`` that
names the default. Whatever is read is checked against the registry, the hash in the
card and the header of the weights before a network is allocated.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import nn

from napari_d2r.checkpoints._card import ModelCard
from napari_d2r.checkpoints._card_text import render_card
from napari_d2r.errors import InputError, ModelFileError
from napari_d2r.io import replace_file
from napari_d2r.jobs import FrozenModel
from napari_d2r.models import build_network

WEIGHTS, CARD, INDEX = "weights.safetensors", "card.json", "models.json"
CARD_TEXT = "card.md"
MAX_CARD_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network with its card; ``path`` is its folder."""

    network: nn.Module
    card: ModelCard
    path: Path


class ModelIndex(FrozenModel):
    """Which models a folder holds and which one is used unless another is named."""

    format_version: Literal[1] = 1
    default: str
    models: list[str] = Field(min_length=1)
    reason: str = Field("", description="Why the default is the default, in words.")


def save_model(folder: Path, network: nn.Module, card: ModelCard) -> Model:
    """Write weights, then the card that vouches for them; each replaces its elder at once."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    blob = save(tensors)
    facts = {
        "weights_sha256": hashlib.sha256(blob).hexdigest(),
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    card = card.model_copy(update=facts)
    replace_file(folder / WEIGHTS, blob)
    save_card(folder, card)
    return Model(network, card, folder)


def save_card(folder: Path, card: ModelCard) -> None:
    """Write a card for programs and for people; the weights stay as they are."""
    replace_file(folder / CARD, card.model_dump_json(indent=2).encode())
    replace_file(folder / CARD_TEXT, render_card(card).encode())


def save_index(folder: Path, index: ModelIndex) -> None:
    """Write ``models.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / INDEX, index.model_dump_json(indent=2).encode())


def load_index(folder: Path) -> ModelIndex | None:
    """The index of a folder with several models, or None where it holds one."""
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        index = ModelIndex.model_validate_json(_small_text(path))
    except ValidationError as error:
        raise ModelFileError(f"{path} is damaged or foreign: {_first(error)}.") from error
    for name in (index.default, *index.models):
        if Path(name).name != name or name in {"", ".", ".."}:
            raise ModelFileError(f"{path} names a model outside its folder: {name!r}.")
    return index


def load_card(folder: Path) -> tuple[ModelCard, Path]:
    """The card of a model folder (of its default model) and the folder it stands in."""
    if not folder.is_dir():
        raise ModelFileError(f"There is no model folder at {folder}; train one, or check the path.")
    index = load_index(folder)
    folder = folder / index.default if index else folder
    path = folder / CARD
    if not path.is_file():
        raise ModelFileError(f"{folder} is not a model folder: it has no {CARD}.")
    try:
        return ModelCard.model_validate_json(_small_text(path)), folder
    except ValidationError as error:
        raise ModelFileError(f"{path} is damaged or foreign: {_first(error)}.") from error


def load_model(folder: Path, device: torch.device | None = None) -> Model:
    """Rebuild a network and load its weights.

    Raises
    ------
    ModelFileError
        For anything missing, damaged, changed since it was saved, or foreign.
    """
    card, folder = load_card(folder)
    path = folder / WEIGHTS
    try:
        expected = weight_shapes(card)
        with safe_open(path, framework="pt") as file:
            found = {
                name: tuple(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118
            }
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path} cannot be read as safetensors: {error}.") from error
    except InputError as error:
        raise ModelFileError(f"{folder / CARD}: {error}") from error
    if expected != found:
        odd = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise ModelFileError(
            f"{path} does not hold the weights that its card describes (first: {odd[0]})."
        )
    blob = path.read_bytes()
    if hashlib.sha256(blob).hexdigest() != card.weights_sha256:
        raise ModelFileError(f"{path} has changed since it was saved; copy the model again.")
    weights = load(blob)
    if not all(bool(torch.isfinite(t).all()) for t in weights.values()):
        raise ModelFileError(f"{path} holds weights that are not finite; train the model again.")
    network = build_network(card.architecture, card.options)
    network.load_state_dict(weights)
    return Model(network.to(device or torch.device("cpu")).eval(), card, folder)


def weight_shapes(card: ModelCard) -> dict[str, tuple[int, ...]]:
    """The tensors that a card describes, by name; nothing is allocated.

    Raises
    ------
    InputError
        For a network outside the registry, or of an absurd size.
    """
    with torch.device("meta"):
        network = build_network(card.architecture, card.options)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _small_text(path: Path) -> str:
    if path.stat().st_size > MAX_CARD_BYTES:
        raise ModelFileError(f"{path} is too large for a model card; it is not one of ours.")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{path} is not text; it is not one of ours.") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'JSON'}: {first['msg']}"
