"""A project folder: one training with its stack and settings, to be resumed on another day."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from napari_d2r.errors import InputError
from napari_d2r.jobs import FrozenModel, TrainJob

_FILE, _JOB, _WORK = "project.json", "job.yaml", "work"

State = Literal["new", "unfinished", "complete"]


class Project(FrozenModel):
    """What is kept of a training beside its model.

    Parameters
    ----------
    layer, preset
        As they were called in the form.
    stack
        The file that is learned from; in the project folder, or where the layer came from.
    model
        Name of the model folder in the project folder.
    digest
        Of the voxels that were written; empty where the stack is used in place.
    placed
        Where the first voxel of the stack stands in the world, for `placed_as_layer`.
    """

    format_version: Literal[1] = 1
    layer: str
    preset: str
    stack: Path
    voxel_size_nm: tuple[float, float, float]
    shape: tuple[int, int, int]
    num_channels: int | None = None
    model: str
    digest: str = ""
    placed: dict[str, Any] = Field(default_factory=dict)

    @property
    def facts(self) -> str:
        """The stack in a few words."""
        shape = " × ".join(map(str, self.shape))
        edges = " × ".join(f"{edge:g}" for edge in self.voxel_size_nm)
        return f"“{self.layer}” ({shape} voxels of {edges} nm)"


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a folder holds; ``project`` and ``job`` where a training was begun there."""

    folder: Path
    state: State = "new"
    project: Project | None = None
    job: TrainJob | None = None


def look_into(folder: Path) -> Found:
    """Whether a folder is free, or holds a training, finished or not.

    Raises
    ------
    InputError
        For a file, and for a folder with other things in it.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; choose a folder for the project.")
    try:
        if not folder.exists() or not any(folder.iterdir()):
            return Found(folder)
        text = (folder / _FILE).read_text("utf-8")
        project = Project.model_validate(json.loads(text))
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds other things than a project; choose a new or empty folder."
        ) from None
    except PermissionError:
        raise InputError(f"{folder} may not be read; choose another folder.") from None
    except (ValueError, ValidationError) as error:
        raise InputError(
            f"The project in {folder} cannot be read; choose another folder."
        ) from error
    model = folder / project.model
    begun, whole = model / _WORK / _JOB, model / _JOB
    state: State = "unfinished" if begun.is_file() else "complete" if whole.is_file() else "new"
    if state == "new":
        return Found(folder, project=project)
    path = begun if state == "unfinished" else whole
    return Found(folder, state, project, TrainJob.from_yaml(path.read_text("utf-8"), str(path)))


def require_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, before anything is begun."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder} cannot be written to; choose another folder for the project.")


def save_project(folder: Path, project: Project, job: TrainJob) -> Path:
    """Write project and job; returns the path of the job file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _JOB
    for target, text in (
        (folder / _FILE, project.model_dump_json(indent=2)),
        (path, job.to_yaml()),
    ):
        scratch = target.with_name(f"{target.name}.tmp")
        scratch.write_text(text, "utf-8")
        scratch.replace(target)
    return path


def file_name(title: str) -> str:
    """A title as the name of a file on any system."""
    return re.sub(r"[^\w.()+-]+", " ", title).strip(" .")[:80] or "stack"


def same_settings(one: TrainJob, other: TrainJob) -> bool:
    """Whether a training begun with one job can go on with the other."""
    free: dict[str, Any] = {"max_minutes": None, "device": "auto"}
    return one.model_copy(update=free) == other.model_copy(update=free)
