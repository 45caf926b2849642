"""Which models there are: the bundled one, and those that were trained on this machine."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, ValidationError

from napari_d2r.checkpoints._card import ModelCard
from napari_d2r.checkpoints._store import load_card
from napari_d2r.errors import D2RError, ModelFileError
from napari_d2r.jobs import FrozenModel

BUNDLED = "bundled"
HOME_VARIABLE = "NAPARI_D2R_HOME"
_FOLDER, _KNOWN = "fib25-provisional", "models.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model folder as a list shows it; ``card`` is that of its default model."""

    name: str
    path: Path
    card: ModelCard
    origin: Literal["bundled", "trained"]


class _KnownModels(FrozenModel):
    format_version: Literal[1] = 1
    folders: list[Path] = Field(default_factory=list)


def bundled_model(role: str | None = None) -> Path:
    """Folder of the models that ship with the package, or of one of them.

    Parameters
    ----------
    role
        ``prior`` (an XZ or YZ slice at a time) or ``student`` (four slices at a time).

    Raises
    ------
    ModelFileError
        For a role that is not there.
    """
    folder = Path(str(resources.files("napari_d2r"))) / "bundled" / _FOLDER
    if role is None:
        return folder
    if role not in {path.name for path in folder.iterdir() if path.is_dir()}:
        raise ModelFileError(f"There is no bundled model {role!r}; choose prior or student.")
    return folder / role


def model_folder(model: Path | None) -> Path:
    """Where a model stands: None and ``bundled`` are the bundled one, ``bundled/prior`` its prior.

    A folder that exists goes before the word.
    """
    if model is None:
        return bundled_model()
    if model.parts[:1] != (BUNDLED,) or len(model.parts) > 2 or model.exists():
        return model
    return bundled_model(*model.parts[1:])


def is_bundled(folder: Path) -> bool:
    """Whether a model folder is, or stands in, the bundled one."""
    return folder.resolve().is_relative_to(bundled_model().resolve())


def list_models(folders: Iterable[Path] = ()) -> tuple[ModelEntry, ...]:
    """The bundled model, then those in ``folders``.

    A folder without a sound model is left out; the reason goes to the log.
    """
    entries = []
    for folder in (bundled_model(), *folders):
        try:
            card, _ = load_card(folder)
        except (D2RError, OSError) as error:
            logger.warning("%s is not listed: %s", folder, error)
            continue
        origin: Literal["bundled", "trained"] = "bundled" if is_bundled(folder) else "trained"
        entries.append(ModelEntry(card.title or folder.name, folder, card, origin))
    return tuple(entries)


def home_folder() -> Path:
    """Where the package keeps what it must remember; ``NAPARI_D2R_HOME`` moves it."""
    moved = os.environ.get(HOME_VARIABLE)
    return Path(moved) if moved else user_data_path("napari-d2r", appauthor=False)


def known_models() -> tuple[Path, ...]:
    """Folders of models trained on this machine that are still there, the latest first."""
    return tuple(folder for folder in _read_known() if folder.is_dir())


def remember_model(folder: Path) -> None:
    """Put a model folder at the head of `known_models`.

    A list that cannot be written is no reason to fail: the model itself is on disk.
    """
    folder = folder.resolve()
    others = [known for known in _read_known() if known != folder]
    text = _KnownModels(folders=[folder, *others]).model_dump_json(indent=2)
    try:
        home = home_folder()
        home.mkdir(parents=True, exist_ok=True)
        scratch = home / f"{_KNOWN}.{os.getpid()}.tmp"
        scratch.write_text(text, "utf-8")
        scratch.replace(home / _KNOWN)
    except OSError as error:
        logger.warning("The list of trained models could not be written: %s", error)


def _read_known() -> list[Path]:
    path = home_folder() / _KNOWN
    try:
        return _KnownModels.model_validate(json.loads(path.read_text("utf-8"))).folders
    except FileNotFoundError:
        return []
    except (OSError, ValueError, ValidationError) as error:
        logger.warning("The list of trained models in %s cannot be read: %s", path, error)
        return []
