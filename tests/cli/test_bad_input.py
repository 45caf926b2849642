"""Every way input can be wrong ends in one sentence, exit code 2, and nothing written."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from napari_d2r.errors import DiskFullError
from napari_d2r.io import OmeZarrOutput

VALUES = np.random.default_rng(0).integers(0, 255, (6, 24, 24), np.uint8)
SIZE = ("--voxel-size", "40,10,10")
LINEAR = ("--model", "linear")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and ``stack.npy`` in another."""
    inputs, here = tmp_path / "inputs", tmp_path / "here"
    inputs.mkdir()
    here.mkdir()
    np.save(inputs / "stack.npy", VALUES)
    monkeypatch.chdir(here)
    return here


def refuses(run: Any, sentence: str, *arguments: str | Path) -> None:
    """One line on stderr, code 2; the working folder as it was."""
    before = sorted(Path.cwd().rglob("*"))
    told = run(*arguments)
    assert told.code == 2, told
    assert told.err.count("\n") == 1, told.err
    assert told.err.startswith("napari-d2r: ")
    assert sentence in told.err
    assert told.err.rstrip().endswith(".")
    assert sorted(Path.cwd().rglob("*")) == before


def write(kind: str, folder: Path) -> Path | str:
    """A broken input of each kind."""
    path = folder / kind.replace(" ", "_")
    changed = VALUES.astype(np.float32)
    match kind:
        case "missing":
            return path.with_suffix(".tif")
        case "empty folder":
            path.mkdir()
            return path
        case "mixed sizes":
            path.mkdir()
            for number, edge in enumerate((20, 20, 21, 20)):
                tifffile.imwrite(path / f"s{number}.tif", VALUES[0, :edge, :edge])
            return path
        case "unknown kind":
            path = path.with_suffix(".docx")
            path.write_bytes(b"text")
            return path
        case "damaged":
            path = path.with_suffix(".tif")
            path.write_bytes(b"II*\0 but no TIFF")
            return path
        case "rgb":
            path = path.with_suffix(".tif")
            tifffile.imwrite(path, np.zeros((6, 24, 24, 3), np.uint8), photometric="rgb")
            return path
        case "time" | "channel":
            path = path.with_suffix(".tif")
            axes = "TZYX" if kind == "time" else "ZCYX"
            values = np.stack([VALUES] * 2, axis=axes.index("Z") ^ 1)
            tifffile.imwrite(path, values, imagej=True, metadata={"axes": axes})
            return path
        case "2D":
            array = VALUES[0]
        case "NaN":
            changed[0, 3, 3] = np.nan
            array = changed
        case "Inf":
            changed[0, 3, 3] = np.inf
            array = changed
        case "constant":
            array = np.full_like(VALUES, 7)
        case "short":
            array = VALUES[:3]
        case "int64" | "complex64" | "bool":
            array = VALUES.astype(kind)
    np.save(path.with_suffix(".npy"), array)
    return path.with_suffix(".npy")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", "does not exist"),
        ("empty folder", "a folder without TIFF or PNG slices"),
        ("mixed sizes", "s2.tif"),
        ("unknown kind", "unknown kind"),
        ("damaged", "damaged.tif"),
        ("rgb", "--channel N"),
        ("time", "--time N"),
        ("channel", "--channel N"),
        ("2D", "single 2D image"),
        ("NaN", "NaN or infinite"),
        ("Inf", "NaN or infinite"),
        ("constant", "is constant"),
        ("short", "has 3 slices"),
        ("int64", "int64"),
        ("complex64", "complex64"),
        ("bool", "bool"),
    ],
)
def test_a_stack_that_cannot_be_used(
    run: Any, here: Path, tiny_yaml: Path, kind: str, sentence: str
) -> None:
    path = write(kind, here.parent / "inputs")
    refuses(run, sentence, "super-resolve", path, "out.ome.zarr", *LINEAR, *SIZE)
    refuses(run, sentence, "train", path, "model", "--job", tiny_yaml, *SIZE)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((*SIZE, "--factor", "1"), "greater than 1"),
        ((*SIZE, "--factor", "0.5"), "greater than 1"),
        ((*SIZE, "--factor", "nan"), "greater than 1"),
        ((*SIZE, "--factor", "1.4"), "outside 1.5 to 16"),
        ((*SIZE, "--factor", "17"), "outside 1.5 to 16"),
        ((*SIZE, "--factor", "inf"), "outside 1.5 to 16"),
        (("--voxel-size", "10,10,10"), "nothing to do"),
        (("--voxel-size", "5,10,10"), "nothing to do"),
        ((), "--voxel-size"),
        ((*SIZE, "--time", "3"), "no time axis"),
        ((*SIZE, "--seed", "-1"), "seed"),
        ((*SIZE, "--json", "missing/report.json"), "no folder"),
        ((*SIZE, "--json", "."), "is a folder"),
    ],
)
def test_an_option_that_makes_no_sense(
    run: Any, here: Path, tiny_yaml: Path, options: tuple[str, ...], sentence: str
) -> None:
    stack = here.parent / "inputs" / "stack.npy"
    refuses(run, sentence, "super-resolve", stack, "out.ome.zarr", *LINEAR, *options)
    refuses(run, sentence, "train", stack, "model", "--job", tiny_yaml, *options)


