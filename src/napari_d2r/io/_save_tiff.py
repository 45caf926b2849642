"""TIFF output with its voxel size, written slice by slice."""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_d2r.io._disk import disk_errors, require_free, sync_file, sync_folder
from napari_d2r.io._provenance import provenance_text
from napari_d2r.volumes import Volume, VoxelSize

__all__ = [
    "IMAGEJ_DTYPES",
    "checked_slices",
    "imagej_facts",
    "ome_facts",
    "save_tiff",
    "save_tiff_stream",
    "save_volume",
]

IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
_CLASSIC_LIMIT = 2**32 - 2**25  # offsets are 32 bits; leave room for the tags of every page
_RATIONAL_LIMIT = 2**32 - 1
_TELL_EVERY_S = 0.2


class _GivenUpError(Exception):
    """Whoever wanted the file has gone."""


def save_tiff(
    path: str | Path,
    slices: Iterable[NDArray[Any]],
    *,
    shape: tuple[int, ...],
    dtype: Any,
    voxel_size: VoxelSize,
    provenance: Mapping[str, object] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a volume as a multi-page TIFF that ImageJ and `open_volume` read alike.

    8- and 16-bit unsigned integers and float32 below 4 GiB become an ImageJ stack, of colour
    8 bits only, all else OME-TIFF, as BigTIFF where needed. float16, which TIFF programs do not
    know, is widened to float32.

    Parameters
    ----------
    path
        Final name; it appears only once the file is whole.
    slices
        XY slices of shape (Y, X), or (Y, X, 3) in colour, in order; only one is held at a time.
    shape, dtype
        Of the volume, (Z, Y, X) or (Z, Y, X, 3).
    voxel_size
        In nm.
    provenance
        How the volume was made, as JSON takes it; ImageJ shows it by *Image > Show Info*.
    overwrite
        Replace an existing file.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    InputError
        If the file exists.
    DiskFullError
        If it does not fit; nothing is left behind.
    """
    path, dtype = Path(path), np.dtype(dtype)
    require_free(path, overwrite=overwrite)
    stored = np.dtype(np.float32) if dtype == np.float16 else dtype
    num_bytes = math.prod(shape) * stored.itemsize
    resolution = _pixels_per_nm(voxel_size)
    is_classic = num_bytes < _CLASSIC_LIMIT
    is_rgb = len(shape) == 4
    dtypes = ("uint8",) if is_rgb else IMAGEJ_DTYPES
    as_imagej = is_classic and stored.name in dtypes and resolution is not None
    describe = imagej_facts if as_imagej else ome_facts
    partial = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with disk_errors(path, "nothing is left of it; free some space and try again."):
            with tifffile.TiffWriter(
                partial, bigtiff=not is_classic, imagej=as_imagej, ome=not as_imagej
            ) as writer:
                writer.write(
                    checked_slices(slices, shape, stored),
                    shape=shape,
                    dtype=stored,
                    photometric="rgb" if is_rgb else "minisblack",
                    resolution=resolution if as_imagej else None,
                    metadata=describe(voxel_size, provenance or {})
                    | {"axes": "ZYXS" if is_rgb else "ZYX"},
                )
            sync_file(partial)
            partial.replace(path)
            sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)
    return path


def save_volume(volume: Volume, path: Path) -> None:
    """`save_tiff` of a volume that fits into memory; an older file is replaced."""
    save_tiff(
        path,
        iter(volume.read()),
        shape=volume.shape,
        dtype=volume.dtype,
        voxel_size=volume.voxel_size,
        overwrite=True,
    )


def save_tiff_stream(
    path: str | Path, slices: Iterable[NDArray[Any]], *, shape: tuple[int, ...], **options: Any
) -> Generator[tuple[int, int], None, None]:
    """`save_tiff`, with its keywords, told step by step; it pulls its slices in a thread.

    Whoever stops listening gives the file up: nothing is left of it.

    Yields
    ------
    tuple of int
        How many slices are written, and how many there are: a few times a second, and once
        the file is whole.
    """
    count, given_up = 0, threading.Event()

    def counted() -> Iterator[NDArray[Any]]:
        nonlocal count
        for values in slices:
            if given_up.is_set():
                raise _GivenUpError
            yield values
            count += 1

    with ThreadPoolExecutor(1, "napari-d2r-save") as pool:
        saving = pool.submit(save_tiff, path, counted(), shape=shape, **options)
        try:
            while not wait([saving], _TELL_EVERY_S).done:
                yield count, shape[0]
        finally:
            given_up.set()
    saving.result()
    yield count, shape[0]


def checked_slices(
    slices: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    """Pass slices on; a missing or misshapen one would leave a file that lies."""
    count = 0
    for count, values in enumerate(slices, start=1):
        if values.shape != shape[1:]:
            raise ValueError(f"Slice {count} is {values.shape}, not {shape[1:]}.")
        yield np.ascontiguousarray(values, dtype)
    if count != shape[0]:
        raise ValueError(f"{count} slices came, not {shape[0]}.")


def imagej_facts(voxel_size: VoxelSize, provenance: Mapping[str, object]) -> dict[str, Any]:
    """What tifffile writes into ImageJ's description, beside the axes."""
    sizes = {"unit": "nm", "spacing": voxel_size.z}
    return sizes | ({"Info": provenance_text(provenance)} if provenance else {})


def ome_facts(voxel_size: VoxelSize, provenance: Mapping[str, object]) -> dict[str, Any]:
    """What tifffile writes into the description of OME, beside the axes."""
    sizes: dict[str, Any] = {}
    if provenance:
        sizes["Description"] = provenance_text(provenance)
    for letter, edge in zip("ZYX", voxel_size, strict=True):
        sizes[f"PhysicalSize{letter}"] = edge
        sizes[f"PhysicalSize{letter}Unit"] = "nm"
    return sizes


def _pixels_per_nm(voxel_size: VoxelSize) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Resolution along x and y as pairs of 32-bit numbers, or None if none come close."""
    x, y = (Fraction(1 / edge).limit_denominator(10**9) for edge in (voxel_size.x, voxel_size.y))
    for fraction, edge in ((x, voxel_size.x), (y, voxel_size.y)):
        if fraction.numerator > _RATIONAL_LIMIT or not math.isclose(
            fraction * Fraction(edge), 1, rel_tol=1e-6
        ):
            return None
    return (x.numerator, x.denominator), (y.numerator, y.denominator)
