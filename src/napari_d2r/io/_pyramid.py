"""Coarser levels of an OME-Zarr image, computed without holding the volume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_d2r.volumes import to_dtype

__all__ = [
    "Level",
    "box_above",
    "boxes",
    "coarsened",
    "fill_levels",
    "halve",
    "ome_zarr_num_bytes",
    "ome_zarr_num_files",
    "pyramid_levels",
]

_COARSEST = 256  # the longest axis of the last level
_SHORTEST = 64  # an axis below this is not halved any more


@dataclass(frozen=True, slots=True)
class Level:
    """One level: its shape, and how many voxels of level 0 each of its voxels spans."""

    shape: tuple[int, int, int]
    spans: tuple[int, int, int]


def pyramid_levels(shape: tuple[int, int, int]) -> list[Level]:
    """All levels, the given one first, until the longest axis is 256 or less.

    An odd axis of n voxels becomes (n + 1) / 2: the last voxel then covers one only.
    """
    levels = [Level(shape, (1, 1, 1))]
    while max(levels[-1].shape) > _COARSEST:
        last = levels[-1]
        steps = [2 if length >= _SHORTEST else 1 for length in last.shape]
        z, y, x = (-(-n // step) for n, step in zip(last.shape, steps, strict=True))
        a, b, c = (span * step for span, step in zip(last.spans, steps, strict=True))
        levels.append(Level((z, y, x), (a, b, c)))
    return levels


def boxes(shape: tuple[int, ...], edge: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Boxes of ``edge`` that cover ``shape``, cut at its end, x fastest."""
    starts = (range(0, length, step) for length, step in zip(shape, edge, strict=True))
    for corner in product(*starts):
        yield tuple(
            slice(a, min(a + step, length))
            for a, step, length in zip(corner, edge, shape, strict=True)
        )


def halve(values: NDArray[Any], steps: tuple[int, ...]) -> NDArray[Any]:
    """Mean over ``steps`` (1 or 2) voxels per axis; integers rounded, halves to even.

    At an odd end the mean is over the voxels that are there.
    """
    mean: NDArray[Any] = values.astype(np.float64 if values.dtype == np.float64 else np.float32)
    for axis, step in enumerate(steps):
        if step == 2:
            if mean.shape[axis] % 2:
                last = mean.take([-1], axis)
                mean = np.concatenate([mean, last], axis)
            even = mean.take(range(0, mean.shape[axis], 2), axis)
            odd = mean.take(range(1, mean.shape[axis], 2), axis)
            mean = (even + odd) / 2
    return to_dtype(mean, values.dtype)


def fill_levels(arrays: Sequence[zarr.Array[Any]]) -> Iterator[tuple[int, int]]:
    """Fill all arrays but the first, each from the one before it; channels stay apart.

    Yields how many shards (chunks, where there are none) are written, and how many there are.
    """
    passes = [
        (finer, coarser, list(boxes(coarser.shape, coarser.shards or coarser.chunks)))
        for finer, coarser in pairwise(arrays)
    ]
    done, total = 0, sum(len(parts) for _, _, parts in passes)
    for finer, coarser, parts in passes:
        for box in parts:
            coarser[box] = coarsened(finer, coarser, box)
            done += 1
            yield done, total


def coarsened(
    finer: zarr.Array[Any], coarser: zarr.Array[Any], box: tuple[slice, ...]
) -> NDArray[Any]:
    """What ``box`` of ``coarser``, which begins at a chunk, is of ``finer``.

    The memory needed is the box and the eight chunks above one of its own.
    """
    steps = _steps(finer.shape, coarser.shape)
    values = np.empty([part.stop - part.start for part in box], coarser.dtype)
    for part in boxes(values.shape, coarser.chunks):
        chunk = tuple(
            slice(at.start + inner.start, at.start + inner.stop)
            for at, inner in zip(box, part, strict=True)
        )
        source = finer[box_above(chunk, finer.shape, coarser.shape)]
        values[part] = halve(np.asarray(source), steps)
    return values


def box_above(
    box: tuple[slice, ...], finer: tuple[int, ...], coarser: tuple[int, ...]
) -> tuple[slice, ...]:
    """The voxels of a level of shape ``finer`` that a box of the next one is made of."""
    return tuple(
        slice(part.start * step, min(part.stop * step, length))
        for part, step, length in zip(box, _steps(finer, coarser), finer, strict=True)
    )


def _steps(finer: tuple[int, ...], coarser: tuple[int, ...]) -> tuple[int, ...]:
    """How many voxels of a level make one of the next, per axis: 1 or 2."""
    return tuple(1 if n == half else 2 for n, half in zip(finer, coarser, strict=True))


def ome_zarr_num_bytes(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
    """Most that an output of this shape takes on disk: all levels, uncompressed."""
    return sum(math.prod(level.shape) for level in pyramid_levels(shape)) * dtype.itemsize


def ome_zarr_num_files(shape: tuple[int, int, int], shard: tuple[int, int, int]) -> int:
    """Most files and folders that an output of this shape takes, all levels in such shards."""
    num_files = 4  # folder and metadata of the group, the journal, the file of whoever fills it
    for level in pyramid_levels(shape):
        z, y, x = (-(-n // edge) for n, edge in zip(level.shape, shard, strict=True))
        num_files += 3 + z + z * y + z * y * x
    return num_files
