"""An output with channels: one file per place, the channels apart, and read back as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr

from napari_d2r.io import OmeZarrOutput, create_output, open_volume, verify_store
from napari_d2r.volumes import VoxelSize

SHAPE, SIZE = (40, 300, 70), VoxelSize(20, 10, 10)


def begin(path: Path, **more) -> OmeZarrOutput:
    return create_output(
        path,
        shape=SHAPE,
        dtype="uint8",
        voxel_size=SIZE,
        identity="same",
        shard=(64, 128, 64),
        chunk=32,
        num_channels=3,
        **more,
    )


def values() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, (3, *SHAPE), np.uint8)


def test_channels_come_back_as_they_were_written(tmp_path):
    truth, path = values(), tmp_path / "out.ome.zarr"
    output = begin(path)
    for shard in output.shards()[:2]:
        box = tuple(slice(a, b) for a, b in zip(shard.start, shard.stop, strict=True))
        output.write(shard, truth[:, *box])
    output.release()
    output = begin(path, resume=True)
    assert output.done == {0, 1}
    assert len(output.shards()) == 6  # of places, not of channels
    for shard in output.shards()[2:]:
        box = tuple(slice(a, b) for a, b in zip(shard.start, shard.stop, strict=True))
        output.write(shard, truth[:, *box])
    output.publish({})
    volume = open_volume(path, channel="all")
    assert (volume.num_channels, volume.shape, volume.voxel_size) == (3, SHAPE, SIZE)
    np.testing.assert_array_equal(volume.read(), truth)
    part = volume.read(slice(3, 9), slice(100, 140), slice(5, 6))
    np.testing.assert_array_equal(part, truth[:, 3:9, 100:140, 5:6])
    np.testing.assert_array_equal(open_volume(path, channel=1).read(), truth[1])
    assert all(found is None for _, _, found in verify_store(path))


def test_coarser_levels_and_axes_keep_channels_apart(tmp_path):
    truth, path = values(), tmp_path / "out.ome.zarr"
    truth[1] = 7
    output = begin(path)
    for shard in output.shards():
        box = tuple(slice(a, b) for a, b in zip(shard.start, shard.stop, strict=True))
        output.write(shard, truth[:, *box])
    output.publish({})
    group = zarr.open_group(path, mode="r")
    assert group["1"].shape == (3, 40, 150, 35)
    assert (group["1"][1] == 7).all()
    (image,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["c", "z", "y", "x"]
    scale, shift = image["datasets"][1]["coordinateTransformations"]
    assert scale["scale"] == [1, 20, 20, 20]
    assert shift["translation"] == [0, 0, 5, 5]


def test_a_torn_shard_of_channels_is_found(tmp_path):
    path = tmp_path / "out.ome.zarr"
    output = begin(path)
    for shard in output.shards():
        output.write(shard, np.full((3, *shard.shape), 9, np.uint8))
    output.publish({})
    file = path / "0" / "c" / "0" / "0" / "1" / "0"
    file.write_bytes(file.read_bytes()[:-20])
    damaged = [found.file for _, _, found in verify_store(path) if found]
    assert damaged == ["0/c/0/0/1/0"]
