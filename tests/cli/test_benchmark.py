"""The benchmark command, and the suites that ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from napari_d2r.jobs import Suite, load_suite, suite_names

SUITE = """
crop: [33, 32, 32]
cases: [{factor: 4}]
methods:
  - {name: linear, baseline: linear}
  - {name: cubic, baseline: cubic}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE, "utf-8")
    return path


def test_a_suite_leaves_tables_and_figures(
    run: Any, phantom_files: tuple[Path, Path], suite: Path, tmp_path: Path
) -> None:
    out, report = tmp_path / "out", tmp_path / "report.json"
    told = run("benchmark", suite, phantom_files[1], "--out", out, "--json", report)
    assert told.code == 0
    assert (out / "table.md").read_text("utf-8") in told.out
    for name in ("XY", "XZ", "YZ", "fsc"):
        with Image.open(out / "x4" / f"{name}.png") as picture:
            assert min(picture.size) > 500
    written = json.loads(report.read_text("utf-8"))
    assert written == json.loads((out / "table.json").read_text("utf-8"))
    assert [row["method"] for row in written["rows"]] == ["linear", "cubic"]
    assert (out / "suite.yaml").is_file()

    told = run("benchmark", suite, phantom_files[1], "--out", out)
    assert told.code == 2
    assert "--resume" in told.err
    told = run("benchmark", suite, phantom_files[1], "--out", out, "--resume", "--only", "cubic")
    assert told.code == 0
    assert "linear" not in (out / "table.csv").read_text("utf-8")


def test_a_dry_run_tells_what_would_happen(run: Any, suite: Path, tmp_path: Path) -> None:
    told = run("benchmark", suite, "phantom", "--out", tmp_path / "out", "--dry-run")
    assert told.code == 0
    assert "33 x 32 x 32 voxels of 10 x 10 x 10 nm" in told.out
    assert "2 runs on " in told.out
    assert "cubic, x4" in told.out
    assert not (tmp_path / "out").exists()


def test_a_suite_that_is_wrong_is_refused(run: Any, suite: Path, tmp_path: Path) -> None:
    def refused(old: str, new: str) -> str:
        suite.write_text(SUITE.replace(old, new), "utf-8")
        told = run("benchmark", suite, "phantom", "--out", tmp_path / "out")
        assert told.code == 2
        return str(told.err)

    assert "two methods" in refused("name: cubic", "name: Linear")
    assert "exactly one of" in refused("baseline: cubic", "baseline: cubic, preset: quick")
    assert "no method before it" in refused("baseline: cubic", "model_of: linear")
    assert "name" in refused("name: cubic", "name: ../cubic")
    assert "solver" in refused("baseline: cubic", "model: bundled, sampler: {solver: fast}")
    assert "need perception" in refused("methods:", "metrics: [lpips]\nmethods:")
    assert "Extra inputs" in refused("baseline: cubic", "baseline: cubic, colour: red")
    assert "There is no suite" in run("benchmark", "none", "--out", tmp_path / "out").err


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_that_ships_resolves(name: str, tmp_path: Path) -> None:
    """No unknown preset, network or field, in any row."""
    from napari_d2r.io import save_volume
    from napari_d2r.stages.benchmark import resolve_benchmark
    from napari_d2r.stages.train import resolve_train
    from napari_d2r.volumes import Volume

    suite: Suite = load_suite(name)
    small = suite.model_copy(update={"crop": None, "device": "cpu"})
    factor = max(case.factor for case in suite.cases)
    truth = phantom_of((factor * 5 + 1, 96, 96))
    save_volume(truth, tmp_path / "hr.tif")
    plan = resolve_benchmark(small, truth, tmp_path / "out", reference=tmp_path / "hr.tif")
    assert len(plan.runs) == sum(m.serves(c) for c in suite.cases for m in suite.methods)
    stacks: dict[str, Volume] = {}
    for run in plan.runs:
        assert not run.lacks
        if run.train is not None:
            case = run.case
            stack = stacks.setdefault(case.name, plan.stack(case))
            resolve_train(run.train, stack, tmp_path / "model")


def phantom_of(shape: tuple[int, int, int]) -> Any:
    """An isotropic truth."""
    from napari_d2r.samples import make_phantom
    from napari_d2r.volumes import Volume, VoxelSize

    return Volume(make_phantom(shape), VoxelSize(10, 10, 10), "phantom")
