"""What the name of an output asks for: a store, or one file that is made of a whole store."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from napari_d2r.errors import InputError
from napari_d2r.io import HDF5_SUFFIXES, OmeZarrOutput, save_hdf5_stream, save_tiff_stream
from napari_d2r.volumes import VoxelSize

__all__ = ["check_output", "is_one_file", "kind_of_file", "save_as_one_file", "store_of"]

_TIFF, _HDF5 = "TIFF", "HDF5"
_KINDS = {".tif": _TIFF, ".tiff": _TIFF} | dict.fromkeys(HDF5_SUFFIXES, _HDF5)
_ZARR_SUFFIX = ".zarr"


def kind_of_file(output: Path) -> str | None:
    """``TIFF`` or ``HDF5``; None for a store."""
    return _KINDS.get(output.suffix.lower())


def is_one_file(output: Path) -> bool:
    """Whether the result is to be TIFF or HDF5, and no store."""
    return kind_of_file(output) is not None


def store_of(output: Path) -> Path:
    """The store that is filled: the output itself, or for one file a store beside it."""
    return output.with_name(output.name + ".ome.zarr") if is_one_file(output) else output


def check_output(output: Path, overwrite: bool, found: str = "exists") -> None:
    """Refuse a name under which nothing can be written.

    Raises
    ------
    InputError
        For another suffix, a name that is taken, or a folder that is not there.
    """
    if not is_one_file(output) and output.suffix.lower() != _ZARR_SUFFIX:
        raise InputError(f"{output.name} must end in .ome.zarr, .tif or .h5, which can be written.")
    if is_one_file(output) and output.is_dir():
        raise InputError(f"{output} is a folder; give the name of a file.")
    if output.exists() and not overwrite:
        raise InputError(f"{output} {found}; pass --overwrite to replace it, or another name.")
    if not output.resolve().parent.is_dir():
        raise InputError(f"There is no folder {output.resolve().parent}; create it first.")


def save_as_one_file(
    path: Path,
    store: OmeZarrOutput,
    *,
    voxel_size: VoxelSize,
    provenance: Mapping[str, Any],
    overwrite: bool,
) -> Generator[tuple[int, int], None, None]:
    """Make a file of level 0 of a whole store; it appears once it is whole.

    HDF5 says where the volume stands; TIFF cannot.

    Yields
    ------
    tuple of int
        How many slices are written, and how many there are.

    Raises
    ------
    DamagedError
        If a shard does not hold any more what was written.
    DiskFullError
        If it does not fit; nothing is left of it.
    """
    save: Callable[..., Generator[tuple[int, int], None, None]] = save_tiff_stream
    if kind_of_file(path) == _HDF5:
        save = partial(save_hdf5_stream, origin=store.origin)
    yield from save(
        path,
        store.slices(),
        shape=store.array.shape,
        dtype=store.array.dtype,
        voxel_size=voxel_size,
        provenance=provenance,
        overwrite=overwrite,
    )
