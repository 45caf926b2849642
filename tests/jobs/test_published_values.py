"""What the papers say of each method, and where a preset departs from it: only where that is said.

A preset that is meant for a processor is smaller and shorter than the paper; what makes the method
what it is, it must not leave out.
"""

from __future__ import annotations

from functools import reduce
from importlib import resources
from typing import Any

import pytest

from napari_d2r.jobs import DDNMSettings, load_preset

AENET = {"student.loss.l1": 1, "student.loss.ssim": 1, "student.loss.ffl": 100}
DGEAN = {**AENET, "student.loss.continuity": 0.1, "student.loss.perception": ""}
IRSDE = {
    "prior.prediction": "noise",
    "prior.network.architecture": "nafnet",
    "prior.optimizer.max_steps": 700_000,
    "prior.optimizer.learning_rate": 4e-5,
    "prior.optimizer.batch": 4,
    "prior.columns": 256,
    "targets.kind": "prior",
    "targets.factor": None,  # k = r
    "targets.sampler.solver": "reverse_sde",
    "targets.sampler.steps": 100,
    "targets.sampler.shared_noise": False,
}
DDPM = {
    "prior.prediction": "noise",
    "targets.sampler.solver": "ddim",
    "targets.sampler.eta": 1.0,
    "targets.sampler.direction": "mean",
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "paper": {
        **IRSDE,
        **AENET,
        "student.network.architecture": "aenet",
        "student.optimizer.method": "adamw",
        "student.optimizer.weight_decay": 0,
        "student.optimizer.learning_rate": 2e-4,
        "student.optimizer.schedule": "plateau",
    },
    "aenet": {**AENET, "student.network.architecture": "aenet"},
    "dgean": {**DGEAN, "student.network.architecture": "dgean"},
    "srunet": {
        "student.network.architecture": "srunet",
        "student.loss.l1": 0,
        "student.loss.cubic": 1,
    },
    "irsde": {"prior.network.architecture": "nafnet", "targets.sampler.samples": 1},
    "lee-jeong": {
        **DDPM,
        "prior.network.architecture": "ddpm-unet",
        "prior.loss.l1": 0,
        "prior.loss.l2": 1,
        "targets.sampler.shared_noise": False,
        "targets.sampler.ddnm.operator": "exact",
        "targets.sampler.ddnm.level": 200,
    },
    "msdsr": {
        **DDPM,
        "prior.network.architecture": "msdsr-unet",
        "prior.loss.l1": 1,
        "prior.loss.l2": 0,
        "prior.columns": 48,
    },
    "ms-unet": {"prior.network.architecture": "ms-unet", "prior.loss.l1": 1, "prior.loss.l2": 0},
    "e2e": {"prior.network.architecture": "e2e-unet", "prior.loss.l1": 1, "prior.loss.l2": 0},
    "vemdiffuse-a": {
        "prior.prediction": "noise",
        "prior.network.architecture": "emdiffuse-unet",
        "prior.loss.l1": 0,
        "prior.loss.l2": 1,
    },
    "care": {"prior.network.architecture": "care-unet", "student": None},
}
# Field, what the preset has, and the words of its file that say what the paper has.
DEPARTURES = [
    ("irsde", "prior.prediction", "x0", "Published: prediction noise"),
    ("irsde", "targets.sampler.solver", "dpm++", "Published: reverse_sde in 100 steps"),
    ("irsde", "targets.sampler.shared_noise", True, "noise of its own for every slice"),
    ("lee-jeong", "targets.sampler.steps", 10, "50 steps"),
    ("lee-jeong", "targets.sampler.ddnm.encode_steps", 2, "4 encoding steps"),
    ("lee-jeong", "targets.sampler.ddnm.first_steps", 25, "for the first slice, 250"),
    ("msdsr", "targets.sampler.steps", 10, "200 steps"),
    ("dgean", "student.network.options", {"width": 8}, "Published: width 64"),
    ("srunet", "student.network.options", {"widths": [16, 32, 64]}, "widths 32, 64 and 128"),
    (
        "aenet",
        "student.network.options",
        {"width": 16, "depth_in": "decoder"},
        "Published: width 64 (42 million parameters) and depth in the encoder",
    ),
]


def value_of(preset: str, field: str) -> Any:
    return reduce(getattr, field.split("."), load_preset(preset))


@pytest.mark.parametrize(
    ("preset", "field"), [(preset, field) for preset in PUBLISHED for field in PUBLISHED[preset]]
)
def test_a_preset_is_as_published(preset: str, field: str) -> None:
    assert value_of(preset, field) == PUBLISHED[preset][field]


@pytest.mark.parametrize(("preset", "field", "ours", "words"), DEPARTURES)
def test_where_a_preset_departs_its_file_says_so(
    preset: str, field: str, ours: Any, words: str
) -> None:
    file = resources.files("napari_d2r.jobs") / "presets" / f"{preset}.yaml"
    said = " ".join(file.read_text("utf-8").replace("#", " ").split())
    assert value_of(preset, field) == ours
    assert words in said


def test_the_steps_of_lee_and_jeong_are_the_published_ones_unless_a_preset_says_otherwise() -> None:
    published = DDNMSettings()
    assert (published.level, published.encode_steps, published.first_steps) == (200, 4, 250)
