"""Presets: named training jobs in YAML, every field of which can be overridden."""

from __future__ import annotations

from importlib import resources
from itertools import takewhile

from napari_d2r.errors import InputError
from napari_d2r.jobs._jobs import TrainJob

_FIRST = ("quick", "balanced", "paper")


def preset_names() -> tuple[str, ...]:
    """Names of the presets that ship with the package: the general ones, then by name."""
    files = (resources.files("napari_d2r.jobs") / "presets").iterdir()
    names = {f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml")}
    return (*_FIRST, *sorted(names - set(_FIRST)))


def describe_preset(name: str) -> str:
    """What a preset does, for a person who chooses: the comment that its file begins with."""
    lines = takewhile(lambda line: line.startswith("#"), _text_of(name).splitlines())
    return " ".join(line.removeprefix("#").strip() for line in lines)


def load_preset(name: str) -> TrainJob:
    """The training job of a preset.

    Raises
    ------
    InputError
        For an unknown name; the known ones are listed.
    """
    return TrainJob.from_yaml(_text_of(name), f"Preset {name}")


def _text_of(name: str) -> str:
    if name not in preset_names():
        raise InputError(f"There is no preset {name!r}; choose from {', '.join(preset_names())}.")
    return (resources.files("napari_d2r.jobs") / "presets" / f"{name}.yaml").read_text("utf-8")
