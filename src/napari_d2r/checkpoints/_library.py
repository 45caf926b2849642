"""Which models there are: bundled, imported, and trained on this machine."""

from __future__ import annotations

import json
import logging
import os
import shutil
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
_FOLDER, _KNOWN, _IMPORTED = "fib25", "models.json", "models"

Origin = Literal["bundled", "imported", "trained"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model folder as a list shows it; ``card`` is that of its default model."""

    name: str
    path: Path
    card: ModelCard
    origin: Origin

    @property
    def word(self) -> str:
        """What ``--model`` takes for it."""
        words = {"bundled": BUNDLED, "imported": self.path.name, "trained": str(self.path)}
        return words[self.origin]


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

    Another word is the name of an imported model, which may be followed by one of its models
    too. A folder that exists goes before the word.
    """
    if model is None:
        return bundled_model()
    if model.is_absolute() or not 1 <= len(model.parts) <= 2 or model.exists():
        return model
    name, *role = model.parts
    if name == BUNDLED:
        return bundled_model(*role)
    imported = imported_folder() / name
    return imported.joinpath(*role) if name in _names_of_imported() else model


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
        origin = _origin(folder)
        name = folder.name if origin == "imported" else card.title or folder.name
        entries.append(ModelEntry(name, folder, card, origin))
    return tuple(entries)


def all_models() -> tuple[ModelEntry, ...]:
    """The bundled model, imported ones, and those trained here, as `list_models` has them."""
    return list_models(all_folders()[1:])


def all_folders() -> tuple[Path, ...]:
    """Where the models of `all_models` stand, and damaged ones too."""
    imported = (imported_folder() / name for name in _names_of_imported())
    return (bundled_model(), *imported, *known_models())


def imported_folder() -> Path:
    """Where imported models are kept, each in a folder of its name."""
    return home_folder() / _IMPORTED


def remove_model(model: Path) -> str:
    """Delete an imported model, or take a trained one off the list and keep its files.

    Returns
    -------
    str
        What was done, in a sentence.

    Raises
    ------
    ModelFileError
        For the bundled model, and for one that is not in the list.
    """
    folder = model_folder(model)
    if is_bundled(folder):
        raise ModelFileError("The bundled model is part of the program and cannot be removed.")
    if _origin(folder) == "imported" and folder.is_dir():
        gone = folder.with_name(f".import-removed-{os.getpid()}")
        folder.replace(gone)  # out of the list at once, even if deleting is interrupted
        shutil.rmtree(gone)
        return f"{folder.name} is deleted."
    if folder.resolve() not in _read_known():
        raise ModelFileError(f"There is no model {model} to remove; `models list` shows all.")
    _write_known([known for known in _read_known() if known != folder.resolve()])
    return f"{folder} is off the list; its files are kept."


def _origin(folder: Path) -> Origin:
    if is_bundled(folder):
        return "bundled"
    is_imported = folder.resolve().parent == imported_folder().resolve()
    return "imported" if is_imported else "trained"


def _names_of_imported() -> list[str]:
    home = imported_folder()
    if not home.is_dir():
        return []
    return sorted(p.name for p in home.iterdir() if p.is_dir() and not p.name.startswith("."))


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
    _write_known([folder, *(known for known in _read_known() if known != folder)])


def _write_known(folders: list[Path]) -> None:
    text = _KnownModels(folders=folders).model_dump_json(indent=2)
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
