"""``--roi``: a part of a stack instead of all of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_d2r.io import open_volume, save_volume
from napari_d2r.io._provenance import provenance_in
from napari_d2r.volumes import crop

ROI = (slice(1, 6), slice(8, 56), slice(16, 64))


def test_a_part_is_what_the_stack_cropped_gives_and_stands_where_it_stood(run, stack, tmp_path):
    whole, part = tmp_path / "whole.tif", tmp_path / "part.tif"
    save_volume(stack, whole)
    save_volume(crop(stack, ROI), part)
    out, expected = tmp_path / "out.ome.zarr", tmp_path / "expected.ome.zarr"
    command = ("super-resolve", whole, out, "--model", "linear", "--roi", "1:6,8:56,16:")
    assert run(*command).code == 0
    assert run("super-resolve", part, expected, "--model", "linear").code == 0
    np.testing.assert_array_equal(open_volume(out).read(), open_volume(expected).read())

    attributes = json.loads((out / "zarr.json").read_text("utf-8"))["attributes"]
    edges = tuple(stack.voxel_size)
    assert translation_of(out) == pytest.approx([1 * edges[0], 8 * edges[1], 16 * edges[2]])
    assert provenance_in(attributes)["region"] == [[1, 6], [8, 56], [16, 64]]


@pytest.mark.parametrize("roi", ["1:6,8:56", "1:6,8:56,x:64", "1:6,8:56,0:64:2", "6,8,9"])
def test_what_is_no_box_is_refused(run, stack, tmp_path, roi):
    save_volume(stack, tmp_path / "stack.tif")
    told = run("super-resolve", tmp_path / "stack.tif", tmp_path / "out.tif", "--roi", roi)
    assert told.code == 2
    assert "START:STOP" in told.err


def test_a_box_beyond_the_stack_is_refused(run, stack, tmp_path):
    save_volume(stack, tmp_path / "stack.tif")
    told = run("super-resolve", tmp_path / "stack.tif", tmp_path / "out.tif", "--roi", ":,:,0:999")
    assert told.code == 2
    assert "0 to 999 along x does not fit" in told.err


def test_a_table_is_that_of_the_whole_stack(run, stack, tmp_path):
    save_volume(stack, tmp_path / "stack.tif")
    table, out = tmp_path / "z.txt", tmp_path / "out.ome.zarr"
    places = np.cumsum([0, *[30, 50] * stack.shape[0]][: stack.shape[0]])
    table.write_text("\n".join(map(str, places)), "utf-8")
    command = ("super-resolve", tmp_path / "stack.tif", out, "--model", "linear")
    assert run(*command, "--roi", "1:6,:,:", "--z-positions", table).code == 0
    assert open_volume(out).shape[0] == (places[5] - places[1]) // 10 + 1
    assert translation_of(out)[0] == places[1]

    table.write_text("\n".join(map(str, places[:-1])), "utf-8")
    told = run(*command, "--roi", "1:6,:,:", "--z-positions", table, "--overwrite")
    assert told.code == 2
    assert f"{len(places) - 1} positions along Z and the stack {len(places)} slices" in told.err


def translation_of(store):
    attributes = json.loads((store / "zarr.json").read_text("utf-8"))["attributes"]
    _, moved = attributes["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    return moved["translation"]
