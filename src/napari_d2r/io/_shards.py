"""Shards of a store in the making: whole files, put in place in one step by whoever made them."""

from __future__ import annotations

import math
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from itertools import product
from pathlib import Path
from typing import Any

import zarr
from numpy.typing import NDArray

from napari_d2r.errors import DamagedError, InputError
from napari_d2r.io._disk import sync_file, sync_folder
from napari_d2r.io._lazy import READ_ERRORS
from napari_d2r.io._pyramid import coarsened

__all__ = [
    "NUM_FILES",
    "Shard",
    "ShardStore",
    "aside_of",
    "coarser_values",
    "damage_in_words",
    "sweep",
]

# Attribute of an array of ours: how many of its shards have a file; those of zeros have none.
NUM_FILES = "num_files"

_LOOK_S = 0.2  # between two looks at a file
_MOST_SHARDS = 10**6  # 130 TB of 512 voxels per edge; no file system likes more files

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work: one file of the store, voxels [start, stop) of its level in (z, y, x)."""

    index: int
    start: Triple
    stop: Triple
    level: int = 0

    @property
    def shape(self) -> Triple:
        """Lengths along z, y, x; shorter at the far ends of the volume."""
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x


class ShardStore:
    """One level of a store that is being filled, by one process or by many.

    Equal shards may be put twice, by a worker that was thought lost say: each comes in one
    step, and is the same.

    Raises
    ------
    InputError
        For an array of more shards than can be listed.
    """

    def __init__(self, folder: Path, level: int = 0) -> None:
        self.folder, self._level = folder, level
        self.array = _open_level(folder, level)
        assert self.array.shards is not None
        z, y, x = self.array.shards[-3:]
        self._edges: Triple = (z, y, x)
        lengths = zip(self.array.shape[-3:], self._edges, strict=True)
        count = math.prod(-(-length // edge) for length, edge in lengths)
        if count > _MOST_SHARDS:
            raise InputError(
                f"{folder.name} has {count:.3g} shards; at most {_MOST_SHARDS:,} can be kept, so "
                "begin anew with a larger --shard."
            )
        self._safe = {folder}  # folders whose own names have reached the disk

    def shards(self) -> list[Shard]:
        """Every shard, z slowest; each holds all channels."""
        return self.across(tuple(slice(0, length) for length in self.array.shape))

    def across(self, box: tuple[slice, ...]) -> list[Shard]:
        """The shards that hold voxels of a box of the array, z slowest."""
        (depth, height, width), (a, b, c) = self.array.shape[-3:], self._edges
        rows, columns = -(-height // b), -(-width // c)
        places = product(
            *(
                range(part.start // edge, -(-part.stop // edge))
                for part, edge in zip(box[-3:], self._edges, strict=True)
            )
        )
        return [
            Shard(
                (z * rows + y) * columns + x,
                (z * a, y * b, x * c),
                (min(z * a + a, depth), min(y * b + b, height), min(x * c + c, width)),
                self._level,
            )
            for z, y, x in places
        ]

    def box(self, shard: Shard) -> tuple[slice, ...]:
        """What a shard is of the array, all channels."""
        channels = tuple(slice(0, count) for count in self.array.shape[:-3])
        return channels + tuple(slice(a, b) for a, b in zip(shard.start, shard.stop, strict=True))

    def put(
        self, shard: Shard, values: NDArray[Any], require_ours: Callable[[], None] = lambda: None
    ) -> int:
        """Write a whole shard; on return it would survive a power cut.

        Parameters
        ----------
        values
            Of the shape of the shard, after channels if there are any, and the type of the array.
        require_ours
            Called at the last moment, so that it may raise where the store is of another run now.

        Returns
        -------
        int
            Bytes of its file; 0 where there is none, as for a shard of zeros.

        Raises
        ------
        OSError
            If the disk or the quota is full; what stood there before still does.
        """
        shape = (*self.array.shape[:-3], *shard.shape)
        if values.shape != shape or values.dtype != self.array.dtype:
            raise ValueError(
                f"Shard {shard.index} is {shape} {self.array.dtype}, "
                f"not {values.shape} {values.dtype}."
            )
        # zarr reads the index of an old shard before it replaces it, and fails on a torn one;
        # so the file is made elsewhere, where there is none.
        aside = aside_of(self.folder)
        try:
            about = Path(str(self._level)) / "zarr.json"
            (aside / about).parent.mkdir(parents=True)
            shutil.copyfile(self.folder / about, aside / about)
            _open_level(aside, self._level)[self.box(shard)] = values
            file = self.file(shard)
            made = aside / file.relative_to(self.folder)
            if made.exists():
                sync_file(made)
            require_ours()
            if made.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                made.replace(file)
            else:  # zarr leaves out a shard of zeros
                file.unlink(missing_ok=True)
            self._sync_names(file.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return self.size(shard)

    def _sync_names(self, parent: Path) -> None:
        """Return once the names in a folder, and its own, have reached the disk."""
        if parent.is_dir():  # none where all its shards are of zeros
            sync_folder(parent)
            while parent not in self._safe:
                self._safe.add(parent)
                parent = parent.parent
                sync_folder(parent)

    def size(self, shard: Shard) -> int:
        """Length of the file of a shard; 0 if there is none, as for a shard of zeros."""
        file = self.file(shard)
        return file.stat().st_size if file.is_file() else 0

    def require(self, sizes: Mapping[Shard, int], patience_s: float = 0.0) -> None:
        """Refuse to go on where zarr would read zeros, because the file of a shard is gone.

        Parameters
        ----------
        sizes
            Shards, and the listed length of the file of each.
        patience_s
            For how long, in seconds, a file may be seen late that another machine has put.

        Raises
        ------
        DamagedError
            If a file is of another length.
        """
        ends = time.monotonic() + patience_s
        for shard, listed in sizes.items():
            while (found := self.size(shard)) != listed:
                if time.monotonic() >= ends:
                    name = self.file(shard).relative_to(self.folder).as_posix()
                    raise _damaged(self.folder, f"{name} is {found} bytes long, not {listed}")
                time.sleep(_LOOK_S)

    def file(self, shard: Shard) -> Path:
        """Where a shard stands, if it has a file."""
        channels = [0] * (self.array.ndim - 3)
        position = channels + [a // b for a, b in zip(shard.start, self._edges, strict=True)]
        return self.folder / str(self._level) / "c" / "/".join(map(str, position))


def coarser_values(
    folder: Path, shard: Shard, sources: Mapping[Shard, int], patience_s: float = 0.0
) -> NDArray[Any]:
    """All voxels of a shard of a coarser level, as means of the level before.

    Parameters
    ----------
    folder
        The store.
    sources
        The shards that it is made of, and the listed length of the file of each.
    patience_s
        As `ShardStore.require` has it.

    Raises
    ------
    DamagedError
        If one of them does not hold what was written.
    """
    finer, coarser = ShardStore(folder, shard.level - 1), ShardStore(folder, shard.level)
    finer.require(sources, patience_s)
    with damage_in_words(folder):
        return coarsened(finer.array, coarser.array, coarser.box(shard))


def aside_of(folder: Path) -> Path:
    """A new name beside a store, for what is not whole yet or not whole any more."""
    return folder.with_name(f"{folder.name}.writing-{uuid.uuid4().hex}")


def sweep(folder: Path) -> None:
    """Delete what killed processes left beside a store, and of its metadata within it."""
    for aside in folder.parent.glob(f"{escape(folder.name)}.writing-*"):
        shutil.rmtree(aside, ignore_errors=True)
    for pattern in ("*.partial", "*/*.partial"):  # zarr's own, never renamed
        for torn in folder.glob(pattern):
            torn.unlink(missing_ok=True)


@contextmanager
def damage_in_words(folder: Path) -> Iterator[None]:
    """What reading a damaged shard raises, as one sentence; a full disk passes."""
    try:
        yield
    except READ_ERRORS as error:
        if isinstance(error, OSError):
            raise
        raise _damaged(folder, " ".join(str(error).split())) from error


def _damaged(folder: Path, reason: str) -> DamagedError:
    return DamagedError(
        f"A finished shard of {folder.name} is damaged ({reason}); "
        f"delete it by verify {folder.name} --mend, and go on with --resume."
    )


def _open_level(folder: Path, level: int) -> zarr.Array[Any]:
    return zarr.open_array(folder / str(level), mode="r+")
