"""The result while it fills, readable without waiting for the disk or the worker."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

MAX_HELD_BYTES = 2**30


class GrowingArray:
    """A zarr array whose finished blocks are also kept in memory, where all of it fits.

    The worker calls `take` for every block that it has written; the viewer reads from memory
    and never waits for zarr. Results larger than ``max_bytes`` are read from the store.
    """

    def __init__(self, stored: Any, max_bytes: int = MAX_HELD_BYTES) -> None:
        self._stored = stored
        self.shape: tuple[int, ...] = tuple(stored.shape)
        self.dtype, self.ndim = np.dtype(stored.dtype), len(stored.shape)
        fits = math.prod(self.shape) * self.dtype.itemsize <= max_bytes
        # zeros take no memory until they are written
        self._held = np.zeros(self.shape, self.dtype) if fits else None

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    def take(self, start: tuple[int, ...], stop: tuple[int, ...]) -> None:
        """Voxels [start, stop), of all channels, are in the store: keep them in memory too."""
        if self._held is not None:
            box: tuple[Any, ...] = (..., *(slice(a, b) for a, b in zip(start, stop, strict=True)))
            self._held[box] = self._stored[box]

    def take_all(self) -> None:
        """Keep everything that the store holds, shard by shard."""
        edges = self._stored.shards or self._stored.chunks
        starts = (range(0, n, edge) for n, edge in zip(self.shape, edges, strict=True))
        for start in product(*starts):
            stop = (min(a + e, n) for a, e, n in zip(start, edges, self.shape, strict=True))
            self.take(start, tuple(stop))

    def __getitem__(self, key: Any) -> Any:
        return np.asarray((self._stored if self._held is None else self._held)[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self[...], dtype)

    def __len__(self) -> int:
        return self.shape[0]
