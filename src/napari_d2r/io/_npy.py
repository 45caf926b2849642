"""NumPy ``.npy`` files, memory-mapped, never unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_d2r.errors import InputError
from napari_d2r.io._lazy import READ_ERRORS, MemmapArray
from napari_d2r.io._source import Source, label_axes

__all__ = ["read_npy"]


def read_npy(path: Path) -> Source:
    """Open one array; such a file holds no voxel size."""
    try:
        # The mapping is only looked at for its header, and dropped with this frame.
        mapped = np.lib.format.open_memmap(path, mode="r")
    except READ_ERRORS as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{path.name} is not a readable .npy file of numbers ({reason})."
        ) from error
    data = MemmapArray(
        path,
        mapped.shape,
        mapped.dtype,
        offset=int(mapped.offset),
        order="C" if mapped.flags.c_contiguous else "F",
    )
    return Source(path.name, "NumPy", data, label_axes(data.shape))
