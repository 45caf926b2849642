"""The walls of the house, and what stepping over its threshold costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "napari", "qtpy")

IMPORT_EVERYTHING = """
import importlib, pkgutil, napari_d2r
for module in pkgutil.walk_packages(napari_d2r.__path__, "napari_d2r."):
    if not module.name.endswith("__main__") and ".widgets" not in module.name:
        importlib.import_module(module.name)
"""


def heavy_imports(statement: str) -> list[str]:
    """Which of the heavy packages a fresh interpreter has loaded after ``statement``."""
    code = f"import sys\n{statement}\nprint(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_probe_sees_an_import() -> None:
    assert heavy_imports("sys.modules['torch'] = sys") == ["torch"]


@pytest.mark.parametrize(
    "module",
    [
        "napari_d2r",
        "napari_d2r._npe2",
        "napari_d2r.errors",
        "napari_d2r.inspection",
        "napari_d2r.io",
        "napari_d2r.jobs",
        "napari_d2r.metrics",
        "napari_d2r.samples",
        "napari_d2r.volumes",
    ],
)
def test_light_rooms_load_neither_torch_nor_a_gui(module: str) -> None:
    assert heavy_imports(f"import {module}") == []


def test_no_module_of_the_core_loads_a_gui() -> None:
    assert heavy_imports(IMPORT_EVERYTHING) == ["torch"]


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
