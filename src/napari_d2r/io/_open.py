"""The two doors for input: a volume to work on, or a description to print."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_d2r.errors import InputError
from napari_d2r.io._folder import read_folder
from napari_d2r.io._hdf5 import read_hdf5
from napari_d2r.io._mrc import read_mrc
from napari_d2r.io._npy import read_npy
from napari_d2r.io._source import Source, pick_axes, resolve_voxel_size
from napari_d2r.io._tensorstore import is_chunk_folder, read_chunk_folder
from napari_d2r.io._tiff import read_tiff
from napari_d2r.io._zarr import is_zarr, read_zarr
from napari_d2r.volumes import SUPPORTED_DTYPES, Volume, VoxelSize

__all__ = ["VolumeInfo", "is_slice_folder", "open_source", "open_volume", "probe"]

_TIFF = (".tif", ".tiff", ".btf", ".tf8")
_HDF5 = (".h5", ".hdf5", ".hdf")
_MRC = (".mrc", ".map", ".rec", ".ccp4")
_COMPRESSED = (".gz", ".bz2")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
_FORMATS = (
    "TIFF, a folder of TIFF or PNG slices, OME-Zarr, zarr, HDF5, MRC, npy, precomputed and N5"
)

# "https:/" as well: a Path has lost one of the two. One letter is a drive of Windows.
_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:/")

# The dataset follows the suffix, so that the colon of a Windows drive is left alone.
_HDF5_DATASET = re.compile(r"(?i)^(?P<file>.+\.(?:h5|hdf5|hdf)):(?P<dataset>.+)$")


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """What a file holds, before anything is chosen or refused.

    Parameters
    ----------
    format
        Name of the file format.
    axes
        One letter for every axis: T, C, Z, Y, X, or ? where the file does not say.
    shape
        Length of every axis.
    dtype
        Type of a voxel.
    voxel_size
        In nm, or None if any edge is unknown.
    notes
        Sentences the user should read.
    num_bytes
        Size of the decoded array.
    """

    format: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    voxel_size: VoxelSize | None
    notes: tuple[str, ...]
    num_bytes: int


def open_volume(
    path: str | Path,
    *,
    voxel_size: VoxelSize | None = None,
    channel: int | Literal["all"] | None = None,
    time: int | None = None,
) -> Volume:
    """Open an image file as a volume that stays on disk, (Z, Y, X) or with channels first.

    Parameters
    ----------
    path
        TIFF stack, folder of TIFF or PNG slices, OME-Zarr 0.4 or 0.5, bare zarr array
        (``a.zarr/inner``), HDF5 (``a.h5:/dataset``), MRC, npy, Neuroglancer's precomputed or N5.
    voxel_size
        Used instead of what the file says.
    channel, time
        Positions from 0 on the axes of those names; needed where they are longer than 1.
        ``all`` keeps the channels, for methods that restore them together.

    Raises
    ------
    InputError
        If the path is missing, damaged or of an unknown kind; the image is 2D, or of an
        unsupported dtype; an axis is not chosen; or the voxel size is unknown.
    """
    source = open_source(path)
    data = pick_axes(source, channel=channel, time=time)
    _require_dtype(source)
    return Volume(data, resolve_voxel_size(source, voxel_size), source.name, _location(path))


def probe(path: str | Path) -> VolumeInfo:
    """Describe a file without choosing anything; a missing voxel size is only noted.

    Raises
    ------
    InputError
        If the path is missing, damaged or of an unknown kind.
    """
    source = open_source(path)
    shape = tuple(int(length) for length in source.data.shape)
    z, y, x = source.edges
    known = z is not None and y is not None and x is not None
    voxel_size = VoxelSize(z, y, x) if known else None  # type: ignore[arg-type]
    return VolumeInfo(
        source.format,
        source.axes,
        shape,
        np.dtype(source.data.dtype),
        voxel_size,
        (*source.notes, *_notes(source, voxel_size)),
        source.num_bytes,
    )


def _notes(source: Source, voxel_size: VoxelSize | None) -> list[str]:
    """What stands in the way of `open_volume`, or may surprise later."""
    notes = []
    for check in (pick_axes, _require_dtype, resolve_voxel_size):
        try:
            check(source)
        except InputError as error:
            notes.append(str(error))
    if voxel_size is None:
        return notes
    if not voxel_size.has_square_pixels:
        notes.append(f"The x and y voxel sizes differ ({voxel_size.x:g} and {voxel_size.y:g} nm).")
    if voxel_size.anisotropy < 1:
        notes.append("The axial sampling is already finer than the lateral one.")
    return notes


def _require_dtype(source: Source) -> None:
    name = np.dtype(source.data.dtype).name
    if name not in SUPPORTED_DTYPES:
        raise InputError(
            f"{source.name} holds {name} values; convert it to 8- or 16-bit integers or to "
            "floating point first."
        )


def _location(path: str | Path) -> Path:
    match = _HDF5_DATASET.match(str(path))
    return Path(match["file"] if match else path)


def is_slice_folder(path: str | Path) -> bool:
    """Whether a path is read as a folder of 2D slices."""
    folder = Path(path)
    return folder.is_dir() and not is_zarr(folder) and not is_chunk_folder(folder)


def open_source(path: str | Path) -> Source:
    """Open a file as it is stored: all its axes, and the voxel edges that it states.

    For those who ask before they choose; `open_volume` gives what the engine works on.

    Raises
    ------
    InputError
        If the path is missing, damaged or of an unknown kind.
    """
    location, match = _location(path), _HDF5_DATASET.match(str(path))
    if not location.exists():
        if _ADDRESS.match(str(path)):
            raise InputError(f"{path} is an address; copy the volume here and pass its path.")
        raise InputError(f"{location} does not exist.")
    location = location.absolute()  # a worker that was begun in another folder reads it too
    try:
        if location.is_dir():
            return _read_folder(location)
        suffixes = [suffix.lower() for suffix in location.suffixes]
        kind = suffixes[-1] if suffixes else ""
        if location.stat().st_size == 0:
            raise InputError(f"{location.name} is an empty file.")
        if kind in _COMPRESSED and len(suffixes) > 1 and suffixes[-2] in _MRC:
            return read_mrc(location)
        if kind in _TIFF:
            return read_tiff(location)
        if kind in _HDF5:
            return read_hdf5(location, match["dataset"] if match else None)
        if kind in _MRC:
            return read_mrc(location)
        if kind == ".npy":
            return read_npy(location)
    except PermissionError as error:
        raise InputError(f"{location} may not be read; ask for permission.") from error
    if kind in _PICTURES:
        raise InputError(
            f"{location.name} is a single 2D image; pass the folder that holds its slices."
        )
    raise InputError(f"{location.name} is of an unknown kind; {_FORMATS} can be read.")


def _read_folder(folder: Path) -> Source:
    if is_zarr(folder):
        return read_zarr(folder)
    return read_chunk_folder(folder) if is_chunk_folder(folder) else read_folder(folder)
