"""Neuroglancer's precomputed volumes: a file ``info``, and one raw file per chunk.

As its specification of volumes says: x varies fastest, chunks at the ends are cut, and a voxel
covers the unit of space from its coordinate to the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.io._pyramid import Level
from napari_d2r.volumes import VoxelSize

__all__ = ["PrecomputedScale", "write_info"]

Box = tuple[slice, ...]


class PrecomputedScale:
    """One level, written and read by boxes (z, y, x) of whole chunks, like a zarr array."""

    def __init__(
        self,
        folder: Path,
        level: Level,
        voxel_size: VoxelSize,
        offset: tuple[int, int, int],
        dtype: np.dtype[Any],
        chunk: int,
    ) -> None:
        self.shape, self.dtype, self.shards, self.ndim = level.shape, dtype, None, 3
        self.chunks = tuple(min(chunk, length) for length in level.shape)
        self._resolution = [edge * k for edge, k in zip(voxel_size, level.spans, strict=True)]
        self._offset = [start // k for start, k in zip(offset, level.spans, strict=True)]
        self.key = "_".join(f"{edge:g}" for edge in reversed(self._resolution))
        self._folder = folder / self.key

    def __setitem__(self, box: Box, values: NDArray[Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        starts = [part.start for part in box]
        for chunk in self._chunks(box):
            inner = tuple(
                slice(part.start - start, part.stop - start)
                for part, start in zip(chunk, starts, strict=True)
            )
            little = np.ascontiguousarray(values[inner], self.dtype.newbyteorder("<"))
            self._file(chunk).write_bytes(little.tobytes())  # (z, y, x) in C order: x is fastest

    def __getitem__(self, box: Box) -> NDArray[Any]:
        whole = np.empty([part.stop - part.start for part in box], self.dtype)
        for chunk in self._chunks(box):
            shape = [part.stop - part.start for part in chunk]
            stored = np.frombuffer(self._file(chunk).read_bytes(), self.dtype.newbyteorder("<"))
            meet = [
                slice(max(a.start, b.start), min(a.stop, b.stop))
                for a, b in zip(chunk, box, strict=True)
            ]
            within, into = (
                tuple(
                    slice(m.start - part.start, m.stop - part.start)
                    for m, part in zip(meet, parts, strict=True)
                )
                for parts in (chunk, box)
            )
            whole[into] = stored.reshape(shape)[within]
        return whole

    def about(self) -> dict[str, Any]:
        """Its entry in ``info``; everything there is in x, y, z."""
        return {
            "key": self.key,
            "size": list(reversed(self.shape)),
            "resolution": list(reversed(self._resolution)),
            "voxel_offset": list(reversed(self._offset)),
            "chunk_sizes": [list(reversed(self.chunks))],
            "encoding": "raw",
        }

    def _chunks(self, box: Box) -> list[Box]:
        """The chunks that a box touches, cut at the ends of the volume."""
        runs = (
            range(part.start // edge * edge, part.stop, edge)
            for part, edge in zip(box, self.chunks, strict=True)
        )
        return [
            tuple(
                slice(start, min(start + edge, length))
                for start, edge, length in zip(corner, self.chunks, self.shape, strict=True)
            )
            for corner in product(*runs)
        ]

    def _file(self, chunk: Box) -> Path:
        parts = zip(chunk, self._offset, strict=True)
        names = [f"{part.start + first}-{part.stop + first}" for part, first in parts]
        return self._folder / "_".join(reversed(names))


def write_info(folder: Path, scales: Sequence[PrecomputedScale]) -> None:
    """Describe a volume of these scales, the finest first."""
    folder.mkdir(parents=True, exist_ok=True)
    info = {
        "@type": "neuroglancer_multiscale_volume",
        "type": "image",
        "data_type": scales[0].dtype.name,
        "num_channels": 1,
        "scales": [scale.about() for scale in scales],
    }
    (folder / "info").write_text(json.dumps(info, indent=1), "utf-8")
