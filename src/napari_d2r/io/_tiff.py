"""TIFF stacks: ImageJ hyperstacks, OME-TIFF and plain pages, read page by page."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.io._lazy import READ_ERRORS, LazyArray, MemmapArray, PlaneStack, refuse_bomb
from napari_d2r.io._provenance import provenance_in_text
from napari_d2r.io._source import UNKNOWN_EDGES, Edges, Source, require_inside
from napari_d2r.io._units import length_in_nm

__all__ = ["read_tiff"]

_TIFF_ERRORS = (*READ_ERRORS, ElementTree.ParseError)

# What programs write when they mean "for the printer"; no microscope has 350 µm voxels.
_PRINTER_DPI = (72.0, 96.0, 150.0, 300.0, 600.0)


class TiffPages(PlaneStack):
    """The pages of the first series of a file, decoded one at a time."""

    def __init__(self, path: Path, series: tifffile.TiffPageSeries) -> None:
        plane = tuple(series.keyframe.shape)
        stack = tuple(series.shape)[: len(series.shape) - len(plane)]
        super().__init__(stack, plane, series.dtype, path.name)
        refuse_bomb(path.name, math.prod(plane) * self.dtype.itemsize, path.stat().st_size)
        self._path = path
        self._pages: list[Any] | None = _loaded_pages(path, series, math.prod(stack))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_pages": None}

    def _decode(self, index: int) -> NDArray[Any]:
        if self._pages is None:
            with tifffile.TiffFile(self._path) as tiff:
                self._pages = _loaded_pages(self._path, tiff.series[0], math.prod(self._stack))
        page = self._pages[index]
        handle = page.parent.filehandle  # an OME image may be spread over several files
        handle.open()
        try:
            return np.asarray(page.asarray())
        except ValueError as error:
            if "imagecodecs" in str(error):  # an optional package of tifffile
                raise InputError(
                    f"{self._name} is compressed by {page.compression.name}; pip install "
                    "imagecodecs, or save it uncompressed."
                ) from error
            raise
        finally:
            handle.close()


def read_tiff(path: Path) -> Source:
    """Open the first image of a TIFF file: memory-mapped where contiguous, else by pages.

    Raises
    ------
    InputError
        If the file is damaged or no TIFF, its pages differ in size or type, or its
        compression needs a package that is not installed.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            return _source(path, tiff)
    except InputError:
        raise
    except _TIFF_ERRORS as error:
        reason = re.sub(r"<[^<>]*> ?", "", str(error)).strip(" .")
        raise InputError(f"{path.name} is not a readable TIFF file ({reason}).") from error


def _source(path: Path, tiff: tifffile.TiffFile) -> Source:
    _require_ending(path, tiff)
    for name in _other_files(path, tiff):  # asking for the series opens them
        require_inside(path.name, name)
    if not tiff.series:
        raise InputError(f"{path.name} holds no image.")
    _require_whole(path, tiff)
    series = tiff.series[0]
    named = bool(tiff.is_imagej or tiff.is_ome or tiff.is_shaped)
    others = [other for other in tiff.series[1:] if not other.keyframe.is_reduced]
    notes = []
    if others and not named:
        first, other = series.keyframe, others[0].keyframe
        raise InputError(
            f"{path.name} mixes slices: page 1 is {first.shape} {first.dtype}, page "
            f"{other.index + 1} is {other.shape} {other.dtype}; all must be alike."
        )
    if others:
        notes.append(f"The file holds {len(others) + 1} images; the first is read.")
    edges = _edges(tiff, notes)
    if edges[1:] == (None, None):
        notes += _aspect(tiff.pages.first)
    kind = "ImageJ TIFF" if tiff.is_imagej else "OME-TIFF" if tiff.is_ome else "TIFF"
    data = _array(path, tiff, series)
    axes, provenance = _axes(series.axes), provenance_in_text(_description(tiff))
    return Source(path.name, kind, data, axes, edges, tuple(notes), provenance=provenance)


