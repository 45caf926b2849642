"""OME-Zarr 0.4 and 0.5, and bare zarr arrays of format 2 and 3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_d2r.errors import InputError
from napari_d2r.io._lazy import MAX_UNIT_BYTES, READ_ERRORS, Box, LazyArray, refuse_bomb_in
from napari_d2r.io._provenance import provenance_in
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
from napari_d2r.volumes import ArrayLike

__all__ = ["is_zarr", "read_zarr"]

_MARKERS = ("zarr.json", ".zarray", ".zgroup")

# Codecs of zarr format 2 that only turn bytes into bytes or numbers; `pickle` runs code.
_SAFE_V2_CODECS = {
    "adler32", "astype", "bitround", "blosc", "bz2", "crc32", "crc32c", "delta",
    "fixedscaleoffset", "fletcher32", "gzip", "lz4", "lzma", "packbits", "quantize", "shuffle",
    "zlib", "zstd",
}  # fmt: skip


class _Loose(BaseModel):
    """Reads what is needed and lets pass what other programs add."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Axis(_Loose):
    name: str
    type: str | None = None
    unit: str | None = None


class _Transformation(_Loose):
    type: str
    scale: list[float] | None = None
    translation: list[float] | None = None


class _Dataset(_Loose):
    path: str
    coordinateTransformations: list[_Transformation] = []


class _Multiscale(_Loose):
    axes: list[_Axis] = Field(min_length=2, max_length=MAX_AXES)
    datasets: list[_Dataset] = Field(min_length=1)
    coordinateTransformations: list[_Transformation] = []


class ZarrArray(LazyArray):
    """A zarr array whose decoding errors are put in words."""

    def __init__(self, array: zarr.Array[Any], name: str) -> None:
        super().__init__(array.shape, array.dtype, name)
        self._array = array

    def _read(self, box: Box) -> Any:
        return self._array[box]


def is_zarr(folder: Path) -> bool:
    """Whether a folder is, or by its name should be, a zarr array or group."""
    return folder.suffix.lower() == ".zarr" or _has_metadata(folder)


def read_zarr(path: Path) -> Source:
    """Open the finest level of an OME-Zarr image, or a bare array.

    A level given by its own path (``image.zarr/1``) gets its voxel size from the group.

    Raises
    ------
    InputError
        If it is a plate, a collection or labels only, its metadata are invalid, it holds
        several arrays, or declares chunks, axes or codecs that no honest image has.
    """
    node = _open(path)
    if isinstance(node, zarr.Array):
        return _level_of_parent(path) or _bare(path, node)
    attributes = dict(node.attrs)
    ome = attributes.get("ome", attributes)
    if isinstance(ome, dict) and "multiscales" in ome:
        image = _image(path, _multiscale(path, ome))
        return replace(image, provenance=provenance_in(attributes))
    _refuse_collections(path, ome)
    return _only_array(path, node)


def _has_metadata(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _MARKERS)


def _open(path: Path) -> Any:
    try:
        node = zarr.open(store=path, mode="r")
    except READ_ERRORS as error:
        raise InputError(f"{path.name} is not a readable zarr array or group ({error}).") from error
    if not isinstance(node.metadata.attributes, dict):
        raise InputError(f"{path.name} has invalid zarr metadata: attributes is no object.")
    return node


def _multiscale(path: Path, ome: dict[str, Any]) -> _Multiscale:
    entries = ome["multiscales"]
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path.name} has invalid OME-Zarr metadata: multiscales is empty.")
    try:
        return _Multiscale.model_validate(entries[0])
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(
            f"{path.name} has invalid OME-Zarr metadata: multiscales.0.{where}: "
            f"{error.errors()[0]['msg']}."
        ) from error


def _finest(multiscale: _Multiscale) -> _Dataset:
    """The level with the smallest voxels; the first where the metadata do not say."""
    space = [at for at, axis in enumerate(multiscale.axes) if _letter(axis) in "ZYX"]

    def voxel(dataset: _Dataset) -> float:
        scale = _scale(dataset.coordinateTransformations, len(multiscale.axes))
        return math.prod(scale[at] for at in space) if scale else math.inf

    return min(multiscale.datasets, key=voxel)


