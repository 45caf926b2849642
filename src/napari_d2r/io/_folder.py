"""A folder of 2D slices, one TIFF or PNG file each, in natural order."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from napari_d2r.errors import InputError
from napari_d2r.io._lazy import READ_ERRORS, PlaneStack, refuse_bomb
from napari_d2r.io._source import UNKNOWN_EDGES, Edges, Source
from napari_d2r.io._tiff import read_tiff

__all__ = [
    "SliceFile",
    "SliceHeader",
    "natural_key",
    "odd_names",
    "odd_slices",
    "read_folder",
    "read_slice",
    "scan_slices",
    "slice_paths",
    "usual_header",
]

_TIFF_SUFFIXES = (".tif", ".tiff")
_SLICE_SUFFIXES = (*_TIFF_SUFFIXES, ".png")
_OTHER_IMAGES = (".jpg", ".jpeg", ".bmp", ".gif", ".jp2", ".webp")
_PNG_CHANNELS = {"L": 0, "I;16": 0, "I;16B": 0, "I": 0, "LA": 2, "RGB": 3, "RGBA": 4, "P": 3}


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What the header of one file says. ``axes`` is YX, or YXC for colour."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    edges: Edges = UNKNOWN_EDGES
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape))} {self.dtype.name}"

    def fits(self, other: SliceHeader) -> bool:
        """Whether both can be slices of one stack."""
        return (self.shape, self.dtype) == (other.shape, other.dtype)


@dataclass(frozen=True, slots=True)
class SliceFile:
    """One file of a folder: its header, or the sentence that says why there is none."""

    path: Path
    header: SliceHeader | None
    problem: str = ""


class SliceFiles(PlaneStack):
    """Files as slices along Z; each is opened when it is read."""

    def __init__(self, folder: Path, names: tuple[str, ...], first: SliceHeader) -> None:
        super().__init__((len(names),), first.shape, first.dtype, folder.name)
        stored = sum((folder / name).stat().st_size for name in names)
        refuse_bomb(folder.name, math.prod(first.shape) * self.dtype.itemsize, stored)
        self._folder, self._names = folder, names

    def _decode(self, index: int) -> NDArray[Any]:
        return _pixels(self._folder / self._names[index])


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``slice2`` comes before ``slice10``."""
    parts = re.findall(r"(\d+)|(\D+)", name)
    return tuple(
        (0, int(digits), "") if digits else (1, 0, text.casefold()) for digits, text in parts
    )


def read_folder(folder: Path) -> Source:
    """Open a folder of slices; y and x edges come from the first file, z is never there.

    Files that are no images, and hidden ones, are passed over.

    Raises
    ------
    InputError
        If there is no slice, or slices differ in size, type or format: those that do are
        named.
    """
    slices = slice_paths(folder)
    scanned = list(scan_slices(slices))
    for entry in scanned:
        if entry.problem:
            raise InputError(entry.problem)
    first = usual_header(scanned)
    assert first is not None  # there is a slice, and none has a problem
    odd = odd_slices(scanned, first)
    if odd:
        raise InputError(
            f"{folder.name} mixes slices: {odd_names(odd)}, but the other "
            f"{len(scanned) - len(odd)} are {first}; convert the odd ones or move them away, so "
            "that all are alike."
        )
    kind = "PNG" if slices[0].suffix.lower() == ".png" else "TIFF"
    data = SliceFiles(folder, tuple(path.name for path in slices), first)
    kind = f"folder of {kind} slices"
    return Source(folder.name, kind, data, f"Z{first.axes}", first.edges, first.notes)


