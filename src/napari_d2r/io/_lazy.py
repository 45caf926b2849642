"""Arrays that stay on disk: read box by box, safe to pickle and to share among threads."""

from __future__ import annotations

import math
import operator
import struct
import threading
import tokenize
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.volumes import ArrayLike, Volume

__all__ = [
    "MAX_UNIT_BYTES",
    "READ_ERRORS",
    "AxesView",
    "LazyArray",
    "MemmapArray",
    "PlaneStack",
    "channels_first",
    "channels_last",
    "pages_of",
    "refuse_bomb",
    "refuse_bomb_in",
]

# What decoders raise on damaged data. InputError is a ValueError: pass it on first.
READ_ERRORS = (
    OSError, ValueError, RuntimeError, LookupError, TypeError, EOFError, ArithmeticError,
    AttributeError, AssertionError, SyntaxError, struct.error, zlib.error, tokenize.TokenError,
)  # fmt: skip

# The most that one chunk, shard or compressed page may hold: it is decoded whole, and a
# hostile header can declare any size.
MAX_UNIT_BYTES = 2 * 2**30

# A unit larger than this must not be all there is, packed as tightly as nothing measured is.
_LARGE_UNIT_BYTES, _MAX_RATIO = 256 * 2**20, 100

_CACHE_BYTES = 64 * 2**20

Box = tuple[int | slice, ...]


class LazyArray(ABC):
    """An N-dimensional array on disk; indexing with integers and slices loads a copy.

    No file handle outlives a call, so the file can be moved or deleted, on Windows too.

    Raises
    ------
    InputError
        From indexing, if the file cannot be read or decoded any more.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, name: str) -> None:
        self._shape = tuple(int(length) for length in shape)
        self._dtype: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
        self._name = name

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value, in the byte order of this machine."""
        return self._dtype

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self._shape)

    @property
    def size(self) -> int:
        """How many values."""
        return math.prod(self._shape)

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        box = _box(key, self._shape)
        try:
            return np.array(self._read(box), dtype=self._dtype)
        except InputError:
            raise
        except READ_ERRORS as error:
            raise InputError(
                f"{self._name} cannot be read to its end ({error}); the file is damaged or gone."
            ) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Load everything: only for arrays known to be small."""
        return np.asarray(self[...], dtype=dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, shape={self._shape}, dtype={self._dtype})"

    @abstractmethod
    def _read(self, box: Box) -> Any:
        """Load a box given as one non-negative integer or forward slice for every axis."""


def refuse_bomb(name: str, unit_bytes: int, stored_bytes: int) -> None:
    """Refuse what unpacks to far more than was packed, before anything is unpacked.

    Parameters
    ----------
    unit_bytes
        Of the largest thing that is decoded at once: a chunk, a page, a packed file.
    stored_bytes
        Of everything that is stored, so that an empty slice among others passes.

    Raises
    ------
    InputError
        If one unit is over 256 MiB and over 100 times as large as all that is stored.
    """
    if unit_bytes > max(_LARGE_UNIT_BYTES, _MAX_RATIO * stored_bytes):
        raise InputError(
            f"{name} declares pieces of {unit_bytes / 2**20:.0f} MiB, but stores only "
            f"{stored_bytes / 2**20:.3g} MiB in all, as no image does; save it uncompressed."
        )


def refuse_bomb_in(folder: Path, unit_bytes: int) -> None:
    """As `refuse_bomb`, of chunks in the files of a folder."""
    if unit_bytes > _LARGE_UNIT_BYTES:  # there are few files then
        stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        refuse_bomb(folder.name, unit_bytes, stored)


class MemmapArray(LazyArray):
    """Values that lie contiguously and uncompressed in a file, from byte ``offset``."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        offset: int,
        order: Literal["C", "F"] = "C",
    ) -> None:
        super().__init__(shape, dtype, path.name)
        needed = offset + math.prod(self.shape) * dtype.itemsize
        if path.stat().st_size < needed:
            raise InputError(
                f"{path.name} is cut short: its header promises {needed:,} bytes, "
                f"but the file has {path.stat().st_size:,}; copy it again."
            )
        self._path, self._stored, self._offset, self._order = path, dtype, offset, order

    def _read(self, box: Box) -> Any:
        return np.memmap(self._path, self._stored, "r", self._offset, self._shape, self._order)[box]