def _image(path: Path, multiscale: _Multiscale) -> Source:
    """The finest level, with the coarser ones that can be opened."""
    finest = _finest(multiscale)
    source = _level(path, multiscale, finest)
    coarser: list[ArrayLike] = []
    for dataset in multiscale.datasets:
        if dataset is not finest:
            try:
                coarser.append(_level(path, multiscale, dataset).data)
            except InputError:
                continue  # a pyramid with a step missing still has its top
    sizes = [math.prod(source.data.shape)]
    kept = []
    for level in sorted(coarser, key=lambda one: -math.prod(one.shape)):
        if math.prod(level.shape) < sizes[-1]:
            sizes.append(math.prod(level.shape))
            kept.append(level)
    return replace(source, coarser=tuple(kept))


def _level(path: Path, multiscale: _Multiscale, dataset: _Dataset) -> Source:
    require_inside(path.name, dataset.path)
    inner = path / dataset.path
    array = _open(inner) if inner.is_dir() else None
    if not isinstance(array, zarr.Array):
        raise InputError(
            f"{path.name} has invalid OME-Zarr metadata: it names level {dataset.path!r}, "
            "which is not there."
        )
    if array.ndim != len(multiscale.axes):
        raise InputError(
            f"{path.name} has invalid OME-Zarr metadata: {len(multiscale.axes)} axes are "
            f"named, but level {dataset.path!r} has {array.ndim}."
        )
    axes = "".join(_letter(axis) for axis in multiscale.axes)
    if "Y" not in axes or "X" not in axes or any(axes.count(letter) > 1 for letter in "TCZYX"):
        names = [axis.name for axis in multiscale.axes]
        raise InputError(f"{path.name} has invalid OME-Zarr metadata: its axes are {names}.")
    notes = []
    edges = _edges(multiscale, dataset)
    if edges == UNKNOWN_EDGES and dataset.coordinateTransformations:
        notes.append("The axes have a scale but no unit of length, so the scale is not used.")
    name = "OME-Zarr 0.5" if array.metadata.zarr_format == 3 else "OME-Zarr 0.4"
    origin = _origin(multiscale, dataset)
    return Source(path.name, name, _checked(path, array), axes, edges, tuple(notes), origin)


def _level_of_parent(path: Path) -> Source | None:
    """The same array seen as a level of the image it lies in, if it does."""
    if not _has_metadata(path.parent):
        return None
    group = _open(path.parent)
    attributes = {} if isinstance(group, zarr.Array) else dict(group.attrs)
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, dict) or "multiscales" not in ome:
        return None
    multiscale = _multiscale(path.parent, ome)
    levels = [dataset for dataset in multiscale.datasets if dataset.path == path.name]
    return _level(path.parent, multiscale, levels[0]) if levels else None


