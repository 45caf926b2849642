"""OME-Zarr 0.5 output that survives a crash: filled shard by shard, published whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from napari_d2r.errors import InputError
from napari_d2r.io._disk import disk_errors, sync_tree
from napari_d2r.io._journal import Journal, JournalHeader
from napari_d2r.io._lazy import READ_ERRORS
from napari_d2r.io._ome_metadata import AXES
from napari_d2r.io._output import OmeZarrOutput, levels_of, metadata_of, partial_of
from napari_d2r.io._owner import leave, refuse_if_filled_elsewhere, taken
from napari_d2r.io._shards import aside_of, sweep
from napari_d2r.io._whole_stores import delete_replaced, delete_store, refuse_existing
from napari_d2r.volumes import VoxelSize

__all__ = ["clear_remains", "create_output", "interrupted_shard"]

Triple = tuple[int, int, int]


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
    computed_on: str = "",
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
    computed_on
        Device and threads, in words; a resumed run keeps those that it began on.
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
        shape,
        np.dtype(dtype).name,
        shard,
        chunk,
        tuple(voxel_size),
        tuple(map(float, origin)),
        num_channels,
        computed_on,
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
                output = _unfinished(path, journal)
            except InputError:
                if not overwrite:
                    raise
            else:
                with taken(path):
                    journal.mend()
                    sweep(partial)
                    return output
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
    return header.shard if header is not None and partial_of(path).is_dir() else None


def clear_remains(path: Path) -> None:
    """Delete what a run leaves that is killed as soon as its result has its name.

    Raises
    ------
    InputError
        If another process is filling the store.
    """
    refuse_if_filled_elsewhere(path)
    with taken(path):
        _clear(path)
        delete_replaced(path)
    leave(path)


def _clear(path: Path) -> None:
    partial = partial_of(path)
    sweep(partial)
    partial_of(path, journal=True).unlink(missing_ok=True)
    if partial.exists():
        delete_store(partial)


def _begun(path: Path, header: JournalHeader) -> OmeZarrOutput:
    """An empty store, in place of what an interrupted run left."""
    _clear(path)
    partial, levels = partial_of(path), levels_of(header)
    aside = aside_of(partial)
    group = zarr.create_group(store=aside, zarr_format=3)
    for number, level in enumerate(levels):
        _create_array(group, str(number), level.shape, header)
    group.attrs["ome"] = metadata_of(path, levels[:1], header)
    sync_tree(aside)
    aside.rename(partial)  # whole, or not at all
    journal = Journal.create(partial_of(path, journal=True), header)
    return _unfinished(path, journal)


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
    )


def _unfinished(path: Path, journal: Journal) -> OmeZarrOutput:
    try:
        return OmeZarrOutput(path, journal)
    except InputError:
        raise
    except READ_ERRORS as error:
        raise InputError(
            f"The metadata of {partial_of(path)} are damaged; start again with --overwrite."
        ) from error
