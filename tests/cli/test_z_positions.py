"""``super-resolve --z-positions``: a table of places along Z."""

from __future__ import annotations

import json

import numpy as np

from napari_d2r.io import open_volume, save_volume
from napari_d2r.volumes import Volume, VoxelSize

Z_UM = [0, 0.04, 0.1, 0.13, 0.19]


def test_a_table_makes_an_even_volume(run, stack, tmp_path):
    values = stack.read()[:5]
    save_volume(Volume(values, VoxelSize(40, 10, 10)), tmp_path / "stack.tif")
    table, out = tmp_path / "z.csv", tmp_path / "out.tif"
    table.write_text("slice,z_um\n" + "".join(f"{k},{z}\n" for k, z in enumerate(Z_UM)), "utf-8")
    command = ("super-resolve", tmp_path / "stack.tif", out, "--model", "cubic")
    told = run(*command, "--z-positions", table, "--json", tmp_path / "out.json")
    assert told.code == 0
    assert "Slices stand 30 to 60 nm apart, as the table says" in told.err + told.out
    found = open_volume(out)
    assert found.shape == (20, 64, 64)
    np.testing.assert_array_equal(found.read()[[0, 4, 10, 13, 19]], values)
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["shape"] == [20, 64, 64]

    table.write_text("z_um\n0\n0.04\n", "utf-8")
    told = run(*command, "--z-positions", table, "--overwrite")
    assert told.code == 2
    assert "2 positions along Z and the stack 5 slices" in told.err
