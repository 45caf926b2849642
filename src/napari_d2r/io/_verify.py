"""Every byte of an OME-Zarr store of ours, read once and held against its checksums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zarr

from napari_d2r.errors import InputError
from napari_d2r.io._journal import Journal
from napari_d2r.io._lazy import READ_ERRORS
from napari_d2r.io._output import partial_of
from napari_d2r.io._shards import NUM_FILES, ShardStore

__all__ = ["DamagedShard", "forget", "unfinished_of", "verify_store"]


@dataclass(frozen=True, slots=True)
class DamagedShard:
    """A shard that does not hold what was written.

    Parameters
    ----------
    file
        Relative to the store.
    reason
        What is wrong with it, in words.
    """

    file: str
    reason: str


def verify_store(path: Path) -> Iterator[tuple[int, int, DamagedShard | None]]:
    """Read every shard of a store, or of an unfinished one: see `unfinished_of`.

    Of an unfinished store only the shards that its journal lists are looked at.

    Yields
    ------
    tuple
        How many shards are read, how many there are, and the last one if it is damaged.

    Raises
    ------
    InputError
        If there is no store of ours, or its metadata cannot be read.
    """
    unfinished = unfinished_of(path)
    folder, listed = path, None
    if unfinished is not None:
        folder = partial_of(unfinished)
        listed = Journal.open(partial_of(unfinished, journal=True)).sizes
    stores = _levels(path, folder)
    total = sum(len(store.shards()) if listed is None else len(listed) for store in stores)
    done = 0
    for store in stores:
        absent = []
        for shard in store.shards():
            key = shard.level, shard.index
            if listed is not None and key not in listed:
                continue
            done += 1
            reason, size = None, store.size(shard)
            file = store.file(shard)
            if listed is not None and listed[key] != size:
                reason = f"{size} bytes long, not {listed[key]}"
            elif not file.exists():
                absent.append(shard)
            elif size == 0:  # zarr would read zeros
                reason = "empty"
            else:
                try:
                    store.array[store.box(shard)]
                except READ_ERRORS as error:
                    reason = " ".join(str(error).split()) or type(error).__name__
            found = None if reason is None else DamagedShard(_name(file, folder), reason)
            yield done, total, found
        there = len(store.shards()) - len(absent)
        if listed is None and there < _num_files(store):
            for shard in absent:
                yield done, total, DamagedShard(_name(store.file(shard), folder), "missing")


def forget(path: Path, damaged: Iterable[DamagedShard]) -> None:
    """Delete damaged shards of an unfinished store, so that a resumed run computes them again."""
    unfinished = unfinished_of(path)
    assert unfinished is not None
    for shard in damaged:
        (partial_of(unfinished) / shard.file).unlink(missing_ok=True)


def unfinished_of(path: Path) -> Path | None:
    """The output whose unfinished store is meant, by its name or by that of the store itself.

    None for a finished store, which goes before an unfinished one that is to replace it.
    """
    if not path.is_dir():
        return path
    output = path.with_name(path.name.removesuffix(".partial"))
    return output if output != path and partial_of(output, journal=True).is_file() else None


def _levels(path: Path, folder: Path) -> list[ShardStore]:
    try:
        zarr.open_group(folder, mode="r")
        levels = sorted(int(one.name) for one in folder.iterdir() if one.name.isdigit())
        stores = [ShardStore(folder, level) for level in levels]
    except InputError:
        raise
    except (*READ_ERRORS, AssertionError) as error:
        raise InputError(
            f"{path} is no OME-Zarr store that super-resolve wrote, or its metadata is damaged."
        ) from error
    if not stores:
        raise InputError(f"{path} holds no image.")
    return stores


def _num_files(store: ShardStore) -> int:
    """How many there should be at least; 0 where nothing, or no number, says so."""
    attributes: object = store.array.metadata.attributes
    found = attributes.get(NUM_FILES) if isinstance(attributes, dict) else None
    return found if isinstance(found, int) else 0


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()
