"""Neuroglancer's precomputed volumes and N5, by tensorstore: the only file that knows it.

It is an extra, imported where it is needed. Both formats count axes from x on, this package from
the slowest, so that arrays are seen transposed. Only folders of this machine are opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from napari_d2r.errors import InputError
from napari_d2r.io._lazy import MAX_UNIT_BYTES, READ_ERRORS, Box, LazyArray, refuse_bomb_in
from napari_d2r.io._source import (
    MAX_AXES,
    UNKNOWN_EDGES,
    Edges,
    Origin,
    Source,
    label_axes,
    require_inside,
)
from napari_d2r.io._units import length_in_nm

__all__ = ["is_chunk_folder", "read_chunk_folder"]

_INFO, _ATTRIBUTES = "info", "attributes.json"
_MAX_METADATA_BYTES = 2**20
_MAX_LEVELS = 64

_Length = Annotated[int, Field(ge=1, lt=2**63)]
_Nanometres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Triple = tuple[_Length, _Length, _Length]


class _Loose(BaseModel):
    """Reads what is needed and lets pass what other programs add."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Scale(_Loose):
    """One level of ``info``; everything in x, y, z."""

    key: str
    size: _Triple
    resolution: tuple[_Nanometres, _Nanometres, _Nanometres]
    voxel_offset: tuple[int, int, int] = (0, 0, 0)
    chunk_sizes: list[_Triple] = Field(min_length=1)


class _Info(_Loose):
    data_type: str
    num_channels: _Length
    scales: list[_Scale] = Field(min_length=1, max_length=_MAX_LEVELS)


class _Dataset(_Loose):
    """``attributes.json`` of an N5 dataset; lists begin with x."""

    dimensions: list[_Length] = Field(min_length=2, max_length=MAX_AXES)
    blockSize: list[_Length] = Field(min_length=2, max_length=MAX_AXES)
    dataType: str
    axes: list[str] | None = None


class _Lengths(_Loose):
    """How large voxels are, in any of the ways that N5 files say it.

    ``transform`` names its axes; the others go from x on. ``resolution`` and ``pixelResolution``
    are those of the finest level, times ``downsamplingFactors``.
    """

    transform: Any = None
    pixelResolution: Any = None
    resolution: Any = None
    units: Any = None
    downsamplingFactors: Any = None


class TensorStoreArray(LazyArray):
    """An array of tensorstore, transposed; errors lose the places in its source code."""

    def __init__(self, store: Any, name: str) -> None:
        super().__init__(store.shape[::-1], store.dtype.numpy_dtype, name)
        self._store = store.T

    def _read(self, box: Box) -> Any:
        try:
            return self._store[box].read().result()
        except READ_ERRORS as error:
            raise ValueError(_first_words(error)) from error


def is_chunk_folder(folder: Path) -> bool:
    """Whether a folder is a precomputed volume, or an N5 dataset or group."""
    is_n5 = (folder / _ATTRIBUTES).is_file() or folder.suffix.lower() == ".n5"
    return is_n5 or _has_info(folder)


def read_chunk_folder(folder: Path) -> Source:
    """Open the finest level; coarser ones of the same volume follow.

    Raises
    ------
    InputError
        If the metadata are invalid, point outside the folder, or declare chunks that no honest
        volume has; if there is no array, or more than one; or without the extra.
    """
    return _precomputed(folder) if _has_info(folder) else _n5(folder)


def _has_info(folder: Path) -> bool:
    """Whether there is a JSON object of that name; a person may call a note so too."""
    path = folder / _INFO
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith(b"{")


def _precomputed(folder: Path) -> Source:
    info = _parsed(_Info, folder / _INFO)
    by_size = sorted(enumerate(info.scales), key=lambda item: -math.prod(item[1].size))
    arrays = []
    for index, scale in by_size:
        require_inside(folder.name, scale.key)
        for chunk in scale.chunk_sizes:
            _require_small(folder, (*chunk, info.num_channels), info.data_type)
        spec = {"driver": "neuroglancer_precomputed", "scale_index": index}
        arrays.append(_opened(spec, folder, folder.name))
    finest = by_size[0][1]
    x, y, z = finest.resolution
    ox, oy, oz = (start * edge for start, edge in zip(finest.voxel_offset, (x, y, z), strict=True))
    return Source(
        folder.name,
        "precomputed",
        arrays[0],
        "CZYX",
        (z, y, x),
        origin=(oz, oy, ox),
        coarser=tuple(arrays[1:]),
    )


def _n5(folder: Path) -> Source:
    """A dataset, or the levels ``s0``, ``s1``, ... of a group, or its only dataset."""
    if _is_dataset(folder):
        return _level(folder)
    inside = sorted(path.name for path in folder.iterdir() if _is_dataset(path))
    levels = sorted((n for n in inside if re.fullmatch(r"s\d{1,2}", n)), key=lambda n: int(n[1:]))
    if "s0" in levels:
        finest, *others = [_level(folder / level) for level in levels]
        return replace(finest, name=folder.name, coarser=tuple(one.data for one in others))
    if len(inside) == 1:
        return _level(folder / inside[0])
    if not inside:
        raise InputError(f"{folder.name} is an N5 group without an array; pass a dataset inside.")
    raise InputError(
        f"{folder.name} holds several arrays ({', '.join(inside[:12])}); pass one, such as "
        f"{folder.name}/{inside[0]}."
    )