@pytest.mark.parametrize(
    ("option", "text", "sentence"),
    [
        ("--voxel-size", "40,10", "such as 80,10,10"),
        ("--voxel-size", "a,b,c", "such as 80,10,10"),
        ("--voxel-size", "0,10,10", "positive"),
        ("--voxel-size", "nan,10,10", "positive"),
        ("--max-minutes", "-1", "positive"),
        ("--max-minutes", "nan", "positive"),
        ("--max-minutes", "soon", "positive"),
        ("--factor", "many", "invalid float"),
        ("--device", "tpu", "invalid choice"),
    ],
)
def test_an_option_that_cannot_be_read(
    run: Any, here: Path, option: str, text: str, sentence: str
) -> None:
    told = run("super-resolve", "stack.npy", "out.zarr", f"{option}={text}")
    assert told.code == 2
    last = told.err.splitlines()[-1]
    assert option in last
    assert sentence in last
    assert list(here.iterdir()) == []


def test_a_device_that_is_not_there(run: Any, here: Path, tiny_yaml: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has cuda")
    stack = here.parent / "inputs" / "stack.npy"
    cuda = (*SIZE, "--device", "cuda")
    refuses(run, "no cuda device", "super-resolve", stack, "out.zarr", *LINEAR, *cuda)
    refuses(run, "no cuda device", "train", stack, "model", "--job", tiny_yaml, *cuda)


def test_pixels_that_are_not_square_are_not_learned_from(
    run: Any, here: Path, tiny_yaml: Path
) -> None:
    stack = here.parent / "inputs" / "stack.npy"
    oblong = ("--voxel-size", "40,10,12")
    refuses(run, "square pixels", "train", stack, "model", "--job", tiny_yaml, *oblong)
    assert run("super-resolve", stack, "out.zarr", *LINEAR, *oblong).code == 0  # but warned of


# outputs ------------------------------------------------------------------------------


def test_an_output_that_cannot_be_written(run: Any, here: Path, monkeypatch: Any) -> None:
    stack = here.parent / "inputs" / "stack.npy"
    (here / "old.tif").write_bytes(b"old")
    (here / "old.ome.zarr").mkdir()
    for name in ("old.tif", "old.ome.zarr"):
        refuses(run, "--overwrite", "super-resolve", stack, name, *LINEAR, *SIZE)
    refuses(run, "no folder", "super-resolve", stack, "none/out.tif", *LINEAR, *SIZE)
    refuses(run, ".ome.zarr, .tif or .h5", "super-resolve", stack, "out.png", *LINEAR, *SIZE)
    usage = shutil.disk_usage(here)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    refuses(run, "free some space", "super-resolve", stack, "out.zarr", *LINEAR, *SIZE)
    assert (here / "old.tif").read_bytes() == b"old"


def test_a_model_folder_that_is_taken(run: Any, here: Path, tiny_yaml: Path) -> None:
    stack = here.parent / "inputs" / "stack.npy"
    train = ("train", stack, "--job", tiny_yaml, *SIZE)
    (here / "file").write_text("")
    refuses(run, "is a file", *train, "file")
    (here / "home").mkdir()
    (here / "home" / "thesis.txt").write_text("years of work")
    for keep in ((), ("--overwrite",), ("--resume",)):
        refuses(run, "holds other things", *train, "home", *keep)


def test_a_figure_that_cannot_be_drawn_is_refused_before_the_work(
    run: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_d2r.cli._measure.open_stack", lambda *_: pytest.fail("too late"))
    stack = here.parent / "inputs" / "stack.npy"
    for command in (("evaluate", stack, stack, "--factor", "4"), ("fsc", stack, stack)):
        refuses(run, "must end in .png, .pdf, .svg", *command, "--figure", "a.xyz")


def test_a_model_folder_that_cannot_be_written(run: Any, here: Path, tiny_yaml: Path) -> None:
    (here / "file").write_text("")
    stack = here.parent / "inputs" / "stack.npy"
    train = ("train", stack, "file/model", "--job", tiny_yaml, *SIZE)
    for options in ((), ("--dry-run",)):
        refuses(run, "cannot be written; choose another folder", *train, *options)


def test_a_full_disk_is_four_and_resumable(
    run: Any, here: Path, tiny_yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = here.parent / "inputs" / "stack.npy"

    def full(*_: object) -> None:
        raise DiskFullError("The disk is full while writing out.zarr; free some space.")

    command = ("super-resolve", stack, "out.zarr", *LINEAR, *SIZE)
    with monkeypatch.context() as patch:
        patch.setattr(OmeZarrOutput, "put", full)
        told = run(*command)
    assert told.code == 4
    assert told.err.splitlines()[-1].startswith("napari-d2r: The disk is full")
    assert not (here / "out.zarr").exists()
    assert run(*command, "--resume").code == 0

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_d2r.training._loop.save_state", no_space)
    told = run("train", stack, "model", "--job", tiny_yaml, *SIZE)
    assert told.code == 4
    assert "No space left on device" in told.err
    assert not (here / "model" / "models.json").exists()


# models -------------------------------------------------------------------------------


def spoil(model: Path, how: str) -> None:
    card, weights = model / "prior" / "card.json", model / "prior" / "weights.safetensors"
    match how:
        case "missing":
            shutil.rmtree(model)
        case "empty":
            shutil.rmtree(model)
            model.mkdir()
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-4])
        case "flipped":
            blob = bytearray(weights.read_bytes())
            blob[-1] ^= 1
            weights.write_bytes(blob)
        case "pickle":
            weights.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
        case "no JSON":
            card.write_text("{")
        case "other network":
            fields = json.loads(card.read_text("utf-8"))
            card.write_text(json.dumps(fields | {"architecture": "mystery"}))
        case "outside":
            (model / "models.json").write_text(
                json.dumps({"default": "../../x", "models": ["../../x"]})
            )


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("missing", "no model folder"),
        ("empty", "not a model folder"),
        ("truncated", "cannot be read as safetensors"),
        ("flipped", "has changed since"),
        ("pickle", "cannot be read as safetensors"),
        ("no JSON", "damaged or foreign"),
        ("other network", "no network 'mystery'"),
        ("outside", "outside its folder"),
    ],
)
def test_a_model_that_cannot_be_used(
    run: Any, here: Path, tiny_model: Path, how: str, sentence: str
) -> None:
    model = here.parent / "model"
    shutil.copytree(tiny_model, model)
    index = json.loads((model / "models.json").read_text("utf-8"))
    (model / "models.json").write_text(json.dumps(index | {"default": "prior"}))
    spoil(model, how)
    stack = here.parent / "inputs" / "stack.npy"
    refuses(run, sentence, "super-resolve", stack, "out.zarr", "--model", model, *SIZE)