def _bare(path: Path, array: zarr.Array[Any]) -> Source:
    """An array without OME metadata; its dimensions may have names."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    axes = "".join(str(name)[:1].upper() for name in names) if isinstance(names, Sequence) else ""
    shape = tuple(array.shape)
    if len(axes) != len(shape) or set(axes) - set("TCZYX") or len(set(axes)) < len(axes):
        axes = label_axes(shape)
    name = f"zarr v{array.metadata.zarr_format}"
    return Source(path.name, name, _checked(path, array), axes)


def _only_array(path: Path, group: zarr.Group) -> Source:
    try:
        arrays, groups = sorted(group.array_keys()), sorted(group.group_keys())
    except READ_ERRORS as error:
        raise InputError(f"{path.name} holds arrays that cannot be read ({error}).") from error
    if len(arrays) == 1:
        return _bare(path, _open(path / arrays[0]))
    if arrays:
        raise InputError(
            f"{path.name} holds several arrays ({', '.join(arrays[:12])}); pass one, such as "
            f"{path.name}/{arrays[0]}."
        )
    inside = (
        f"only groups ({', '.join(groups[:12])}); pass an image inside" if groups else ("no image")
    )
    raise InputError(f"{path.name} is a zarr group that holds {inside}.")


def _refuse_collections(path: Path, ome: Any) -> None:
    if not isinstance(ome, dict):
        raise InputError(f"{path.name} has invalid OME-Zarr metadata: ome is no object.")
    for key, inner in (("plate", "A/1/0"), ("well", "0"), ("bioformats2raw.layout", "0")):
        if key in ome:
            what = key if key in ("plate", "well") else "collection"
            raise InputError(
                f"{path.name} is a {what} of several images; pass one of them, such as "
                f"{path.name}/{inner}."
            )
    if "labels" in ome:
        raise InputError(f"{path.name} holds labels only; pass the image they belong to.")


def _checked(path: Path, array: zarr.Array[Any]) -> ZarrArray:
    """Refuse what would fill the memory or run code once a chunk is read."""
    for what, lengths in (("chunk", array.chunks), ("shard", array.shards)):
        num_bytes = math.prod(lengths or ()) * max(1, np.dtype(array.dtype).itemsize)
        if num_bytes > MAX_UNIT_BYTES:
            raise InputError(
                f"{path.name} declares {what}s of {num_bytes / 2**30:.1f} GiB; at most 2 GiB can "
                "be read."
            )
    refuse_bomb_in(path, math.prod(array.chunks) * max(1, np.dtype(array.dtype).itemsize))
    if np.dtype(array.dtype).kind not in "biufc":
        raise InputError(f"{path.name} holds {array.dtype} values, not numbers.")
    if array.metadata.zarr_format == 2:
        codecs = [*(array.metadata.filters or ()), array.metadata.compressor]
        names = {str(codec.codec_id) for codec in codecs if codec is not None}
        if names - _SAFE_V2_CODECS:
            raise InputError(
                f"{path.name} is stored with {', '.join(sorted(names - _SAFE_V2_CODECS))}, which "
                "is not opened; convert it first."
            )
    return ZarrArray(array, path.name)


def _letter(axis: _Axis) -> str:
    """T, C, Z, Y, X, or ? for an axis nobody knows."""
    if axis.name.lower() in ("t", "c", "z", "y", "x"):
        return axis.name.upper()
    return {"time": "T", "channel": "C"}.get(axis.type or "", "?")


def _scale(transformations: list[_Transformation], num_axes: int) -> list[float] | None:
    for step in transformations:
        if step.type == "scale" and step.scale is not None and len(step.scale) == num_axes:
            return step.scale
    return None


def _edges(multiscale: _Multiscale, dataset: _Dataset) -> Edges:
    """Scale of the level times scale of the image, in nm, where the axis has a unit."""
    axes = multiscale.axes
    level = _scale(dataset.coordinateTransformations, len(axes))
    if level is None:
        return UNKNOWN_EDGES
    whole = _scale(multiscale.coordinateTransformations, len(axes)) or [1.0] * len(axes)
    edges: dict[str, float] = {}
    for axis, a, b in zip(axes, level, whole, strict=True):
        edge = a * b * (length_in_nm(axis.unit or "") or math.nan)
        if math.isfinite(edge) and edge > 0:
            edges[_letter(axis)] = edge
    return edges.get("Z"), edges.get("Y"), edges.get("X")


def _origin(multiscale: _Multiscale, dataset: _Dataset) -> Origin:
    """Translation of the level, scaled and moved as the image is, in nm; 0 without a unit."""
    axes = multiscale.axes
    none = [0.0] * len(axes)
    own = _translation(dataset.coordinateTransformations, len(axes)) or none
    whole = _scale(multiscale.coordinateTransformations, len(axes)) or [1.0] * len(axes)
    moved = _translation(multiscale.coordinateTransformations, len(axes)) or none
    found: dict[str, float] = {}
    for axis, a, b, c in zip(axes, own, whole, moved, strict=True):
        place = (a * b + c) * (length_in_nm(axis.unit or "") or 0.0)
        if math.isfinite(place):
            found[_letter(axis)] = place
    return found.get("Z", 0.0), found.get("Y", 0.0), found.get("X", 0.0)


def _translation(transformations: list[_Transformation], num_axes: int) -> list[float] | None:
    for step in transformations:
        if step.type == "translation" and step.translation and len(step.translation) == num_axes:
            return step.translation
    return None