class PlaneStack(LazyArray):
    r"""Pages or files that are decoded whole: shape (\*stack, \*plane).

    The planes decoded last are kept, up to 64 MiB and always one, since tiles of the same
    slices are read one after another.
    """

    def __init__(
        self, stack: tuple[int, ...], plane: tuple[int, ...], dtype: Any, name: str
    ) -> None:
        super().__init__((*stack, *plane), dtype, name)
        self._stack, self._plane_shape = stack, plane
        plane_bytes = math.prod(plane) * self.dtype.itemsize
        if plane_bytes > MAX_UNIT_BYTES:
            raise InputError(
                f"{name} holds compressed slices of {plane_bytes / 2**30:.1f} GiB; "
                "save it uncompressed or as OME-Zarr."
            )
        self._num_kept = max(1, _CACHE_BYTES // max(plane_bytes, 1))
        self._forget()

    def _forget(self) -> None:
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_kept", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _read(self, box: Box) -> NDArray[Any]:
        outer, inner = box[: len(self._stack)], box[len(self._stack) :]
        steps = [
            range(*part.indices(length)) if isinstance(part, slice) else range(part, part + 1)
            for part, length in zip(outer, self._stack, strict=True)
        ]
        inner_shape = np.broadcast_to(False, self._plane_shape)[inner].shape
        values = np.empty((math.prod(map(len, steps)), *inner_shape), self.dtype)
        for row, where in enumerate(product(*steps)):
            index = int(np.ravel_multi_index(where, self._stack)) if where else 0
            values[row] = self._plane(index)[inner]
        lengths = [
            len(step) for step, part in zip(steps, outer, strict=True) if isinstance(part, slice)
        ]
        return values.reshape((*lengths, *inner_shape))

    def _plane(self, index: int) -> NDArray[Any]:
        with self._lock:  # decoders share a file handle; a second reader waits and finds it kept
            if index not in self._kept:
                plane = self._decode(index)
                if plane.shape != self._plane_shape:
                    raise ValueError(f"slice {index} is {plane.shape}, not {self._plane_shape}")
                while len(self._kept) >= self._num_kept:
                    self._kept.popitem(last=False)
                self._kept[index] = plane
            self._kept.move_to_end(index)
            return self._kept[index]

    @abstractmethod
    def _decode(self, index: int) -> NDArray[Any]:
        """Load plane ``index`` of the stack, counted in C order."""


class AxesView(LazyArray):
    """Another array with some axes fixed at one position and the others in a new order.

    Parameters
    ----------
    base
        Any array that takes integers and slices.
    fixed
        Axis of ``base`` to the position taken on it.
    order
        The remaining axes of ``base``, in the order wanted.
    """

    def __init__(
        self, base: ArrayLike, *, fixed: dict[int, int], order: tuple[int, ...], name: str
    ) -> None:
        super().__init__(tuple(base.shape[axis] for axis in order), base.dtype, name)
        self._base, self._fixed, self._axes = base, dict(fixed), order

    def _read(self, box: Box) -> Any:
        parts: dict[int, int | slice] = {**self._fixed}
        parts.update(zip(self._axes, box, strict=True))
        values = np.asarray(self._base[tuple(parts[axis] for axis in sorted(parts))])
        left = [axis for axis in self._axes if isinstance(parts[axis], slice)]
        return values.transpose([sorted(left).index(axis) for axis in left])


def channels_first(data: ArrayLike, name: str) -> ArrayLike:
    """(Z, Y, X, C), as pictures have it, as (C, Z, Y, X); nothing is read."""
    if isinstance(data, np.ndarray):
        return np.moveaxis(data, -1, 0)
    return AxesView(data, fixed={}, order=(3, 0, 1, 2), name=name)


def channels_last(data: ArrayLike, name: str) -> ArrayLike:
    """(C, Z, Y, X) as (Z, Y, X, C), as pictures have it; nothing is read."""
    if isinstance(data, np.ndarray):
        return np.moveaxis(data, 0, -1)
    return AxesView(data, fixed={}, order=(1, 2, 3, 0), name=name)


def pages_of(volume: Volume) -> ArrayLike:
    """Slices as a TIFF holds them: (Z, Y, X), or (Z, Y, X, C) of a volume with channels."""
    if volume.num_channels is None:
        return volume.data
    return channels_last(volume.data, volume.name)


def _box(key: Any, shape: tuple[int, ...]) -> Box:
    """One integer or slice for every axis; IndexError as numpy has it."""
    parts = key if isinstance(key, tuple) else (key,)
    dots = [at for at, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1 or len(parts) - len(dots) > len(shape):
        raise IndexError(f"Too many indices for an array of {len(shape)} axes.")
    missing = (slice(None),) * (len(shape) - len(parts) + len(dots))
    at = dots[0] if dots else len(parts)
    parts = (*parts[:at], *missing, *parts[at + len(dots) :])
    return tuple(_part(part, length) for part, length in zip(parts, shape, strict=True))


def _part(part: Any, length: int) -> int | slice:
    if isinstance(part, slice):
        start, stop, step = part.indices(length)
        if step < 1:
            raise IndexError("Arrays on disk are read forwards: a slice needs a positive step.")
        return slice(start, max(start, stop), step)
    try:
        index = operator.index(part)
    except TypeError:
        raise IndexError("Arrays on disk take integers and slices only.") from None
    if not -length <= index < length:
        raise IndexError(f"Index {index} is out of range for an axis of length {length}.")
    return index % length
