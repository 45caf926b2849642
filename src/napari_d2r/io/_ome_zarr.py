"""OME-Zarr 0.5 output that survives a crash: filled shard by shard, published whole."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from napari_d2r.errors import DamagedError, InputError
from napari_d2r.io._disk import disk_errors, sync_file, sync_folder, sync_tree
from napari_d2r.io._journal import Journal, JournalHeader
from napari_d2r.io._lazy import READ_ERRORS
from napari_d2r.io._ome_metadata import AXES, image_metadata
from napari_d2r.io._owner import leave, refuse_if_filled_elsewhere, taken
from napari_d2r.io._provenance import PROVENANCE
from napari_d2r.io._pyramid import Level, fill_levels, pyramid_levels
from napari_d2r.io._shards import NUM_FILES, Shard, ShardStore, aside_of, sweep
from napari_d2r.io._whole_stores import delete_store, move_into_place, refuse_existing
from napari_d2r.volumes import VoxelSize

__all__ = ["OmeZarrOutput", "Shard", "create_output", "interrupted_shard"]

_SLAB_BYTES = 2**29
_KEPT = "finished shards are kept; free some space and go on with --resume."

Triple = tuple[int, int, int]


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

    def __init__(self, path: Path, group: zarr.Group, journal: Journal) -> None:
        assert journal.header is not None
        self.path = path
        self._folder = partial_of(path)
        self._group = group
        self._journal = journal
        self._header = journal.header
        self._array = _array(group, "0")
        self._store = ShardStore(self._folder)
        self._noted: set[int] = set()  # since it was created or resumed

    @property
    def partial_path(self) -> Path:
        """The store being filled; moved by `publish`."""
        return self._folder

    @property
    def array(self) -> zarr.Array[Any]:
        """Level 0, (z, y, x) or (c, z, y, x); take it anew after `publish`."""
        return self._array

    @property
    def identity(self) -> str:
        """Digest of input, model and settings, as `create_output` was given it."""
        return self._header.identity

    @property
    def done(self) -> frozenset[int]:
        """Indices of the shards that are finished, and whose files are as they were left."""
        return frozenset(
            shard.index
            for shard in self.shards()
            if self._journal.sizes.get(shard.index) == self._store.size(shard)
        )

    def shards(self) -> list[Shard]:
        """Every shard of level 0, z slowest."""
        return self._store.shards()

    def write(self, shard: Shard, values: NDArray[Any]) -> None:
        """Write all voxels of a shard and list it; on return both would survive a power cut.

        Parameters
        ----------
        shard
            One of `shards`.
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
        with disk_errors(self.path, _KEPT):
            self._journal.require_ours()
            return self._store.put(shard, values)

    def note(self, shard: Shard, num_bytes: int) -> None:
        """List a shard that somebody has put into `partial_path`, and the length of its file."""
        with disk_errors(self.path, _KEPT):
            self._journal.add(shard.index, num_bytes)
        self._noted.add(shard.index)

    def distrust(self) -> None:
        """Forget, and delete, what was written since this output was created or resumed."""
        self._journal.mend()
        for shard in self.shards():
            if shard.index in self._noted:
                self._store.file(shard).unlink(missing_ok=True)

    def slices(self) -> Iterator[NDArray[Any]]:
        """XY slices of a level 0 without channels, in slabs of one chunk or at most 512 MiB.

        Raises
        ------
        DamagedError
            If a shard does not hold any more what was written.
        """
        num_slices, height, width = self._array.shape
        slice_bytes = height * width * self._array.dtype.itemsize
        thickness = max(1, min(self._array.chunks[0], _SLAB_BYTES // slice_bytes))
        for start in range(0, num_slices, thickness):
            with _damage_in_words(self._folder):
                slab = np.asarray(self._array[start : start + thickness])
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
        """Add the coarser levels and give the store its final name; an older one is gone then.

        Whoever stops listening leaves a store that is not published, but can be.

        Parameters
        ----------
        attributes
            Provenance, as JSON takes it; stored under ``napari_d2r`` in the group.

        Yields
        ------
        tuple of int
            How many chunks of the coarser levels are computed, and how many there are.

        Raises
        ------
        DiskFullError
            If the coarser levels do not fit; publishing can begin again.
        DamagedError
            If a shard does not hold any more what was written.
        """
        self._journal.require_ours()
        missing = len(self.shards()) - len(self.done)
        if missing:
            raise ValueError(f"{missing} shards of {self.path.name} are not written yet.")
        levels = pyramid_levels(_triple(self._header.shape))
        with disk_errors(self.path, _KEPT):
            arrays = [self._array] + [
                _create_array(self._group, str(number), level.shape, self._header)
                for number, level in enumerate(levels[1:], start=1)
            ]
            with _damage_in_words(self._folder):
                yield from fill_levels(levels, arrays)
            for array in arrays:  # what a later look at the store holds against its files
                array.attrs[NUM_FILES] = _num_files(self._folder / array.basename)
            self._group.attrs["ome"] = _ome(self.path, levels, self._header)
            self._group.attrs[PROVENANCE] = cast("dict[str, Any]", dict(attributes))
            sweep(self._folder)
            for number in range(1, len(levels)):
                sync_tree(self._folder / str(number))
            for about in (self._folder, self._folder / "0"):
                sync_file(about / "zarr.json")
                sync_folder(about)
            move_into_place(self._folder, self.path)
        partial_of(self.path, journal=True).unlink(missing_ok=True)
        self.release()
        self._folder = self.path
        self._group = zarr.open_group(store=self.path, mode="r", use_consolidated=False)
        self._array = _array(self._group, "0")


def create_output(
    path: str | Path,
    *,
    shape: Triple,
    dtype: Any,
    voxel_size: VoxelSize,
    identity: str,
    shard: Triple,
    chunk: int = 64,
    origin: tuple[float, ...] = (0.0, 0.0, 0.0),
    num_channels: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> OmeZarrOutput:
    """Begin an OME-Zarr 0.5 image, or go on with one that was interrupted.

    Parameters
    ----------
    path
        Final name of the store.
    shape, dtype
        Of level 0, in (z, y, x).
    voxel_size
        In nm.
    identity
        Digest of input, model and settings; a resumed run must have the same.
    shard
        Voxels per file, each a multiple of ``chunk`` (or less than it).
    chunk
        Edge of the cube that is compressed by itself.
    origin
        Where the centre of the first voxel stands, in nm (z, y, x).
    num_channels
        Of a volume with channels: its arrays are (c, z, y, x), and a shard holds all of them.
    resume
        Keep the finished shards of an interrupted run, if there are any.
    overwrite
        Replace an existing store, once the new one is published, and drop the remains of
        an interrupted run; with ``resume`` only where they cannot be gone on with.

    Raises
    ------
    InputError
        If the output exists, an interrupted run is in the way, the run to resume had
        another input, model or settings, or another process is filling the store.
    DiskFullError
        If not even the empty store fits.
    """
    path = Path(path)
    header = JournalHeader(
        identity,
        tuple(shape),
        np.dtype(dtype).name,
        tuple(shard),
        chunk,
        tuple(voxel_size),
        tuple(map(float, origin)),
        num_channels,
    )
    if any(edge % min(chunk, edge) for edge in shard) or min(*shape, *shard, chunk) < 1:
        raise ValueError(f"Shards of {shard} are not whole chunks of {chunk}.")
    refuse_existing(path, overwrite=overwrite)
    refuse_if_filled_elsewhere(path)
    journal = Journal.open(partial_of(path, journal=True))
    partial = partial_of(path)
    if journal.header is not None and partial.is_dir():
        if resume and journal.header == header:
            try:
                group = _unfinished(partial)
            except InputError:
                if not overwrite:
                    raise
            else:
                with taken(path):
                    journal.mend()
                    sweep(partial)
                    return OmeZarrOutput(path, group, journal)
        elif resume and not overwrite:
            raise InputError(
                f"{path.name} cannot be resumed, because the input, the model or the settings "
                "changed; repeat them as they were, or start again with --overwrite."
            )
        if journal.sizes and not overwrite:
            raise InputError(
                f"{path.name} was begun by an interrupted run ({len(journal.sizes)} shards are "
                "finished); go on with --resume, or start again with --overwrite."
            )
    with disk_errors(path, "nothing is lost; free some space and try again."):
        partial.parent.mkdir(parents=True, exist_ok=True)
        with taken(path):
            return _begun(path, header)


def interrupted_shard(path: str | Path) -> Triple | None:
    """Edges of the shards of an interrupted run that could be resumed, or None."""
    path = Path(path)
    header = Journal.open(partial_of(path, journal=True)).header
    return _triple(header.shard) if header is not None and partial_of(path).is_dir() else None


def partial_of(path: Path, *, journal: bool = False) -> Path:
    """The store that is being filled for ``path``, or the journal beside it."""
    return path.with_name(f"{path.name}.partial{'.jsonl' if journal else ''}")


def _begun(path: Path, header: JournalHeader) -> OmeZarrOutput:
    """An empty store, in place of what an interrupted run left."""
    partial, shape = partial_of(path), _triple(header.shape)
    sweep(partial)
    partial_of(path, journal=True).unlink(missing_ok=True)
    if partial.exists():
        delete_store(partial)
    aside = aside_of(partial)
    group = zarr.create_group(store=aside, zarr_format=3)
    _create_array(group, "0", shape, header)
    group.attrs["ome"] = _ome(path, [Level(shape, (1, 1, 1))], header)
    sync_tree(aside)
    aside.rename(partial)  # whole, or not at all
    journal = Journal.create(partial_of(path, journal=True), header)
    return OmeZarrOutput(path, _unfinished(partial), journal)


def _ome(path: Path, levels: list[Level], header: JournalHeader) -> dict[str, Any]:
    size, has_channels = VoxelSize(*header.voxel_size), header.num_channels is not None
    return image_metadata(path.name, levels, size, header.origin, has_channels=has_channels)


def _num_files(level: Path) -> int:
    return sum(file.is_file() for file in (level / "c").rglob("*"))


def _triple(values: tuple[int, ...]) -> Triple:
    z, y, x = (int(value) for value in values)
    return z, y, x


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def _create_array(
    group: zarr.Group, name: str, shape: Triple, header: JournalHeader
) -> zarr.Array[Any]:
    """One level: cubes of `chunk` in shards, every byte under a checksum."""
    channels = () if header.num_channels is None else (header.num_channels,)
    return group.create_array(
        name,
        shape=(*channels, *shape),
        dtype=header.dtype,
        chunks=(1,) * len(channels) + tuple(min(header.chunk, edge) for edge in header.shard),
        shards=(*channels, *header.shard),
        # Level 1: grey noise packs no better at the default 3, and takes twice the time.
        compressors=ZstdCodec(level=1, checksum=True),
        fill_value=0,
        dimension_names=("c",) * len(channels) + AXES,
        overwrite=True,
    )


def _unfinished(partial: Path) -> zarr.Group:
    try:
        group = zarr.open_group(store=partial, mode="r+", use_consolidated=False)
        _array(group, "0")
        return group
    except READ_ERRORS as error:
        raise InputError(
            f"The metadata of {partial} are damaged; start again with --overwrite."
        ) from error


@contextmanager
def _damage_in_words(folder: Path) -> Iterator[None]:
    """What reading a damaged shard raises, as one sentence; a full disk passes."""
    try:
        yield
    except READ_ERRORS as error:
        if isinstance(error, OSError):
            raise
        raise DamagedError(
            f"A finished shard of {folder.name} is damaged ({' '.join(str(error).split())}); "
            f"delete it by verify {folder.name} --mend, and go on with --resume."
        ) from error
