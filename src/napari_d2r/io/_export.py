"""A volume in the formats that other programs read, written piece by piece."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import mrcfile
import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from yaozarrs import v04

from napari_d2r.errors import InputError
from napari_d2r.io._disk import check_room, named_when_whole
from napari_d2r.io._ome_metadata import image_metadata
from napari_d2r.io._ome_zarr import create_output
from napari_d2r.io._precomputed import PrecomputedScale, write_info
from napari_d2r.io._provenance import PROVENANCE, provenance_text
from napari_d2r.io._pyramid import boxes, fill_levels, ome_zarr_num_bytes, pyramid_levels
from napari_d2r.io._save_hdf5 import write_hdf5
from napari_d2r.io._save_tiff import IMAGEJ_DTYPES, imagej_facts, ome_facts
from napari_d2r.volumes import Volume, VoxelSize

__all__ = ["EXPORTS", "ExportFormat", "export_stream"]

ExportFormat = Literal["tiff-stack", "hdf5", "mrc", "ome-zarr-0.4", "ome-zarr-0.5", "precomputed"]
Origin = tuple[float, float, float]
Steps = Generator[tuple[int, int], None, None]
_CHUNK, _SHARD = 64, (64, 512, 512)
_SLAB_BYTES = 2**29
_ANGSTROM_PER_NM = 10.0
# MRC2014 has no unsigned byte; 16 bits hold it.
_MRC = {
    "int8": "i1",
    "uint8": "u2",
    "int16": "i2",
    "uint16": "u2",
    "float16": "f2",
    "float32": "f4",
}


def export_stream(
    volume: Volume,
    path: Path,
    form: ExportFormat,
    *,
    origin: Origin = (0.0, 0.0, 0.0),
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Steps:
    """Write a volume; it appears under its name once it is whole, or not at all.

    Parameters
    ----------
    volume
        (Z, Y, X); read box by box.
    path
        A folder for ``tiff-stack``, ``precomputed`` and the zarrs, a file for ``hdf5`` and ``mrc``.
    origin
        Where the centre of the first voxel stands, in nm (z, y, x).
    provenance
        How the volume was made, as JSON takes it.

    Yields
    ------
    tuple of int
        How many pieces are written, and how many there are.

    Raises
    ------
    InputError
        If the name is taken, the disk has no room, or the format cannot hold such voxels.
    DiskFullError
        If it does not fit after all.
    """
    volume.require_single_channel()
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; choose another name, or replace it with --overwrite.")
    check_room(path, ome_zarr_num_bytes(volume.shape, volume.dtype))
    with named_when_whole(path, overwrite=overwrite) as aside:
        yield from EXPORTS[form](volume, aside, origin, provenance or {})


def _tiff_stack(volume: Volume, folder: Path, origin: Origin, facts: Mapping[str, Any]) -> Steps:
    """One file per slice, numbered: ImageJ's where ImageJ knows the type, else OME-TIFF.

    Each tells the distance between slices and where it stands: ImageJ how many pixels before it
    the origin lies, OME by the position of its plane.
    """
    folder.mkdir()
    num_slices, size = volume.shape[0], volume.voxel_size
    dtype = np.dtype(np.float32) if volume.dtype == np.float16 else volume.dtype
    is_imagej = dtype.name in IMAGEJ_DTYPES
    nm_per_cm = 1e7
    digits = len(str(num_slices - 1))
    for number, values in enumerate(_slices(volume)):
        start = (origin[0] + number * size.z, *origin[1:])
        tifffile.imwrite(
            folder / f"slice_{number:0{digits}d}.tif",
            values.astype(dtype, copy=False),
            imagej=is_imagej,
            ome=not is_imagej,
            photometric="minisblack",
            resolution=(1 / size.x, 1 / size.y)
            if is_imagej
            else (nm_per_cm / size.x, nm_per_cm / size.y),
            resolutionunit="NONE" if is_imagej else "CENTIMETER",
            metadata=imagej_facts(size, facts) | _imagej_place(start, size)
            if is_imagej
            else ome_facts(size, facts) | _ome_place(start),
        )
        yield number + 1, num_slices


def _imagej_place(start: Origin, size: VoxelSize) -> dict[str, Any]:
    places = zip("zyx", start, size, strict=True)
    return {"axes": "YX"} | {f"{letter}origin": -at / edge for letter, at, edge in places}


def _ome_place(start: Origin) -> dict[str, Any]:
    places = {f"Position{letter}": [at] for letter, at in zip("ZYX", start, strict=True)}
    return {"axes": "YX", "Plane": places | {f"{name}Unit": ["nm"] for name in places}}


def _hdf5(volume: Volume, file: Path, origin: Origin, facts: Mapping[str, Any]) -> Steps:
    return write_hdf5(
        file,
        _slices(volume),
        shape=volume.shape,
        dtype=volume.dtype,
        voxel_size=volume.voxel_size,
        origin=origin,
        provenance=facts,
    )


def _mrc(volume: Volume, file: Path, origin: Origin, facts: Mapping[str, Any]) -> Steps:
    """MRC2014, with cell and origin in angstrom; statistics are marked as not determined."""
    if volume.dtype.name not in _MRC:
        raise InputError(f"MRC holds no {volume.dtype} voxels; export to ome-zarr-0.5 instead.")
    size, dtype = volume.voxel_size, np.dtype(_MRC[volume.dtype.name])
    mode = mrcfile.utils.mode_from_dtype(dtype)
    with mrcfile.new_mmap(file, shape=volume.shape, mrc_mode=mode) as mrc:
        mrc.set_volume()
        mrc.voxel_size = tuple(_ANGSTROM_PER_NM * edge for edge in (size.x, size.y, size.z))
        for letter, start in zip("zyx", origin, strict=True):
            mrc.header.origin[letter] = _ANGSTROM_PER_NM * start
        mrc.add_label("napari-d2r")
        for number, values in enumerate(_slices(volume)):
            mrc.data[number] = values
            yield number + 1, volume.shape[0]


def _ome_zarr_04(volume: Volume, folder: Path, origin: Origin, facts: Mapping[str, Any]) -> Steps:
    """The version before sharding: zarr 2, one file per chunk."""
    levels = pyramid_levels(volume.shape)
    group = zarr.create_group(folder, zarr_format=2)
    arrays: list[zarr.Array[Any]] = [
        group.create_array(
            str(number),
            shape=level.shape,
            dtype=volume.dtype,
            chunks=tuple(min(_CHUNK, length) for length in level.shape),
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        for number, level in enumerate(levels)
    ]
    yield from _copied(volume, arrays[0])
    yield from fill_levels(arrays)
    image = image_metadata(folder.name, levels, volume.voxel_size, origin)["multiscales"][0]
    image = v04.Image.model_validate({"multiscales": [image | {"version": "0.4"}]})
    group.attrs.update(image.model_dump(mode="json", exclude_none=True, by_alias=True))
    group.attrs[PROVENANCE] = cast("dict[str, Any]", dict(facts))


def _ome_zarr_05(volume: Volume, folder: Path, origin: Origin, facts: Mapping[str, Any]) -> Steps:
    """As super-resolve writes it."""
    edges = tuple(
        _CHUNK * -(-min(a, n) // _CHUNK) for a, n in zip(_SHARD, volume.shape, strict=True)
    )
    output = create_output(
        folder,
        shape=volume.shape,
        dtype=volume.dtype,
        voxel_size=volume.voxel_size,
        identity="export",
        shard=cast("tuple[int, int, int]", edges),
        origin=origin,
        overwrite=True,
    )
    try:
        shards = output.shards()
        for number, shard in enumerate(shards):
            box = (slice(a, b) for a, b in zip(shard.start, shard.stop, strict=True))
            output.write(shard, volume.read(*box))
            yield number + 1, len(shards)
        yield from output.publish_stream(facts)
    finally:
        output.release()
        if not folder.exists():
            output.discard()


def _precomputed(volume: Volume, folder: Path, origin: Origin, facts: Mapping[str, Any]) -> Steps:
    """Neuroglancer's own format, raw chunks; coordinates are those of corners, in whole voxels."""
    levels = pyramid_levels(volume.shape)
    offset = _whole_voxels(origin, volume.voxel_size)
    dtype = np.dtype(np.float32) if volume.dtype == np.float16 else volume.dtype
    if dtype == np.float64:
        raise InputError("precomputed holds no float64 voxels; export to ome-zarr-0.5 instead.")
    scales = [
        PrecomputedScale(folder, level, volume.voxel_size, offset, dtype, _CHUNK)
        for level in levels
    ]
    write_info(folder, scales)
    yield from _copied(volume, scales[0])
    yield from fill_levels(cast("list[zarr.Array[Any]]", scales))
    (folder / "provenance").write_text(
        json.dumps(
            {"description": provenance_text(facts), "owners": [], "processing": [], "sources": []}
        ),
        "utf-8",
    )


