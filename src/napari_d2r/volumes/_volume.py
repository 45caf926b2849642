"""A volume and the size of its voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError

SUPPORTED_DTYPES = ("uint8", "int8", "uint16", "int16", "float16", "float32", "float64")
MIN_SLICES = 4


class ArrayLike(Protocol):
    """What a lazy array must offer: numpy, zarr, dask and h5py arrays all do."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class VoxelSize:
    """Edge lengths of a voxel in nanometres; x and y may differ (tilted FIB)."""

    z: float
    y: float
    x: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(edge) and edge > 0 for edge in (self.z, self.y, self.x)):
            raise InputError(
                f"A voxel size must be three positive numbers in nm, not {tuple(self)}."
            )

    def __iter__(self) -> Any:
        return iter((self.z, self.y, self.x))

    def __str__(self) -> str:
        return " x ".join(f"{edge:g}" for edge in self) + " nm (z, y, x)"

    @classmethod
    def parse(cls, text: str) -> VoxelSize:
        """Read ``"Z,Y,X"`` in nm, as given to ``--voxel-size``."""
        try:
            z, y, x = (float(part) for part in text.split(","))
        except ValueError:
            raise InputError(
                f"--voxel-size takes three numbers Z,Y,X in nm, such as 80,10,10; got {text!r}."
            ) from None
        return cls(z, y, x)

    @property
    def lateral(self) -> float:
        """The finer of the two lateral edges, against which anisotropy is taken."""
        return min(self.y, self.x)

    @property
    def anisotropy(self) -> float:
        """Axial over finer lateral edge; below 1 where the axial direction is finer."""
        return self.z / self.lateral

    @property
    def has_square_pixels(self) -> bool:
        """Whether x and y agree within half a per cent."""
        return math.isclose(self.y, self.x, rel_tol=5e-3)

    def with_upscale(self, factor: float) -> VoxelSize:
        """The voxel size once the axial direction is sampled ``factor`` times finer."""
        return VoxelSize(self.z / factor, self.y, self.x)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A volume on disk or in memory, read region by region.

    Parameters
    ----------
    data
        Array of shape (Z, Y, X), or (C, Z, Y, X) for methods that accept channels;
        numpy, zarr, dask or h5py. It is never copied here.
    voxel_size
        Edges of a voxel in nm.
    name
        Shown to the reader: a file name or a layer name.
    source
        Where the volume came from, for provenance.
    """

    data: ArrayLike = field(repr=False)
    voxel_size: VoxelSize
    name: str = "volume"
    source: Path | None = None

    def __post_init__(self) -> None:
        if len(self.data.shape) not in (3, 4):
            raise InputError(
                f"{self.name} has {len(self.data.shape)} axes {tuple(self.data.shape)}; "
                "a volume needs three (Z, Y, X), or four with channels first."
            )
        if np.dtype(self.data.dtype).name not in SUPPORTED_DTYPES:
            raise InputError(
                f"{self.name} holds {np.dtype(self.data.dtype).name} values; convert it to "
                "8- or 16-bit integers or to floating point first."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        z, y, x = self.data.shape[-3:]
        return int(z), int(y), int(x)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The stored type of a voxel."""
        dtype: np.dtype[Any] = np.dtype(self.data.dtype)
        return dtype

    @property
    def num_channels(self) -> int | None:
        """How many channels, or None for a grey volume."""
        return int(self.data.shape[0]) if len(self.data.shape) == 4 else None

    def read(
        self, z: slice = slice(None), y: slice = slice(None), x: slice = slice(None)
    ) -> NDArray[Any]:
        """Load one box of voxels into memory, in the stored dtype."""
        box = (z, y, x) if self.num_channels is None else (slice(None), z, y, x)
        return np.asarray(self.data[box])

    def require_single_channel(self) -> None:
        """Refuse a volume with channels, for methods that work on grey values."""
        if self.num_channels is not None:
            raise InputError(
                f"{self.name} has {self.num_channels} channels; choose one with --channel N."
            )

    def require_slices(self, minimum: int = MIN_SLICES) -> None:
        """Refuse a stack too short to learn or interpolate from."""
        if self.shape[0] < minimum:
            raise InputError(
                f"{self.name} has {self.shape[0]} slices along Z; at least {minimum} are needed."
            )


def centred_box(shape: Sequence[int], limit: Sequence[int]) -> tuple[slice, ...]:
    """The central box of ``shape`` that is at most ``limit`` long on each axis."""
    sizes = [min(length, most) for length, most in zip(shape, limit, strict=True)]
    starts = [(length - size) // 2 for length, size in zip(shape, sizes, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
