"""HDF5 output with its voxel size and place, written slice by slice."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_d2r.io._disk import named_when_whole, require_free
from napari_d2r.io._hdf5 import ORIGIN_UM, SIZE_UM
from napari_d2r.io._provenance import PROVENANCE, provenance_text
from napari_d2r.io._save_tiff import checked_slices
from napari_d2r.volumes import VoxelSize

__all__ = ["HDF5_SUFFIXES", "save_hdf5_stream", "write_hdf5"]

HDF5_SUFFIXES = (".h5", ".hdf5")
_NM_PER_UM = 1e3


def save_hdf5_stream(
    path: Path, slices: Iterable[NDArray[Any]], *, overwrite: bool = False, **facts: Any
) -> Generator[tuple[int, int], None, None]:
    """`write_hdf5`, with its keywords; the file has its name once it is whole, or not at all.

    Yields
    ------
    tuple of int
        How many slices are written, and how many there are.

    Raises
    ------
    InputError
        If the file exists.
    DiskFullError
        If it does not fit; nothing is left behind.
    """
    require_free(path, overwrite=overwrite)
    with named_when_whole(path, overwrite=overwrite) as aside:
        yield from write_hdf5(aside, slices, **facts)


def write_hdf5(
    file: Path,
    slices: Iterable[NDArray[Any]],
    *,
    shape: tuple[int, ...],
    dtype: Any,
    voxel_size: VoxelSize,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    provenance: Mapping[str, Any] | None = None,
) -> Generator[tuple[int, int], None, None]:
    """One contiguous dataset ``/data``; sizes in µm, axes as h5py and as ilastik name them.

    The voxels are written past the library, which does not survive a disk that fills up.

    Parameters
    ----------
    slices
        XY slices of shape (Y, X), in order; only one is held at a time.
    shape, dtype
        Of the volume, (Z, Y, X).
    voxel_size, origin
        In nm; where the centre of the first voxel stands, (z, y, x).
    provenance
        How the volume was made, as JSON takes it.

    Yields
    ------
    tuple of int
        How many slices are written, and how many there are.
    """
    dtype = np.dtype(dtype).newbyteorder("<")
    space = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(file, "w") as container:
        data = container.create_dataset("data", shape, dtype, dcpl=space)
        data.attrs[SIZE_UM] = np.array(tuple(voxel_size)) / _NM_PER_UM
        data.attrs[ORIGIN_UM] = np.array(origin) / _NM_PER_UM
        data.attrs["axistags"] = json.dumps({"axes": [_ilastik_axis(name) for name in "zyx"]})
        for dimension, name in zip(data.dims, "zyx", strict=True):
            dimension.label = name
        if provenance:
            data.attrs[PROVENANCE] = provenance_text(provenance)
        where = data.id.get_offset()
    with file.open("r+b") as stream:
        stream.seek(where)
        for number, values in enumerate(checked_slices(slices, shape, dtype)):
            stream.write(values.tobytes())
            yield number + 1, shape[0]


def _ilastik_axis(name: str) -> dict[str, Any]:
    """One axis as vigra writes it; 2 is an axis of space."""
    return {"key": name, "typeFlags": 2, "resolution": 0, "description": ""}