EXPORTS: Mapping[ExportFormat, Callable[[Volume, Path, Origin, Mapping[str, Any]], Steps]] = {
    "tiff-stack": _tiff_stack,
    "hdf5": _hdf5,
    "mrc": _mrc,
    "ome-zarr-0.4": _ome_zarr_04,
    "ome-zarr-0.5": _ome_zarr_05,
    "precomputed": _precomputed,
}


def _copied(volume: Volume, target: Any) -> Steps:
    """Level 0, in boxes of whole chunks."""
    parts = list(boxes(volume.shape, _SHARD))
    for number, box in enumerate(parts):
        target[box] = volume.read(*box)
        yield number + 1, len(parts)


def _slices(volume: Volume) -> Iterator[NDArray[Any]]:
    """XY slices in order, from slabs of 64 or at most 512 MiB."""
    num_slices, height, width = volume.shape
    thickness = max(1, min(_CHUNK, _SLAB_BYTES // (height * width * volume.dtype.itemsize)))
    for start in range(0, num_slices, thickness):
        yield from volume.read(z=slice(start, start + thickness))


def _whole_voxels(origin: Origin, size: VoxelSize) -> tuple[int, int, int]:
    """An origin in voxels (z, y, x).

    Raises
    ------
    InputError
        Where it is more than a hundredth of a voxel off the grid.
    """
    z, y, x = (start / edge for start, edge in zip(origin, size, strict=True))
    if not all(math.isclose(value, round(value), abs_tol=0.01) for value in (z, y, x)):
        raise InputError(
            "precomputed places volumes by whole voxels, and this one stands at "
            f"{z:.2f}, {y:.2f}, {x:.2f} (z, y, x); export to ome-zarr-0.5 instead."
        )
    return round(z), round(y), round(x)
