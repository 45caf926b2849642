"""An OME-Zarr store in the making: shards are put, listed and trusted, and at last published."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_d2r.errors import DamagedError
from napari_d2r.io._disk import disk_errors, sync_file, sync_folder
from napari_d2r.io._journal import Claim, Journal, JournalHeader
from napari_d2r.io._ome_metadata import image_metadata
from napari_d2r.io._owner import leave
from napari_d2r.io._provenance import PROVENANCE
from napari_d2r.io._pyramid import Level, box_above, pyramid_levels
from napari_d2r.io._shards import (
    NUM_FILES,
    Shard,
    ShardStore,
    coarser_values,
    damage_in_words,
    sweep,
)
from napari_d2r.io._whole_stores import delete_store, move_into_place
from napari_d2r.volumes import VoxelSize

__all__ = ["OmeZarrOutput", "SharedOutput", "levels_of", "metadata_of", "partial_of"]

_SLAB_BYTES = 2**29
# Until a network file system surely shows what another machine has put: NFS keeps for a minute
# at most what it knows of a folder.
_SEEN_S = 60.0
_KEPT = "finished shards are kept; free some space and go on with --resume."


@dataclass(frozen=True, slots=True)
class SharedOutput:
    """What other processes must know to put shards into an `OmeZarrOutput`; small, to be sent.

    Parameters
    ----------
    path
        Final name of the store, absolute.
    claim
        Of the run that fills it.
    """

    path: Path
    claim: Claim

    @property
    def folder(self) -> Path:
        """The store being filled."""
        return partial_of(self.path)

    def put(self, shard: Shard, values: NDArray[Any]) -> int:
        """As `OmeZarrOutput.put`."""
        self.claim.require()
        with disk_errors(self.path, _KEPT):
            return ShardStore(self.folder, shard.level).put(shard, values, self.claim.require)

    def coarsened(self, shard: Shard, sources: Mapping[Shard, int]) -> NDArray[Any]:
        """As `OmeZarrOutput.coarsened`, but patient: others may have put the sources just now."""
        return coarser_values(self.folder, shard, sources, _SEEN_S)


class OmeZarrOutput:
    """A store in the making; see `create_output`.

    These lie side by side::

        out.ome.zarr                 appears in one step, by `publish`
        out.ome.zarr.partial/        the store being filled, itself valid OME-Zarr
        out.ome.zarr.partial.jsonl   the journal of finished shards
        out.ome.zarr.partial.pid     which process fills it, until `release`

    A shard is the smallest thing zarr writes atomically, so it is written whole, by one
    writer, and listed only once its bytes are on disk.
    """

    def __init__(self, path: Path, journal: Journal) -> None:
        assert journal.header is not None
        self.path = path
        self._journal = journal
        self._header = journal.header
        self._noted: list[Shard] = []  # since it was created or resumed
        self._open(partial_of(path))

    def _open(self, folder: Path) -> None:
        self._folder = folder
        self._group = zarr.open_group(store=folder, mode="r+", use_consolidated=False)
        levels = range(len(levels_of(self._header)))
        self._stores = [ShardStore(folder, level) for level in levels]

    @property
    def partial_path(self) -> Path:
        """The store being filled; moved by `publish`."""
        return self._folder

    @property
    def array(self) -> zarr.Array[Any]:
        """Level 0, (z, y, x) or (c, z, y, x); take it anew after `publish`."""
        return self._stores[0].array

    @property
    def identity(self) -> str:
        """Digest of input, model and settings, as `create_output` was given it."""
        return self._header.identity

    @property
    def origin(self) -> tuple[float, ...]:
        """Where the centre of the first voxel stands, in nm (z, y, x)."""
        return self._header.origin

    @property
    def computed_on(self) -> str:
        """Device and threads that the run began on, as `create_output` was given them."""
        return self._header.computed_on

    @property
    def shared(self) -> SharedOutput:
        """For processes that put shards into it; this one lists them by `note`."""
        return SharedOutput(self.path.resolve(), self._journal.claim)

    @property
    def done(self) -> frozenset[int]:
        """Indices of the shards of level 0 for which `is_done` holds."""
        return frozenset(shard.index for shard in self.shards() if self.is_done(shard))

    def is_done(self, shard: Shard) -> bool:
        """Whether a shard is finished, and its file as long as it was left."""
        listed = self._journal.sizes.get((shard.level, shard.index))
        return listed == self._stores[shard.level].size(shard)

    def shards(self) -> list[Shard]:
        """Every shard of level 0, z slowest."""
        return self._stores[0].shards()

    def coarser_shards(self) -> list[list[Shard]]:
        """Those of each coarser level, which is made of the one before it."""
        return [store.shards() for store in self._stores[1:]]

    def sources(self, shard: Shard) -> dict[Shard, int]:
        """What a shard of a coarser level is made of, as `coarser_values` takes it."""
        if shard.level == 0:
            return {}
        finer, coarser = self._stores[shard.level - 1 : shard.level + 1]
        box = box_above(coarser.box(shard), finer.array.shape, coarser.array.shape)
        return self._listed(finer.across(box))

    def _listed(self, shards: Iterable[Shard]) -> dict[Shard, int]:
        return {one: self._journal.sizes[one.level, one.index] for one in shards}

    def coarsened(self, shard: Shard) -> NDArray[Any]:
        """What a shard of a coarser level holds, read from the level before.

        Raises
        ------
        DamagedError
            If that does not hold any more what was written.
        """
        return coarser_values(self._folder, shard, self.sources(shard))

    def write(self, shard: Shard, values: NDArray[Any]) -> None:
        """Write all voxels of a shard and list it; on return both would survive a power cut.

        Parameters
        ----------
        shard
            One of `shards` or `coarser_shards`.
        values
            Of the shape of the shard, after channels if there are any, and the type of the output.

        Raises
        ------
        DiskFullError
            If the disk or the quota is full; the shard is then not listed as done.
        InputError
            If another program, on another machine say, has begun this output anew.
        """
        self.note(shard, self.put(shard, values))

    def put(self, shard: Shard, values: NDArray[Any]) -> int:
        """As `write`, but not listed yet; returns the length of its file in bytes."""
        self._journal.require_ours()
        with disk_errors(self.path, _KEPT):
            return self._stores[shard.level].put(shard, values, self._journal.require_ours)

    def note(self, shard: Shard, num_bytes: int) -> None:
        """List a shard that somebody has put into `partial_path`, and the length of its file."""
        with disk_errors(self.path, _KEPT):
            self._journal.add(shard.level, shard.index, num_bytes)
        self._noted.append(shard)

    def await_seen(self) -> None:
        """Return once this machine sees what others have put.

        Raises
        ------
        DamagedError
            If it still does not after a minute.
        """
        for shard, size in self._listed(self._noted).items():
            self._stores[shard.level].require({shard: size}, _SEEN_S)

    def distrust(self) -> None:
        """Forget, and delete, what was written since this output was created or resumed."""
        self._journal.mend()
        for shard in self._noted:
            self._stores[shard.level].file(shard).unlink(missing_ok=True)

    def slices(self) -> Iterator[NDArray[Any]]:
        """XY slices of a level 0 without channels, in slabs of one chunk or at most 512 MiB.

        Raises
        ------
        DamagedError
            If a shard does not hold any more what was written.
        """
        num_slices, height, width = self.array.shape
        slice_bytes = height * width * self.array.dtype.itemsize
        thickness = max(1, min(self.array.chunks[0], _SLAB_BYTES // slice_bytes))
        for start in range(0, num_slices, thickness):
            stop = min(start + thickness, num_slices)
            box = slice(start, stop), slice(0, height), slice(0, width)
            self._stores[0].require(self._listed(self._stores[0].across(box)))
            with damage_in_words(self._folder):
                slab = np.asarray(self.array[box])
            yield from slab

    def release(self) -> None:
        """Let other processes go on with it."""
        leave(self.path)

    def discard(self) -> None:
        """Delete the unfinished store and its journal, once nobody needs them."""
        partial_of(self.path, journal=True).unlink(missing_ok=True)
        delete_store(partial_of(self.path))
        sweep(partial_of(self.path))
        self.release()

    def publish(self, attributes: Mapping[str, object]) -> Path:
        """`publish_stream` to its end; returns the path of the published store."""
        for _ in self.publish_stream(attributes):
            pass
        return self.path

    def publish_stream(
        self, attributes: Mapping[str, object]
    ) -> Generator[tuple[int, int], None, None]:
        """Add what is missing of the coarser levels, and give the store its final name.

        An older one is gone then. Whoever stops listening leaves a store that is not published,
        but can be.

        Parameters
        ----------
        attributes
            Provenance, as JSON takes it; stored under ``napari_d2r`` in the group.

        Yields
        ------
        tuple of int
            How many shards of the coarser levels are written, and how many there are.

        Raises
        ------
        DiskFullError
            If the coarser levels do not fit; publishing can begin again.
        DamagedError
            If a shard is missing, or does not hold any more what was written.
        """
        self._journal.require_ours()
        missing = len(self.shards()) - len(self.done)
        if missing:
            raise DamagedError(
                f"{missing} shards of {self._folder.name} are missing or were changed by another "
                "program; go on with --resume, which computes them."
            )
        coarser = list(chain.from_iterable(self.coarser_shards()))
        for number, shard in enumerate(coarser, start=1):
            if not self.is_done(shard):
                self.write(shard, self.coarsened(shard))
            yield number, len(coarser)
        with disk_errors(self.path, _KEPT):
            folders = [self._folder / str(level) for level in range(len(self._stores))]
            for store, folder in zip(self._stores, folders, strict=True):
                # What a later look at the store holds against its files.
                store.array.attrs[NUM_FILES] = _num_files(folder)
            levels = levels_of(self._header)
            self._group.attrs["ome"] = metadata_of(self.path, levels, self._header)
            self._group.attrs[PROVENANCE] = cast("dict[str, Any]", dict(attributes))
            sweep(self._folder)
            for about in (self._folder, *folders):
                sync_file(about / "zarr.json")
                sync_folder(about)
            move_into_place(self._folder, self.path)
        partial_of(self.path, journal=True).unlink(missing_ok=True)
        self.release()
        self._open(self.path)


def partial_of(path: Path, *, journal: bool = False) -> Path:
    """The store that is being filled for ``path``, or the journal beside it."""
    return path.with_name(f"{path.name}.partial{'.jsonl' if journal else ''}")


def levels_of(header: JournalHeader) -> list[Level]:
    """All levels of the image that a journal belongs to, the finest first."""
    return pyramid_levels(header.shape)


def metadata_of(path: Path, levels: list[Level], header: JournalHeader) -> dict[str, Any]:
    """What the group says of these of its levels."""
    size, has_channels = VoxelSize(*header.voxel_size), header.num_channels is not None
    return image_metadata(path.name, levels, size, header.origin, has_channels=has_channels)


def _num_files(level: Path) -> int:
    return sum(file.is_file() for file in (level / "c").rglob("*"))
