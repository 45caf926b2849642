"""What a target of fuzzing is, and the small volume that its seeds hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_d2r.io import OmeZarrOutput, create_output, open_volume, probe
from napari_d2r.volumes import VoxelSize

VOXEL = VoxelSize(40, 10, 10)
VALUES = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)


@dataclass(frozen=True)
class Target:
    """A parser: how bytes are given to it, and valid ones to begin with.

    Parameters
    ----------
    feed
        Takes the bytes and a folder that outlives them; what is there may be written over.
    seeds
        Makes valid bytes, in an empty folder.
    """

    feed: Callable[[bytes, Path], None]
    seeds: Callable[[Path], list[bytes]]


def begun(path: Path, *, resume: bool = False) -> OmeZarrOutput:
    """A result that waits for its one shard, in place of an older one unless that is resumed."""
    return create_output(
        path,
        shape=VALUES.shape,
        dtype="uint8",
        voxel_size=VOXEL,
        identity="",
        shard=VALUES.shape,
        chunk=8,
        resume=resume,
        overwrite=not resume,
    )


def looked_at(path: Path | str) -> None:
    """As much as a look at a file takes."""
    probe(path)
    volume = open_volume(path, voxel_size=VOXEL)
    volume.read(slice(0, 1), slice(0, 64), slice(0, 64))