def _require_ending(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuse pages that follow each other in a circle; tifffile would walk it without end."""
    layout, file = tiff.tiff, tiff.filehandle
    seen: set[int] = set()
    where = int(tiff.pages.first.offset)
    while where:
        if where in seen:
            raise InputError(f"{path.name} is damaged: its slices follow each other in a circle.")
        seen.add(where)
        file.seek(where)
        (num_tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
        file.seek(where + layout.tagnosize + num_tags * layout.tagsize)
        following = file.read(layout.offsetsize)
        if len(following) < layout.offsetsize:
            return  # cut short, which is told later
        (where,) = struct.unpack(layout.offsetformat, following)


def _other_files(path: Path, tiff: tifffile.TiffFile) -> Iterator[str]:
    """The names of files that hold further planes: OME's, and those of an NDTiff index."""
    if tiff.is_ome:
        for element in ElementTree.fromstring(tiff.ome_metadata or "").iter():
            if element.tag.rpartition("}")[2] == "UUID":
                yield element.get("FileName", "")
    index = path.with_name("NDTiff.index")
    if tiff.is_ndtiff and index.is_file():
        for _, name, *_ in tifffile.read_ndtiff_index(index):
            yield name


def _require_whole(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuse a chain of pages that leads out of the file; tifffile would drop the rest."""
    num_pages = len(tiff.pages)  # walks the chain to its end
    layout, where = tiff.tiff, tiff.pages.next_page_offset
    if where is not None:
        tiff.filehandle.seek(where)
        following = tiff.filehandle.read(layout.offsetsize)
        if struct.unpack(layout.offsetformat, following)[0] != 0:
            raise InputError(
                f"{path.name} is cut short: only {num_pages} of its slices are there; copy it "
                "again."
            )


def _array(path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> LazyArray:
    if series.dataoffset is not None:
        dtype = np.dtype(series.dtype).newbyteorder(tiff.byteorder)
        return MemmapArray(path, tuple(series.shape), dtype, offset=int(series.dataoffset))
    pages = TiffPages(path, series)
    pages[(0,) * (pages.ndim - 2)]  # the first page shows whether the rest can be decoded
    return pages


def _loaded_pages(path: Path, series: tifffile.TiffPageSeries, count: int) -> list[Any]:
    """Every page with its offsets in memory, so that the file can be closed meanwhile."""
    pages: list[Any] = [page for page in series.pages if page is not None]
    if len(pages) != count:
        raise InputError(f"{path.name} should hold {count} slices, but {len(pages)} are there.")
    for page in pages:
        ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))
        if max(ends, default=0) > page.parent.filehandle.size:
            raise InputError(
                f"{path.name} is cut short: slice {page.index + 1} ends beyond the file; "
                "copy it again."
            )
    return pages


def _axes(axes: str) -> str:
    """Axis letters of tifffile in ours: samples are channels, one unnamed axis is Z."""
    letters = axes.replace("S", "C") if "C" not in axes else axes
    unnamed = [letter for letter in letters if letter not in "TCZYX"]
    if len(unnamed) == 1 and "Z" not in letters:
        return letters.replace(unnamed[0], "Z")
    return "".join(letter if letter in "TCZYX" else "?" for letter in letters)


def _edges(tiff: tifffile.TiffFile, notes: list[str]) -> Edges:
    if tiff.is_ome:
        return _ome_edges(tiff.ome_metadata or "")
    page = tiff.pages.first
    if tiff.is_imagej:
        return _imagej_edges(tiff.imagej_metadata or {}, _resolution(page))
    return _tag_edges(page, notes)


def _description(tiff: tifffile.TiffFile) -> str | None:
    """The text that a person may write into an image: ImageJ's info, OME's description."""
    if tiff.is_imagej:
        info = (tiff.imagej_metadata or {}).get("Info")
        return info if isinstance(info, str) else None
    if tiff.is_ome:
        for element in ElementTree.fromstring(tiff.ome_metadata or "").iter():
            if element.tag.rpartition("}")[2] == "Description":
                return element.text
    return None


def _ome_edges(xml: str) -> Edges:
    """PhysicalSizeX, Y, Z of the first image; the unit is µm unless named."""
    for element in ElementTree.fromstring(xml).iter():
        if element.tag.rpartition("}")[2] == "Pixels":
            z, y, x = (
                _edge(
                    element.get(f"PhysicalSize{letter}"),
                    element.get(f"PhysicalSize{letter}Unit", "µm"),
                )
                for letter in "ZYX"
            )
            return z, y, x
    return UNKNOWN_EDGES


def _imagej_edges(metadata: dict[str, Any], resolution: Iterable[float | None]) -> Edges:
    """``spacing`` along Z and pixels per unit along X and Y; ``unit`` belongs to all."""
    unit = str(metadata.get("unit", ""))
    spacing = metadata.get("spacing")
    z = _edge(spacing, str(metadata.get("zunit", unit)), flipped=True)
    x, y = (
        _edge(None if not pixels else 1 / pixels, axis_unit)
        for pixels, axis_unit in zip(
            resolution, (unit, str(metadata.get("yunit", unit))), strict=True
        )
    )
    return z, y, x


def _tag_edges(page: Any, notes: list[str]) -> Edges:
    """XResolution and YResolution in pixels per centimetre or inch, from a plain TIFF."""
    tag = page.tags.get("ResolutionUnit")
    unit = {2: "inch", 3: "centimeter"}.get(int(tag.value) if tag else 2)
    x, y = _resolution(page)
    if unit is None or x is None or y is None:
        return UNKNOWN_EDGES
    if unit == "inch" and x in _PRINTER_DPI:
        notes.append(f"The resolution tag ({x:g} per inch) is meant for printing and is not used.")
        return UNKNOWN_EDGES
    return None, _edge(1 / y, unit), _edge(1 / x, unit)


def _aspect(page: Any) -> list[str]:
    """What a resolution in no unit of length still tells: that pixels are not square."""
    x, y = _resolution(page)
    if x is None or y is None or math.isclose(x, y, rel_tol=5e-3):
        return []
    return [
        f"Pixels are not square (y is {x / y:.4g} times as long as x), but the file does not say "
        "how large they are."
    ]


def _resolution(page: Any) -> tuple[float | None, float | None]:
    """Pixels per unit along X and along Y."""
    values: list[float | None] = []
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        numerator, denominator = tag.value if tag else (0, 0)
        values.append(numerator / denominator if numerator and denominator else None)
    return values[0], values[1]


def _edge(value: Any, unit: str, *, flipped: bool = False) -> float | None:
    """A positive finite length in nm, or None. ImageJ writes flipped stacks as negative."""
    nanometres = length_in_nm(unit)
    try:
        edge = float(value) * (nanometres or math.nan)
    except (TypeError, ValueError):
        return None
    edge = abs(edge) if flipped else edge
    return edge if math.isfinite(edge) and edge > 0 else None
