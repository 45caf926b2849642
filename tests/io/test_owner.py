"""A store belongs to the process that fills it."""

from __future__ import annotations

import json
import os

import numpy as np
import psutil
import pytest

from napari_d2r.errors import InputError
from napari_d2r.io import _ome_zarr, begin_showing, create_output, is_shown_elsewhere, stop_showing
from napari_d2r.volumes import VoxelSize

SETTINGS = {
    "shape": (8, 8, 8), "dtype": "uint8", "voxel_size": VoxelSize(1, 1, 1), "identity": "abc",
    "shard": (8, 8, 8), "chunk": 8,
}  # fmt: skip


def files_of(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


def test_a_store_that_another_process_shows_is_known_until_it_ends(tmp_path):
    store = tmp_path / "o [D2R].ome.zarr"
    begin_showing(store)
    (own,) = tmp_path.iterdir()
    machine, *_ = json.loads(own.read_text())
    assert not is_shown_elsewhere(store)
    other = psutil.Process(os.getppid())
    theirs = own.with_suffix(f".{other.pid}")
    theirs.write_text(json.dumps([machine, other.pid, other.create_time()]))
    assert is_shown_elsewhere(store)
    assert not is_shown_elsewhere(tmp_path / "p.ome.zarr")
    stop_showing(store)
    assert [*tmp_path.iterdir()] == [theirs]
    theirs.write_text(json.dumps([machine, other.pid, other.create_time() - 60]))  # long gone
    assert not is_shown_elsewhere(store)


@pytest.mark.parametrize("change", [{"identity": "other"}, {"shard": (8, 4, 8), "chunk": 4}])
def test_a_store_that_another_machine_began_anew_is_left_to_it(tmp_path, change):
    path = tmp_path / "o.ome.zarr"
    first = create_output(path, **SETTINGS)
    owner = tmp_path / "o.ome.zarr.partial.pid"
    _, *process = json.loads(owner.read_text())
    owner.write_text(json.dumps(["another machine", *process]))
    create_output(path, **SETTINGS | change, overwrite=True)
    before = files_of(tmp_path)
    (shard,) = first.shards()
    values = np.ones(shard.shape, np.uint8)
    for step in (
        lambda: first.write(shard, values),
        lambda: first.note(shard, 7),
        first.distrust,
        lambda: first.publish({}),
    ):
        with pytest.raises(InputError, match="was begun anew or ended by another program"):
            step()
    assert files_of(tmp_path) == before
    first.release()
    create_output(path, **SETTINGS | change, resume=True).discard()
    with pytest.raises(InputError, match="was begun anew or ended by another program"):
        first.note(shard, 7)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("resume", [True, False])
def test_a_store_that_cannot_be_begun_or_resumed_is_nobody_s(tmp_path, monkeypatch, resume):
    path, owner = tmp_path / "o.ome.zarr", tmp_path / "o.ome.zarr.partial.pid"
    create_output(path, **SETTINGS).release()

    def stopped(_):
        assert owner.exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_ome_zarr, "sweep", stopped)
        create_output(path, **SETTINGS, resume=resume)
    assert not owner.exists()