def _is_dataset(folder: Path) -> bool:
    path = folder / _ATTRIBUTES
    return path.is_file() and "dimensions" in _parsed(dict[str, Any], path)


def _level(folder: Path) -> Source:
    dataset = _parsed(_Dataset, folder / _ATTRIBUTES)
    _require_small(folder, dataset.blockSize, dataset.dataType)
    array = _opened({"driver": "n5"}, folder, folder.name)
    axes = "".join(name[:1].upper() for name in reversed(dataset.axes or ()))
    if len(axes) != array.ndim or set(axes) - set("TCZYX") or len(set(axes)) < len(axes):
        axes = label_axes(array.shape)
    edges, origin = _place(folder, axes)
    return Source(folder.name, "N5", array, axes, edges, origin=origin)


def _place(folder: Path, axes: str) -> tuple[Edges, Origin]:
    """Voxel edges and origin in nm, by the dataset's attributes or those of its group."""
    own = _parsed(_Lengths, folder / _ATTRIBUTES)
    above = folder.parent / _ATTRIBUTES
    group = _parsed(_Lengths, above) if above.is_file() else _Lengths()
    if isinstance(own.transform, dict):
        names = [str(name)[:1].upper() for name in _list(own.transform.get("axes"))]
        scale = _in_nm(own.transform.get("scale"), own.transform.get("units"))
        start = _in_nm(own.transform.get("translate"), own.transform.get("units"))
        origin = dict(zip(names, start, strict=False))
        z, y, x = (origin.get(letter, 0.0) for letter in "ZYX")
        return _edges(dict(zip(names, scale, strict=False))), (z, y, x)
    whole = own.pixelResolution or group.pixelResolution
    if isinstance(whole, dict):
        lengths = _list(whole.get("dimensions"))
        finest = _in_nm(lengths, [whole.get("unit")] * len(lengths))
    else:
        finest = _in_nm(own.resolution or group.resolution, own.units or group.units)
    steps = _list(own.downsamplingFactors) or [1.0] * len(finest)
    found = [a * b for a, b in zip(finest, steps, strict=False) if isinstance(b, int | float)]
    return _edges(dict(zip(reversed(axes), found, strict=False))), (0.0, 0.0, 0.0)


def _in_nm(lengths: Any, units: Any) -> list[float]:
    """Lengths with a unit each; nothing where one is not a length."""
    pairs = list(zip(_list(lengths), _list(units), strict=False))
    if not all(isinstance(a, int | float) and length_in_nm(str(b)) for a, b in pairs):
        return []
    return [float(a) * (length_in_nm(str(b)) or 0.0) for a, b in pairs]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _edges(by_letter: dict[str, float]) -> Edges:
    z, y, x = (by_letter.get(letter, math.nan) for letter in "ZYX")
    return (z, y, x) if all(math.isfinite(e) and e > 0 for e in (z, y, x)) else UNKNOWN_EDGES


_Parsed = TypeVar("_Parsed")


def _parsed(kind: type[_Parsed], path: Path) -> _Parsed:
    """A small JSON file, as far as it is understood."""
    name = f"{path.parent.name}/{path.name}"
    if path.stat().st_size > _MAX_METADATA_BYTES:
        raise InputError(f"{name} is too long to describe a volume.")
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{name} is damaged: {where or 'JSON'}: {first['msg']}.") from error


def _require_small(folder: Path, chunk: Sequence[int], dtype: str) -> None:
    """Refuse what would fill the memory once a chunk is read."""
    try:
        num_bytes = math.prod(chunk) * np.dtype(dtype).itemsize
    except TypeError as error:
        raise InputError(f"{folder.name} holds {dtype} values, not numbers.") from error
    if num_bytes > MAX_UNIT_BYTES:
        raise InputError(
            f"{folder.name} declares chunks of {num_bytes / 2**30:.1f} GiB; at most 2 GiB can be "
            "read."
        )
    refuse_bomb_in(folder, num_bytes)


def _opened(spec: dict[str, Any], folder: Path, name: str) -> TensorStoreArray:
    """An array that is read when it is asked for; a path is no address, whatever it looks like."""
    try:
        import tensorstore
    except ImportError as error:
        raise InputError(
            f"{name} is precomputed or N5, which need an extra: pip install "
            "'napari-d2r[tensorstore]'."
        ) from error
    place = {"driver": "file", "path": f"{folder.resolve()}/"}
    try:
        store = tensorstore.open({**spec, "kvstore": place}, read=True, open=True).result()
    except READ_ERRORS as error:
        raise InputError(f"{name} cannot be opened ({_first_words(error)}).") from error
    return TensorStoreArray(store[tensorstore.d[:].translate_to[0]], name)


def _first_words(error: BaseException) -> str:
    """What tensorstore says, without the places in its own source code."""
    return str(error).split(" [")[0].splitlines()[0].rstrip(".")
