"""Presets: named training jobs in YAML, every field of which can be overridden."""

from __future__ import annotations

from importlib import resources

from napari_d2r.errors import InputError
from napari_d2r.jobs._jobs import TrainJob


def preset_names() -> tuple[str, ...]:
    """Names of the presets that ship with the package."""
    files = (resources.files("napari_d2r.jobs") / "presets").iterdir()
    return tuple(sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml")))


def load_preset(name: str) -> TrainJob:
    """The training job of a preset.

    Raises
    ------
    InputError
        For an unknown name; the known ones are listed.
    """
    if name not in preset_names():
        raise InputError(f"There is no preset {name!r}; choose from {', '.join(preset_names())}.")
    text = (resources.files("napari_d2r.jobs") / "presets" / f"{name}.yaml").read_text("utf-8")
    return TrainJob.from_yaml(text, f"Preset {name}")
