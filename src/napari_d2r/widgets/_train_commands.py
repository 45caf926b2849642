"""A training as text: a command line, or a few lines of Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import yaml

from napari_d2r.errors import InputError
from napari_d2r.jobs import TrainJob, load_preset
from napari_d2r.volumes import VoxelSize
from napari_d2r.widgets._commands_text import explained, shell_line, stack_path
from napari_d2r.widgets._prepare import PlannedTraining, TrainWish
from napari_d2r.widgets._project import file_name


def as_command(wish: TrainWish, planned: PlannedTraining | None) -> str:
    """What the form would do, as a command.

    Raises
    ------
    InputError
        Where there is no stack to learn from.
    """
    stack, edges, channel = _stack(wish, planned)
    words = ["napari-d2r", "train", stack, str(_model(wish, planned))]
    words += ["--preset", wish.preset, *_changes(wish.job, load_preset(wish.preset))]
    words += ["--voxel-size", ",".join(f"{edge:.9g}" for edge in edges)]
    if channel is not None:
        words += ["--channel", channel]
    if planned is not None and planned.how == "resume":
        words.append("--resume")
    return _explained(shell_line(words) + "\n", stack, wish)


def as_python(wish: TrainWish, planned: PlannedTraining | None) -> str:
    """What the form would do, in Python.

    Raises
    ------
    InputError
        Where there is no stack to learn from.
    """
    stack, edges, channel = _stack(wish, planned)
    preset = load_preset(wish.preset)
    overrides = [change for change in _changes(wish.job, preset) if change != "--set"]
    size = f"VoxelSize({', '.join(f'{edge:.9g}' for edge in edges)})"
    size += "" if channel is None else f", channel={channel!r}"
    resume = ", resume=True" if planned is not None and planned.how == "resume" else ""
    lines = [
        "from napari_d2r import VoxelSize, load_preset, open_volume, train",
        "",
        f"stack = open_volume({stack!r}, voxel_size={size})",
        f"job = load_preset({wish.preset!r})" + (f".override({overrides!r})" if overrides else ""),
        f"train(stack, {str(_model(wish, planned))!r}, job=job{resume})",
    ]
    return _explained("\n".join(lines) + "\n", stack, wish)


def _stack(
    wish: TrainWish, planned: PlannedTraining | None
) -> tuple[str, VoxelSize, Literal["all"] | None]:
    """The file to learn from, or a placeholder, its voxel size, and how to read its channels."""
    project = planned.found.project if planned is not None and planned.how == "resume" else None
    if project is not None:
        together: Literal["all"] | None = None if project.num_channels is None else "all"
        return str(wish.folder / project.stack), VoxelSize(*project.voxel_size_nm), together
    if wish.problem or wish.voxel_size is None:
        raise InputError(wish.problem)
    return stack_path(wish.layer), wish.voxel_size, "all" if wish.layer.rgb else None


def _explained(text: str, stack: str, wish: TrainWish) -> str:
    return text if wish.layer is None else explained(text, stack, wish.layer)


def _model(wish: TrainWish, planned: PlannedTraining | None) -> Path:
    if planned is not None:
        return planned.model_folder
    return wish.folder / f"{file_name(wish.folder.name)} model"


def _changes(job: TrainJob, preset: TrainJob) -> list[str]:
    """What differs from the preset, as ``--set name=value`` words; a stage left out is null."""
    ours, theirs = job.model_dump(mode="json"), preset.model_dump(mode="json")
    return [word for change in _differences(ours, theirs, "") for word in ("--set", change)]


def _differences(ours: dict[str, Any], theirs: dict[str, Any], prefix: str) -> list[str]:
    found = []
    for name, value in ours.items():
        before = theirs.get(name)
        if value == before:
            continue
        if isinstance(value, dict) and isinstance(before, dict) and name != "options":
            found += _differences(value, before, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}={_as_yaml(value)}")
    return found


def _as_yaml(value: Any) -> str:
    """One line that YAML reads back as the same value."""
    text = json.dumps(value)
    # YAML 1.1 takes 4e-05 for a word; with a point it is a number.
    return text if yaml.safe_load(text) == value else f"{value:.12f}".rstrip("0")
