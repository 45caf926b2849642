"""The walls of the house, and what stepping over its threshold costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "napari", "qtpy")


def heavy_imports(statement: str) -> list[str]:
    """Which of the heavy packages a fresh interpreter has loaded after ``statement``."""
    code = f"import sys\n{statement}\nprint(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.split()


def test_the_probe_sees_an_import() -> None:
    assert heavy_imports("sys.modules['torch'] = sys") == ["torch"]


@pytest.mark.parametrize(
    "module",
    [
        "napari_d2r",
        "napari_d2r.errors",
        "napari_d2r.io",
        "napari_d2r.jobs",
        "napari_d2r.metrics",
        "napari_d2r.samples",
        "napari_d2r.volumes",
    ],
)
def test_light_rooms_load_neither_torch_nor_a_gui(module: str) -> None:
    assert heavy_imports(f"import {module}") == []


def test_the_core_runs_without_a_gui() -> None:
    everything = "import importlib, pkgutil, napari_d2r as d\nfor m in pkgutil.walk_packages(d.__path__, 'napari_d2r.'):\n    if not m.name.endswith('__main__'): importlib.import_module(m.name)"
    assert set(heavy_imports(everything)) <= {"torch"}


def test_every_room_leans_only_on_the_floors_below() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
