"""``info`` names the traps of a stack."""

from __future__ import annotations

import json

import numpy as np
import tifffile

from napari_d2r.io import open_volume
from napari_d2r.samples import make_phantom


def test_info_names_traps_and_what_to_crop(run, tmp_path):
    values = make_phantom((20, 60, 80))
    values[:, :4] = 0
    values[9] = values[8]
    for number, plane in enumerate(values):
        if number != 5:
            tifffile.imwrite(tmp_path / f"{number}.tif", plane, metadata=None)
    told = run("info", tmp_path, "--voxel-size", "40,10,10", "--json", tmp_path / "info.json")
    assert told.code == 0
    for part in (
        "warning: Slice 5 is missing",
        "warning: An empty border of grey value 0",
        "warning: 9.tif shows exactly the same image as 8.tif",
        "crop to: rows 4 to 59, columns 0 to 79",
    ):
        assert part in told.out
    report = json.loads((tmp_path / "info.json").read_text("utf-8"))
    kinds = [finding["kind"] for finding in report["findings"]]
    assert kinds == ["missing", "border", "repeated"]
    assert report["suggested_box"] == [[0, 19], [4, 60], [0, 80]]


def test_info_of_a_folder_that_is_no_stack_names_all(run, tmp_path):
    for number, plane in enumerate(make_phantom((20, 60, 80))):
        wide = plane.astype(np.uint16) if number in (3, 8) else plane
        tifffile.imwrite(tmp_path / f"{number}.tif", wide * (number != 12), metadata=None)
    told = run("info", tmp_path)
    assert told.code == 2
    assert "blocks: 3.tif is 60 x 80 uint16, 8.tif is 60 x 80 uint16" in told.out
    assert "warning: 12.tif holds grey value 0 only" in told.out
    assert "mixes slices" in told.err


def test_info_tells_what_is_wrong_with_a_whole_stack(run, data_dir, tmp_path):
    real = open_volume(data_dir / "fib25/fib25_training_sample1.tif").read()[:128:8] * 1.0
    rng = np.random.default_rng(0)
    worse = real + rng.normal(0, 8, (16, 1, 1)) + rng.normal(0, 5, (16, 250, 1))
    stack, report = tmp_path / "stack.tif", tmp_path / "info.json"
    tifffile.imwrite(stack, np.clip(worse, 0, 255).astype(np.uint8))
    told = run("info", stack, "--voxel-size", "80,10,10", "--json", report)
    assert "warning: Brightness flickers: a quarter of the slices" in told.out
    assert "warning: Slices are striped along x: whole rows" in told.out
    kinds = {one["kind"] for one in json.loads(report.read_text("utf-8"))["findings"]}
    assert kinds == {"flicker", "stripes"}
