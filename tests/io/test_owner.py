"""A store belongs to the process that fills it."""

from __future__ import annotations

import json
import os

import psutil
import pytest

from napari_d2r.errors import InputError
from napari_d2r.io import create_output
from napari_d2r.volumes import VoxelSize

SETTINGS = {
    "shape": (8, 8, 8), "dtype": "uint8", "voxel_size": VoxelSize(1, 1, 1), "identity": "abc",
    "shard": (8, 8, 8), "chunk": 8,
}  # fmt: skip


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_a_store_that_another_process_fills_is_left_alone(tmp_path, how):
    path = tmp_path / "o.ome.zarr"
    create_output(path, **SETTINGS)
    owner = tmp_path / "o.ome.zarr.partial.pid"
    machine, own, began = json.loads(owner.read_text())
    other = psutil.Process(os.getppid())
    owner.write_text(json.dumps([machine, other.pid, other.create_time()]))
    with pytest.raises(InputError, match="being filled by another program"):
        create_output(path, **SETTINGS, **{how: True})
    owner.write_text(json.dumps([machine, other.pid, other.create_time() - 60]))  # long gone
    output = create_output(path, **SETTINGS, **{how: True})
    assert json.loads(owner.read_text()) == [machine, own, began]
    output.release()
    assert not owner.exists()
