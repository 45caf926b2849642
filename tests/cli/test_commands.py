"""The six commands, as a user types them: what they print, write and return."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from napari_d2r.cli import _train, main
from napari_d2r.io import open_volume, save_volume
from napari_d2r.jobs import (
    TrainJob,
)
from napari_d2r.metrics import one_volume_curve_steps
from napari_d2r.metrics._shells import finished
from napari_d2r.samples import phantom_sample
from napari_d2r.volumes import Volume, VoxelSize

REPOSITORY = Path(__file__).resolve().parents[2]


def documented_keys(row: str) -> set[str]:
    """Keys of ``--json`` in a row of docs/command-line.md."""
    text = (REPOSITORY / "docs" / "command-line.md").read_text("utf-8")
    [cells] = re.findall(rf"^\| {re.escape(row)} \| (.+) \|$", text, re.MULTILINE)
    return set(re.findall(r"`([a-z_]+)`", cells))


# train, super-resolve -----------------------------------------------------------------


def test_train_then_super_resolve(
    run: Any, phantom_files: tuple[Path, Path], tiny_yaml: Path, tmp_path: Path
) -> None:
    stack, model, report = phantom_files[0], tmp_path / "model", tmp_path / "train.json"
    told = run("train", stack, model, "--job", tiny_yaml, "--factor", 4, "--json", report)
    assert told.code == 0
    assert f"models in {model}, default: " in told.out
    assert told.out.count("dB for linear interpolation") == 2
    trained = json.loads(report.read_text("utf-8"))
    assert set(trained) == documented_keys("train")
    assert set(trained["leave_one_out_gain_db"]) == {"prior", "student"}
    assert trained["default"] in trained["leave_one_out_gain_db"]

    # Not a terminal: plain lines, one per stage, no carriage returns of a progress bar.
    assert [line[:5] for line in told.err.splitlines() if "stage" in line] == [
        "[1/3]",
        "[2/3]",
        "[3/3]",
    ]
    assert "\r" not in told.err

    output, report = tmp_path / "out.ome.zarr", tmp_path / "out.json"
    told = run("super-resolve", stack, output, "--model", model, "--json", report)
    assert told.code == 0
    assert "33 x 64 x 64 voxels of 10 x 10 x 10 nm" in told.out
    written = json.loads(report.read_text("utf-8"))
    assert set(written) == documented_keys("super-resolve")
    assert (written["shape"], written["voxel_size_nm"]) == ([33, 64, 64], [10, 10, 10])
    assert np.array_equal(zarr.open_array(output / "0")[::4], tifffile.imread(stack))


def test_json_may_go_to_standard_output(
    run: Any, phantom_files: tuple[Path, Path], tmp_path: Path
) -> None:
    told = run("info", phantom_files[0], "--json", "-")
    assert json.loads(told.out[told.out.index("{") :])["shape"] == [9, 64, 64]


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic"])
def test_baselines_need_no_model(
    run: Any, phantom_files: tuple[Path, Path], tmp_path: Path, method: str
) -> None:
    output = tmp_path / "out.tif"
    told = run("super-resolve", phantom_files[0], output, "--model", method, "--factor", 2)
    assert told.code == 0
    assert open_volume(output).voxel_size == VoxelSize(20, 10, 10)
    assert np.array_equal(tifffile.imread(output)[::2], tifffile.imread(phantom_files[0]))


def test_without_a_model_the_bundled_one_is_used(
    run: Any, phantom_files: tuple[Path, Path], tmp_path: Path
) -> None:
    command = ("super-resolve", phantom_files[0], tmp_path / "out.tif", "--dry-run")
    told = run(*command)
    assert told.code == 0
    assert "the bundled model" in told.out
    assert run(*command, "--model", "bundled").out == told.out
    assert "student" in run(*command, "--model", "bundled/student").out


def test_a_dry_run_writes_nothing(
    run: Any,
    phantom_files: tuple[Path, Path],
    tiny_yaml: Path,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    stack = phantom_files[0]
    told = run("train", stack, tmp_path / "model", "--job", tiny_yaml, "--dry-run")
    assert told.code == 0
    assert "learn from 9 x 64 x 64 voxels" in told.out
    told = run("train", stack, tmp_path / "m", "--job", tiny_yaml, "--dry-run", "--json", "-")
    plan = json.loads(told.out[told.out.index("{") :])
    assert set(plan) == documented_keys("train") - {"default", "leave_one_out_gain_db"}
    assert (plan["shape"], plan["factor"], plan["max_minutes"]) == ([9, 64, 64], 4, None)
    output = tmp_path / "out.ome.zarr"
    told = run("super-resolve", stack, output, "--model", tiny_model, "--dry-run", "--json", "-")
    assert told.code == 0
    for words in ("9 x 64 x 64", "33 x 64 x 64", "memory about", "disk", "time about"):
        assert words in told.out
    plan = json.loads(told.out[told.out.index("{") :])
    assert set(plan) == documented_keys("super-resolve") - {"seconds"}
    assert plan["memory_bytes"] > 0
    assert plan["estimated_seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_resumed_training_changes_nothing(
    run: Any, phantom_files: tuple[Path, Path], tiny_yaml: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    command = ("train", phantom_files[0], model, "--job", tiny_yaml)
    work = model / "work"
    work.mkdir(parents=True)
    for name in ("job.yaml", "identity", "prior.safetensors"):
        (work / name).write_text("begun")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in work.iterdir()}
    assert run(*command, "--resume", "--dry-run").code == 0
    assert run(*command, "--overwrite", "--dry-run").code == 0
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in work.iterdir()} == before
    assert list(model.iterdir()) == [work]


def test_options_come_before_overrides_and_those_before_the_job(
    run: Any, phantom_files: tuple[Path, Path], tiny_yaml: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    seen: list[TrainJob] = []

    def stops(job: TrainJob, *_: object, **__: object) -> None:
        seen.append(job)
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_d2r.stages.train.resolve_train", stops)
    job = TrainJob.from_yaml(tiny_yaml.read_text("utf-8"))

    def asked(*options: str) -> TrainJob:
        assert run("train", phantom_files[0], tmp_path, *options).code == 130
        return seen[-1]

    file = ("--job", str(tiny_yaml))
    assert asked(*file) == job  # its device too
    assert asked(*file, "--set", "seed=3").seed == 3
    assert asked(*file, "--set", "seed=3", "--seed", "4").seed == 4
    assert asked(*file, "--device", "auto").device == "auto"
    changed = asked(*file, "--factor", "3", "--max-minutes", "2", "--set", "student.crop=20")
    assert (changed.factor, changed.max_minutes, changed.student.crop) == (3, 2, 20)
    assert asked("--preset", "balanced").prior.network.architecture == "nafnet"
    assert asked().max_minutes == 15  # quick


def test_out_of_time_is_three_and_resume_goes_on(
    run: Any, phantom_files: tuple[Path, Path], tiny_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.ome.zarr"
    command = ("super-resolve", phantom_files[0], output, "--model", tiny_model)
    told = run(*command, "--max-minutes", 1e-9)
    assert told.code == 3
    assert "go on with --resume" in told.err
    assert not output.exists()
    assert run(*command, "--resume").code == 0
    assert run(*command).code == 2  # exists
    assert run(*command, "--overwrite").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.ome.zarr"]


# info ---------------------------------------------------------------------------------


def tiff(path: Path, values: np.ndarray) -> Path:
    tifffile.imwrite(path.with_suffix(".tif"), values, imagej=True, metadata={"axes": "ZYX"})
    return path.with_suffix(".tif")


def slices(path: Path, values: np.ndarray) -> Path:
    path.mkdir()
    for number, one in enumerate(values):
        tifffile.imwrite(path / f"s{number}.tif", one)
    return path


def bare_zarr(path: Path, values: np.ndarray) -> Path:
    zarr.create_array(path.with_suffix(".zarr"), data=values)
    return path.with_suffix(".zarr")


def hdf5(path: Path, values: np.ndarray) -> str:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["em"] = values
    return f"{path.with_suffix('.h5')}:/em"


def mrc(path: Path, values: np.ndarray) -> Path:
    with mrcfile.new(path.with_suffix(".mrc"), data=values.astype(np.uint16)) as file:
        file.voxel_size = (100.0, 100.0, 400.0)  # angstrom: x, y, z
        file.set_volume()
    return path.with_suffix(".mrc")


def npy(path: Path, values: np.ndarray) -> Path:
    np.save(path.with_suffix(".npy"), values)
    return path.with_suffix(".npy")


@pytest.mark.parametrize("write", [tiff, slices, bare_zarr, hdf5, mrc, npy])
def test_info_describes_every_kind_of_input(
    run: Any, tmp_path: Path, write: Callable[[Path, np.ndarray], Path]
) -> None:
    values = np.random.default_rng(0).integers(0, 255, (5, 20, 30), np.uint8)
    path = write(tmp_path / "stack", values)
    told = run("info", path, "--voxel-size", "40,10,10", "--json", "-")
    assert told.code == 0
    assert "5 x 20 x 30" in told.out
    assert "anisotropy: 4," in told.out
    report = json.loads(told.out[told.out.index("{") :])
    assert set(report) == documented_keys("info, of a stack")
    assert (report["shape"], report["voxel_size_nm"]) == ([5, 20, 30], [40, 10, 10])
    if write is not mrc:
        told = run("info", path).out
        assert "voxel size: unknown" in told
        assert "pass --voxel-size" in told
    assert not any("--voxel-size" in note for note in report["notes"])


def test_info_describes_a_model(run: Any, tiny_model: Path) -> None:
    told = run("info", tiny_model, "--json", "-")
    assert told.code == 0
    assert "prior: prior lateral, gap 4, leave-one-out" in told.out
    assert "default: " in told.out
    cards = json.loads(told.out[told.out.index("{") :])
    assert {name: card["role"] for name, card in cards.items()} == {
        "prior": "prior",
        "student": "student",
    }
    assert "student aenet-fast" in run("info", tiny_model / "student").out


# evaluate, fsc ------------------------------------------------------------------------


def test_evaluate_with_a_reference_and_without(
    run: Any, phantom_files: tuple[Path, Path], tiny_model: Path, tmp_path: Path
) -> None:
    stack, reference = phantom_files
    output, report, figure = (tmp_path / n for n in ("out.tif", "report.json", "report.png"))
    run("super-resolve", stack, output, "--model", "linear")
    told = run(
        *("evaluate", output, reference, "--factor", 4, "--json", report, "--figure", figure)
    )
    assert told.code == 0
    assert "linear" in told.out
    assert json.loads(report.read_text("utf-8"))["factor"] == 4
    assert figure.read_bytes().startswith(b"\x89PNG")

    figure = tmp_path / "gain.pdf"
    told = run(
        *("evaluate", stack, "--model", tiny_model, "--json", "-", "--device", "cpu"),
        *("--crop", 48, "--figure", figure),
    )
    assert told.code == 0
    assert "left-out slices" in told.out
    assert "the central 9 x 48 x 48 voxels" in told.out
    found = json.loads(told.out[told.out.index("{") :])
    assert found["slices"] == list(range(1, 8))
    assert len(found["frc"]["correlation"]) == len(found["frc_linear"]["correlation"]) == 25
    assert figure.read_bytes().startswith(b"%PDF")


def test_fsc_of_two_volumes(run: Any, phantom_files: tuple[Path, Path], tmp_path: Path) -> None:
    truth, report, figure = phantom_files[1], tmp_path / "fsc.json", tmp_path / "fsc.svg"
    told = run("fsc", truth, truth, "--json", report, "--figure", figure, "--crop", 32)
    assert told.code == 0
    found = json.loads(report.read_text("utf-8"))
    assert found["format"] == "napari-d2r fsc"
    assert (found["start"], found["shape"]) == ([0, 16, 16], [32, 32, 32])
    assert "<svg" in figure.read_text("utf-8")


def test_fsc_within_one_volume(run: Any, phantom_files: tuple[Path, Path], tmp_path: Path) -> None:
    stack, report, figure = phantom_files[1], tmp_path / "one.json", tmp_path / "one.svg"
    told = run("fsc", stack, "--json", report, "--figure", figure, "--crop", 32)
    assert told.code == 0
    assert "Interpolated and predicted voxels agree" in told.err
    found = json.loads(report.read_text("utf-8"))
    assert (found["start"], found["shape"]) == ([0, 16, 16], [32, 32, 32])
    whole = open_volume(stack)
    assert found["volumes"] == [whole.name]
    part = whole.read(slice(0, 32), slice(16, 48), slice(16, 48))
    curves = finished(one_volume_curve_steps(part, whole.voxel_size))
    assert found["fsc"]["hann"]["correlation"] == pytest.approx(curves.hann.correlation, abs=1e-6)
    assert "<svg" in figure.read_text("utf-8")


# cheap to start -----------------------------------------------------------------------


def test_the_parser_and_the_package_load_no_torch() -> None:
    code = (
        "import sys, napari_d2r, napari_d2r.cli._main as m; m.build_parser(); dir(napari_d2r); "
        "print([n for n in ('torch', 'matplotlib', 'napari', 'qtpy') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_python_dash_m_is_the_command(phantom_files: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "napari_d2r", "info", str(phantom_files[0])],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "40 x 10 x 10 nm (z, y, x)" in done.stdout


def test_readme_commands_run_as_written(
    phantom_files: tuple[Path, Path],
    tiny_job: TrainJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But for the minutes of ``quick``, the factor of the phantom and the hour of the benchmark."""
    text = (REPOSITORY / "README.md").read_text("utf-8")
    commands = re.findall(r"^napari-d2r (?!demo)(.+)$", text, re.MULTILINE)
    assert len(commands) >= 5
    monkeypatch.setattr(_train, "load_preset", lambda _: tiny_job)
    monkeypatch.chdir(tmp_path)
    truth = phantom_sample((33, 64, 64), factor=8)[1]
    for name, values, size in (
        ("stack.tif", truth.read()[::8], 80),
        ("reference.tif", truth.read(), 10),
        ("isotropic.tif", truth.read(), 10),
        ("a.tif", truth.read(), 10),
        ("b.tif", truth.read(), 10),
    ):
        volume = Volume(values, VoxelSize(size, 10, 10))
        save_volume(volume, Path(name))
    for command in commands:
        words = command.partition("#")[0].split()
        if words[0] == "benchmark":
            words.append("--dry-run")
        assert main(words) == 0, command
    assert {
        "audit.pdf",
        "model",
        "out.ome.zarr",
        "report.json",
        "report.png",
        "fsc.json",
        "fsc.png",
    } <= {path.name for path in tmp_path.iterdir()}
