"""MRC and CCP4 maps: MRC2014, Cheng et al., J. Struct. Biol. 192, 146 (2015)."""

from __future__ import annotations

import bz2
import gzip
import math
import struct
import warnings
from pathlib import Path
from typing import IO, Any, cast

import mrcfile
import numpy as np

from napari_d2r.errors import InputError
from napari_d2r.io._lazy import READ_ERRORS, MemmapArray, refuse_bomb
from napari_d2r.io._source import UNKNOWN_EDGES, Edges, Source
from napari_d2r.volumes import ArrayLike

__all__ = ["read_mrc"]

_HEADER_BYTES, _MOST_EXTENDED_BYTES = 1024, 64 * 2**20
_EXTENDED_AT, _STAMP_AT, _BIG_ENDIAN = 92, 212, 0x11
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_IMOD_STAMP, _IMOD_STAMP_AT, _IMOD_SIGNED_BIT = 1146047817, 152, 1
_NM_PER_ANGSTROM = 0.1


def read_mrc(path: Path) -> Source:
    """Open a map; plain files stay on disk, ``.gz`` and ``.bz2`` are unpacked into memory.

    The header says which of x, y, z the columns, rows and sections run along (mapc, mapr,
    maps); the axes of the source say the same.

    Raises
    ------
    InputError
        If the file is not MRC, its header contradicts itself or the file is shorter than
        its header says.
    """
    header, extended_bytes = _header(path)
    shape = (int(header.nz), int(header.ny), int(header.nx))
    if min(shape) < 1:
        raise InputError(f"{path.name} has a false header: its size is {shape}.")
    if 401 <= int(header.ispg) <= 630:
        raise InputError(f"{path.name} is a stack of volumes; save the one you want by itself.")
    dtype = _dtype(path, header)
    data: ArrayLike
    start = _HEADER_BYTES + extended_bytes
    if _is_packed(path):
        data = _unpacked(path, start, shape, dtype)
    else:
        data = MemmapArray(path, shape, dtype, offset=start)
    return Source(path.name, "MRC", data, _axes(path, header), _edges(header))


def _header(path: Path) -> tuple[Any, int]:
    """The header record, and the length in bytes of the extended header that follows it."""
    try:
        _require_short_extension(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a longer file is no harm
            with mrcfile.open(path, mode="r", header_only=True) as mrc:
                return mrc.header.copy(), int(mrc.header.nsymbt)
    except InputError:
        raise
    except (*READ_ERRORS, MemoryError) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"{path.name} is not a readable MRC file ({reason}).") from error


def _require_short_extension(path: Path) -> None:
    """Refuse an extended header that would fill the memory; mrcfile makes room for any."""
    with _opened(path) as file:
        header = file.read(_HEADER_BYTES)
    if len(header) == _HEADER_BYTES:
        order = ">" if header[_STAMP_AT] == _BIG_ENDIAN else "<"
        (num_bytes,) = struct.unpack_from(f"{order}i", header, _EXTENDED_AT)
        if not 0 <= num_bytes <= _MOST_EXTENDED_BYTES:
            raise InputError(
                f"{path.name} has a false header: it is extended by {num_bytes:,} bytes."
            )


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() in (".gz", ".bz2")


def _opened(path: Path) -> IO[bytes]:
    if not _is_packed(path):
        return path.open("rb")
    unpack = gzip.open if path.suffix.lower() == ".gz" else bz2.open
    return cast("IO[bytes]", unpack(path, "rb"))


def _dtype(path: Path, header: Any) -> np.dtype[Any]:
    """The type of a voxel; mode 0 is signed, but IMOD may say otherwise in its own words."""
    mode = int(header.mode)
    if mode not in _DTYPES:
        raise InputError(
            f"{path.name} holds MRC mode {mode}, which is no grey value; convert it to mode 1, 2 "
            "or 6 first."
        )
    words = np.frombuffer(header.tobytes(), "u4", 2, _IMOD_STAMP_AT)
    order = header.dtype["mode"].byteorder
    stamp, flags = (int(word) for word in words.view(words.dtype.newbyteorder(order)))
    if mode == 0 and stamp == _IMOD_STAMP and not flags & _IMOD_SIGNED_BIT:
        return np.dtype("u1")
    return np.dtype(_DTYPES[mode]).newbyteorder(order)


def _axes(path: Path, header: Any) -> str:
    """Letters of sections, rows and columns; 1, 2, 3 stand for X, Y, Z."""
    codes = [int(header.maps), int(header.mapr), int(header.mapc)]
    if codes == [0, 0, 0]:  # written before the fields existed
        codes = [3, 2, 1]
    if sorted(codes) != [1, 2, 3]:
        raise InputError(
            f"{path.name} has a false header: its axis order (mapc, mapr, maps) is "
            f"{tuple(reversed(codes))}, not a permutation of 1, 2, 3."
        )
    return "".join("?XYZ"[code] for code in codes)


def _edges(header: Any) -> Edges:
    """Cell edges in angstrom over the sampling along them, both in x, y, z order."""
    cell = [float(header.cella[letter]) for letter in "zyx"]
    sampling = [int(header.mz), int(header.my), int(header.mx)]
    if not all(math.isfinite(edge) and edge > 0 for edge in cell) or min(sampling) < 1:
        return UNKNOWN_EDGES
    z, y, x = (_NM_PER_ANGSTROM * edge / num for edge, num in zip(cell, sampling, strict=True))
    return z, y, x


def _unpacked(path: Path, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ArrayLike:
    num_bytes = math.prod(shape) * dtype.itemsize
    refuse_bomb(path.name, num_bytes, path.stat().st_size)
    try:
        with _opened(path) as file:
            file.seek(start)
            values = file.read(num_bytes)
    except (*READ_ERRORS, MemoryError) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"{path.name} cannot be unpacked ({reason}).") from error
    if len(values) < num_bytes:
        raise InputError(
            f"{path.name} is cut short: its header promises {num_bytes:,} bytes of voxels, but "
            f"there are {len(values):,}; copy it again."
        )
    native = dtype.newbyteorder("=")
    return np.frombuffer(values, dtype).reshape(shape).astype(native, copy=False)
