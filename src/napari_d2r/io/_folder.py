"""A folder of 2D slices, one TIFF or PNG file each, in natural order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from napari_d2r.errors import InputError
from napari_d2r.io._lazy import READ_ERRORS, PlaneStack
from napari_d2r.io._source import UNKNOWN_EDGES, Edges, Source
from napari_d2r.io._tiff import read_tiff

__all__ = ["natural_key", "read_folder"]

_TIFF_SUFFIXES = (".tif", ".tiff")
_SLICE_SUFFIXES = (*_TIFF_SUFFIXES, ".png")
_OTHER_IMAGES = (".jpg", ".jpeg", ".bmp", ".gif", ".jp2", ".webp")
_PNG_CHANNELS = {"L": 0, "I;16": 0, "I;16B": 0, "I": 0, "LA": 2, "RGB": 3, "RGBA": 4, "P": 3}


@dataclass(frozen=True, slots=True)
class _Slice:
    """What the header of one file says. ``axes`` is YX, or YXC for colour."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    edges: Edges = UNKNOWN_EDGES

    def __str__(self) -> str:
        return f"{' x '.join(map(str, self.shape))} {self.dtype.name}"


class SliceFiles(PlaneStack):
    """Files as slices along Z; each is opened when it is read."""

    def __init__(self, folder: Path, names: tuple[str, ...], first: _Slice) -> None:
        super().__init__((len(names),), first.shape, first.dtype, folder.name)
        self._folder, self._names = folder, names

    def _decode(self, index: int) -> NDArray[Any]:
        path = self._folder / self._names[index]
        if path.suffix.lower() in _TIFF_SUFFIXES:
            return np.asarray(read_tiff(path).data[...])
        with _open_png(path) as image:
            return np.asarray(image.convert("RGB") if image.mode == "P" else image, self.dtype)


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
        If there is no slice, or slices differ in size, type or format: the first that does
        is named.
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
    first = _describe(slices[0])
    kind = "PNG" if slices[0].suffix.lower() == ".png" else "TIFF"
    for path in slices[1:]:
        if (path.suffix.lower() == ".png") != (kind == "PNG"):
            raise InputError(
                f"{folder.name} mixes TIFF and PNG files ({slices[0].name}, {path.name}); "
                "keep one kind."
            )
        here = _describe(path)
        if (here.shape, here.dtype) != (first.shape, first.dtype):
            raise InputError(
                f"{folder.name} mixes slices: {path.name} is {here}, but {slices[0].name} is "
                f"{first}; all must be alike."
            )
    data = SliceFiles(folder, tuple(path.name for path in slices), first)
    return Source(folder.name, f"folder of {kind} slices", data, f"Z{first.axes}", first.edges)


def _describe(path: Path) -> _Slice:
    if path.suffix.lower() == ".png":
        return _describe_png(path)
    found = read_tiff(path)
    axes, shape = found.axes, tuple(found.data.shape)
    if axes not in ("YX", "YXC", "CYX"):
        raise InputError(
            f"{path.name} is a stack of its own ({axes} {shape}), not a slice; pass the file, or "
            "move it out of the folder."
        )
    return _Slice(shape, np.dtype(found.data.dtype), axes, (None, *found.edges[1:]))


def _open_png(path: Path) -> PngImageFile:
    # Not Image.open: it guesses other formats, and refuses slices over 179 megapixels.
    return PngImageFile(path)


def _describe_png(path: Path) -> _Slice:
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
    return _Slice(shape, dtype, "YXC" if channels else "YX")