def test_a_bundled_model_that_is_not_there(run: Any, here: Path) -> None:
    stack = here.parent / "inputs" / "stack.npy"
    model = ("--model", "bundled/teacher")
    refuses(run, "choose prior or student", "super-resolve", stack, "out.zarr", *model, *SIZE)


def test_too_little_memory(run: Any, here: Path) -> None:
    stack = here.parent / "inputs" / "stack.npy"
    little = ("--max-memory", "0.1")
    refuses(run, "GB of memory are too few", "super-resolve", stack, "out.zarr", *little, *SIZE)


# jobs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--preset", "fast"), "choose from quick, balanced, paper, "),
        (("--set", "prior"), "name=value"),
        (("--set", "prior.nothing.here=1"), "existing name"),
        (("--set", "colour=red"), "colour"),
        (("--set", "prior.columns=2"), "columns"),
        (("--set", "prior=[1"), "not valid YAML"),
        (("--set", "prior.network.architecture=resnet"), "no network 'resnet'"),
        (("--set", "prior.network.options={depth: 3}"), "no option 'depth'"),
        (
            ("--set", "prior.network.architecture=aenet"),
            "does not serve stage I; choose",
        ),
        (("--set", "student.network.architecture=lateral"), "choose aenet or aenet-fast"),
        (("--set", "student.network.options={depth: 3}"), "no option 'depth'"),
        (("--set", "max_minutes=null"), "would never end"),
        (("--job", "missing.yaml"), "no job file"),
    ],
)
def test_a_job_that_cannot_be_done(
    run: Any, here: Path, tiny_yaml: Path, options: tuple[str, ...], sentence: str
) -> None:
    stack = here.parent / "inputs" / "stack.npy"
    refuses(run, sentence, "train", stack, "model", *SIZE, *options)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"prior: [", "not valid YAML"),
        (b"- a\n- b\n", "job.yaml"),
        (b"max_minutes: soon\n", "max_minutes"),
        (b"max_hours: 3\n", "max_hours"),
        (b"\xff\xfe\x00\x01", "not a text file"),
    ],
)
def test_a_job_file_that_cannot_be_read(run: Any, here: Path, text: bytes, sentence: str) -> None:
    job = here.parent / "job.yaml"
    job.write_bytes(text)
    stack = here.parent / "inputs" / "stack.npy"
    refuses(run, sentence, "train", stack, "model", *SIZE, "--job", job)


# evaluate and fsc ---------------------------------------------------------------------


def test_what_cannot_be_compared(
    run: Any, here: Path, phantom_files: tuple[Path, Path], tiny_model: Path
) -> None:
    stack, truth = phantom_files
    refuses(run, "RESULT and a REFERENCE", "evaluate", truth)
    refuses(run, "--model goes with --controls", "evaluate", truth, truth, "--model", tiny_model)
    refuses(run, "needs --factor R", "evaluate", truth, truth)
    refuses(run, "whole factor", "evaluate", truth, truth, "--factor", "2.5")
    refuses(run, "voxel", "evaluate", stack, truth, "--factor", "4")
    refuses(run, "Shapes differ", "fsc", stack, truth)
    refuses(run, "does not exist", "evaluate", "none.tif", truth, "--factor", "4")
    refuses(run, "no folder", "fsc", truth, truth, "--figure", "none/f.png")
    refuses(run, "at least 16", "fsc", truth, truth, "--crop", "8")
    refuses(run, "goes with a STACK", "evaluate", truth, truth, "--factor", "4", "--crop", "32")
    refuses(run, "does not exist", "info", "none.tif")