def slice_paths(folder: Path) -> list[Path]:
    """The slices of a folder in natural order, not yet opened.

    Raises
    ------
    InputError
        If there is none, TIFF and PNG are mixed, or other images lie among them.
    """
    files = sorted(
        (path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")),
        key=lambda path: (natural_key(path.name), path.name),
    )
    for path in files:
        if path.suffix.lower() in _OTHER_IMAGES:
            raise InputError(
                f"{folder.name} holds {path.name}; slices must be TIFF or PNG files "
                "(JPEG and the like lose detail)."
            )
    slices = [path for path in files if path.suffix.lower() in _SLICE_SUFFIXES]
    if not slices:
        raise InputError(f"{folder.name} is a folder without TIFF or PNG slices.")
    for path in slices[1:]:
        if (path.suffix.lower() == ".png") != (slices[0].suffix.lower() == ".png"):
            raise InputError(
                f"{folder.name} mixes TIFF and PNG files ({slices[0].name}, {path.name}); "
                "keep one kind."
            )
    return slices


def scan_slices(paths: list[Path]) -> Iterator[SliceFile]:
    """Read the header of one file after another; a bad file is told, not raised."""
    for path in paths:
        try:
            yield SliceFile(path, _describe(path))
        except InputError as error:
            yield SliceFile(path, None, str(error))


def usual_header(scanned: list[SliceFile]) -> SliceHeader | None:
    """Header of the first file of the kind that most files are of; None without any."""
    kinds = Counter((one.header.shape, one.header.dtype) for one in scanned if one.header)
    if not kinds:
        return None
    usual = kinds.most_common(1)[0][0]
    return next(
        one.header
        for one in scanned
        if one.header and (one.header.shape, one.header.dtype) == usual
    )


def odd_slices(scanned: list[SliceFile], usual: SliceHeader) -> list[SliceFile]:
    """The readable files that differ from ``usual`` in size or type."""
    return [one for one in scanned if one.header is not None and not one.header.fits(usual)]


def odd_names(odd: list[SliceFile], most: int = 4) -> str:
    """Name the odd ones with what they are: ``7.tif is 6 x 8 uint8, and 3 more``."""
    named = [f"{one.path.name} is {one.header}" for one in odd[:most]]
    if len(odd) > most:
        named.append(f"and {len(odd) - most} more differ")
    return ", ".join(named)


def read_slice(path: Path) -> NDArray[Any]:
    """Pixels of one file, (Y, X) or with colours (Y, X, C).

    Raises
    ------
    InputError
        If the file is damaged.
    """
    try:
        return _pixels(path)
    except InputError:
        raise
    except (*READ_ERRORS, SyntaxError) as error:
        raise InputError(f"{path.name} cannot be read to its end ({error}).") from error


def _pixels(path: Path) -> NDArray[Any]:
    if path.suffix.lower() in _TIFF_SUFFIXES:
        return np.asarray(read_tiff(path).data[...])
    with _open_png(path) as image:
        dtype = np.dtype("u2" if image.mode.startswith("I") else "u1")
        return np.asarray(image.convert("RGB") if image.mode == "P" else image, dtype)


def _describe(path: Path) -> SliceHeader:
    if path.suffix.lower() == ".png":
        return _describe_png(path)
    found = read_tiff(path)
    axes, shape = found.axes, tuple(found.data.shape)
    if axes not in ("YX", "YXC", "CYX"):
        raise InputError(
            f"{path.name} is a stack of its own ({axes} {shape}), not a slice; pass the file, or "
            "move it out of the folder."
        )
    return SliceHeader(
        shape, np.dtype(found.data.dtype), axes, (None, *found.edges[1:]), found.notes
    )


def _open_png(path: Path) -> PngImageFile:
    # Not Image.open: it guesses other formats, and refuses slices over 179 megapixels.
    return PngImageFile(path)


def _describe_png(path: Path) -> SliceHeader:
    try:
        with _open_png(path) as image:
            mode, (width, height) = image.mode, image.size
    except (*READ_ERRORS, SyntaxError) as error:
        raise InputError(f"{path.name} is not a readable PNG file ({error}).") from error
    if mode not in _PNG_CHANNELS:
        raise InputError(f"{path.name} is a PNG of mode {mode}; save it as 8- or 16-bit grey.")
    channels = _PNG_CHANNELS[mode]
    dtype = np.dtype("u2" if mode.startswith("I") else "u1")
    shape = (height, width, channels) if channels else (height, width)
    return SliceHeader(shape, dtype, "YXC" if channels else "YX")
