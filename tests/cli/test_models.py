"""``models``, and ``info`` of a stack beside a model."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from napari_d2r.cli import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing imported, nothing remembered."""
    monkeypatch.setenv("NAPARI_D2R_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_model_is_exported_imported_used_and_removed(
    run: Any, tiny_model: Path, phantom_files: tuple[Path, Path], tmp_path: Path
) -> None:
    told = run("models", "export", tiny_model, tmp_path / "mine.zip")
    assert told.code == 0
    digest = told.out.split()[-1]
    told = run("models", "import", tmp_path / "mine.zip", "--name", "phantom", "--sha256", digest)
    assert (told.code, "use it by --model 'phantom'" in told.out) == (0, True)
    listed = run("models").out
    assert listed == run("models", "list").out
    assert [line.split(":")[0] for line in listed.splitlines()] == [
        "bundled (bundled)",
        "phantom (imported)",
    ]
    assert "## Bias, Risks, and Limitations" in run("models", "show", "phantom/prior").out
    assert "prior" in run("info", "phantom").out
    results = [tmp_path / "by name.ome.zarr", tmp_path / "by folder.ome.zarr"]
    for model, output in zip(("phantom", tiny_model), results, strict=True):
        told = run("super-resolve", phantom_files[0], output, "--model", model)
        assert told.code == 0, told.err
    chunk = "0/c/0/0/0"
    assert (results[0] / chunk).read_bytes() == (results[1] / chunk).read_bytes()
    assert run("models", "remove", "phantom").out == "phantom is deleted.\n"
    assert "phantom" not in run("models").out


def test_a_model_goes_to_bioimageio(run: Any, tmp_path: Path) -> None:
    told = run("models", "export", "bundled", tmp_path / "a.zip", "--to", "bioimageio")
    assert told.code == 0, told.err
    with zipfile.ZipFile(tmp_path / "a.zip") as package:
        assert sorted(package.namelist()) == [
            "README.md",
            "rdf.yaml",
            "test-input.npy",
            "test-output.npy",
            "weights.pt",
        ]


def test_verify_finds_the_one_that_is_damaged(run: Any, tiny_model: Path, home: Path) -> None:
    for name in ("sound", "torn", "headless"):
        assert run("models", "import", tiny_model, "--name", name).code == 0
    weights = home / "models" / "torn" / "prior" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    (home / "models" / "headless" / "student" / "card.json").write_text("{")
    shutil.rmtree(home / "models" / "headless" / "prior")
    told = run("models", "verify")
    assert told.code == 2
    lines = told.out.splitlines()
    assert len(lines) == 4
    assert [": sound (" in line for line in lines] == [True, False, True, False]
    assert "has changed since it was saved" in lines[3]
    assert "Not sound: " in told.err
    assert run("models", "verify", "sound", "bundled").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("import", "nowhere.zip"), "no model file at nowhere.zip"),
        (("export", "bundled", "model.tar"), "must end in .zip"),
        (("show", "nowhere"), "no model folder at nowhere"),
        (("remove", "bundled"), "part of the program"),
        (("remove", "nowhere"), "no model nowhere to remove"),
        (("export", "bundled", "a.zip", "--factor", "4"), "go with --to bioimageio"),
        (("import", "weights.pth"), "such as --voxel-size 80,10,10"),
        (("import", "a.zip", "--voxel-size", "80,10,10"), "--voxel-size goes with a .pth"),
    ],
)
def test_what_cannot_be_done_is_said(run: Any, arguments: tuple[str, ...], words: str) -> None:
    told = run("models", *arguments)
    assert (told.code, told.out) == (2, "")
    assert words in told.err
    assert told.err.count("\n") == 1


def test_info_holds_a_stack_against_a_model(
    run: Any, tiny_model: Path, phantom_files: tuple[Path, Path], tmp_path: Path
) -> None:
    report = tmp_path / "info.json"
    told = run("info", phantom_files[0], "--model", tiny_model, "--json", report)
    assert told.code == 0
    assert "The stack is like what the model" in told.out
    assert json.loads(report.read_text())["model_fit"] == []
    size = ("--voxel-size", "4000,1000,1000")
    told = run("info", phantom_files[0], "--model", tiny_model, *size, "--json", report)
    assert told.code == 0
    assert "warning: Pixels are 1000 nm wide, 100 times larger" in told.out
    assert "measure what is gained over linear interpolation" in told.out
    kinds = [one["kind"] for one in json.loads(report.read_text())["model_fit"]]
    assert kinds == ["unlike-pixel", "unlike"]
    told = run("info", tiny_model, "--model", "bundled")
    assert (told.code, "goes with a stack" in told.err) == (2, True)


def test_a_card_is_shown_by_info(run: Any) -> None:
    told = run("info", "bundled")
    assert told.code == 0
    for section in ("## Uses", "## Evaluation", "## How to Get Started with the Model"):
        assert section in told.out
    with pytest.raises(SystemExit):
        main(["models", "burn"])
