"""From an isotropic volume to a stack, back, and to the numbers, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_d2r.io import open_volume
from napari_d2r.volumes import Degradation


@pytest.mark.parametrize("kind", ["slice", "block", "gaussian"])
def test_degraded_interpolated_and_evaluated(
    run: Any, phantom_files: tuple[Path, Path], tmp_path: Path, kind: str
) -> None:
    truth, stack, out = phantom_files[1], tmp_path / "stack.tif", tmp_path / "out.ome.zarr"
    how = ["--degradation", kind, *(["--sigma", 1.5] if kind == "gaussian" else [])]
    made = run("degrade", truth, stack, "--factor", 4, *how, "--json", "-")
    assert made.code == 0
    expected = Degradation(kind, 1.5).simulate(open_volume(truth).read(), 4)
    np.testing.assert_array_equal(open_volume(stack).read(), expected)
    assert open_volume(stack).voxel_size.z == pytest.approx(40)
    assert json.loads(made.out[made.out.index("{") :])["shape"] == list(expected.shape)

    only_kind = ["--degradation", kind]
    assert run("super-resolve", stack, out, "--model", "linear", *only_kind).code == 0
    told = run("evaluate", out, truth, "--factor", 4, *how, "--json", tmp_path / "report.json")
    assert told.code == 0
    assert (kind == "slice") == ("inserted slices" in told.out)
    linear, result = json.loads((tmp_path / "report.json").read_text("utf-8"))["volumes"]
    for plane in ("XY", "XZ", "YZ"):
        psnr = [one["planes"][plane]["psnr_db"] for one in (linear, result)]
        assert psnr[0] == pytest.approx(psnr[1], abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stack.tif", "--factor", 4, "--sigma", 2], "--sigma goes with --degradation gaussian"),
        (["stack.tif", "--factor", 1], "--factor takes a whole number from 2 on, not 1"),
        (["stack.zarr", "--factor", 4], "stack.zarr must end in .tif"),
        (["stack.tif", "--factor", 50, "--degradation", "block"], "too few for blocks of 50"),
    ],
)
def test_what_cannot_be_made_is_refused(
    run: Any, phantom_files: tuple[Path, Path], tmp_path: Path, arguments: list[Any], words: str
) -> None:
    name, *options = arguments
    told = run("degrade", phantom_files[1], tmp_path / name, *options)
    assert told.code == 2
    assert words in told.err
    assert not any(tmp_path.iterdir())


def test_training_takes_the_same_options(
    run: Any, phantom_files: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = ["train", phantom_files[0], tmp_path / "model", "--dry-run", "--preset", "care"]
    told = run(*plan, "--degradation", "gaussian", "--sigma", "1.5")
    assert "blurred along Z, sigma 1.5 lateral voxels: they are restored too" in told.out
    assert "restored too" not in run(*plan).out
