"""What a reader found in a file, and the way from there to a volume in Z, Y, X."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np

from napari_d2r.errors import InputError
from napari_d2r.io._lazy import AxesView
from napari_d2r.volumes import ArrayLike, VoxelSize

__all__ = [
    "Edges",
    "Origin",
    "Source",
    "label_axes",
    "pick_axes",
    "require_inside",
    "resolve_voxel_size",
]

Edges = tuple[float | None, float | None, float | None]
"""Voxel edges in nm (z, y, x); None where the file does not say."""
Origin = tuple[float, float, float]

UNKNOWN_EDGES: Edges = (None, None, None)
MAX_AXES = 5
_MOST_VOXELS = 10**18

_AXIS_NAMES = {"T": "time", "C": "channel"}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One image in one file, as it is stored.

    Parameters
    ----------
    name
        File name, for messages.
    format
        Name of the file format, for people.
    data
        The array, lazy where the format allows it.
    axes
        One letter for every axis of ``data``: T, C, Z, Y, X, or ? where nobody knows.
    edges
        Voxel edges in nm.
    notes
        Sentences the user should read.
    origin
        Where the centre of the first voxel stands, in nm (z, y, x).
    coarser
        Further levels of a pyramid, with the same axes, from finer to coarser.
    provenance
        What this package wrote beside the voxels, unchecked; empty in files of others.
    """

    name: str
    format: str
    data: ArrayLike = field(repr=False)
    axes: str
    edges: Edges = UNKNOWN_EDGES
    notes: tuple[str, ...] = ()
    origin: Origin = (0.0, 0.0, 0.0)
    coarser: tuple[ArrayLike, ...] = field(default=(), repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        shape = tuple(self.data.shape)
        if len(shape) < 2:
            raise InputError(f"{self.name} is no image: its shape is {shape}.")
        if len(shape) > MAX_AXES:
            raise InputError(f"{self.name} has {len(shape)} axes; at most {MAX_AXES} can be read.")
        if math.prod(shape) > _MOST_VOXELS:
            raise InputError(f"{self.name} declares more voxels than any image has.")
        if 0 in shape:
            raise InputError(f"{self.name} is empty: its shape is {shape}.")

    @property
    def num_bytes(self) -> int:
        """Size once decoded."""
        return math.prod(self.data.shape) * int(np.dtype(self.data.dtype).itemsize)


def label_axes(shape: tuple[int, ...]) -> str:
    """Axis letters for an array that names none.

    Three axes are Z, Y, X. A last axis of 3 or 4, or of 1 after three others, is colour.
    A fourth axis in front is the channel, a fifth is time.
    """
    colours = (1, 3, 4) if len(shape) >= 4 else (3, 4)
    colour = "C" if len(shape) >= 3 and shape[-1] in colours else ""
    space = "ZYX"[-min(3, len(shape) - len(colour)) :]
    front = len(shape) - len(space) - len(colour)
    letters = ("T" if colour else "TC")[-front:] if front > 0 else ""
    return letters.rjust(front, "?") + space + colour


def pick_axes(
    source: Source, *, channel: int | Literal["all"] | None = None, time: int | None = None
) -> ArrayLike:
    """The (Z, Y, X) array that ``channel`` and ``time`` leave; (C, Z, Y, X) of all channels.

    Raises
    ------
    InputError
        If the image is 2D, an axis longer than 1 is not chosen, or a choice does not exist.
    """
    name, axes, shape = source.name, source.axes, tuple(int(n) for n in source.data.shape)
    if "Z" not in axes and "T" in axes and shape[axes.index("T")] > 1:
        raise InputError(
            f"{name} is a time series of single images (axes {axes}) and has no Z axis; "
            "if its frames are slices, save them as such."
        )
    if "Z" not in axes or shape[axes.index("Z")] == 1:
        raise InputError(
            f"{name} is a single 2D image of {_shape_text(axes, shape)}; a stack of slices "
            "along Z is needed."
        )
    kept = "ZYX"
    if channel == "all":
        channel = None
        if "C" in axes and shape[axes.index("C")] > 1:
            kept = "CZYX"
    wanted = {"C": channel, "T": time}
    for letter, choice in wanted.items():
        if letter not in axes and choice not in (None, 0):
            raise InputError(
                f"{name} has no {_AXIS_NAMES[letter]} axis, so --{_AXIS_NAMES[letter]} {choice} "
                "does not exist; leave it out."
            )
    fixed = {
        axis: _position(source, axis, letter, wanted.pop(letter, None))
        for axis, letter in enumerate(axes)
        if letter not in kept
    }
    order = tuple(axes.index(letter) for letter in kept)
    if not fixed and order == tuple(range(len(kept))):
        return source.data
    return AxesView(source.data, fixed=fixed, order=order, name=name)


def resolve_voxel_size(source: Source, override: VoxelSize | None = None) -> VoxelSize:
    """The voxel size given, or the one in the file; never a guess.

    Raises
    ------
    InputError
        If no edge, or not every edge, is known.
    """
    if override is not None:
        return override
    z, y, x = source.edges
    if z is not None and y is not None and x is not None:
        return VoxelSize(z, y, x)
    if y is not None and x is not None:
        raise InputError(
            f"{source.name} has no axial voxel size (y and x are {y:g} and {x:g} nm); pass "
            f"--voxel-size Z,{y:g},{x:g} with the distance between slices in nm for Z."
        )
    known = [
        f"{edge:g} nm in {letter}"
        for letter, edge in zip("zyx", source.edges, strict=True)
        if edge is not None
    ]
    what = (
        f"gives only part of its voxel size ({', '.join(known)})"
        if known
        else ("has no voxel size")
    )
    raise InputError(f"{source.name} {what}; pass --voxel-size Z,Y,X in nm.")


def _position(source: Source, axis: int, letter: str, choice: int | None) -> int:
    """Where to cut an axis that is not Z, Y or X."""
    length = int(source.data.shape[axis])
    where = f"{source.name} ({_shape_text(source.axes, tuple(source.data.shape))})"
    if letter not in _AXIS_NAMES:
        if length == 1:
            return 0
        raise InputError(
            f"{where} has an axis of unknown meaning; save it with three axes Z, Y, X."
        )
    word = _AXIS_NAMES[letter]
    if choice is None:
        if length == 1:
            return 0
        raise InputError(
            f"{where} has a {word} axis of {length}; choose one with --{word} N, counted from 0."
        )
    if not 0 <= choice < length:
        raise InputError(f"{where} has no {word} {choice}; --{word} takes 0 to {length - 1}.")
    return choice


def _shape_text(axes: str, shape: tuple[int, ...]) -> str:
    return " x ".join(f"{letter} {length}" for letter, length in zip(axes, shape, strict=True))


def require_inside(name: str, inner: str) -> None:
    """Refuse a path in a file that leads out of its folder: nothing opens what was not asked for.

    Raises
    ------
    InputError
        If it is absolute, climbs, or would do so on another system.
    """
    path = PurePosixPath(inner)
    if path.is_absolute() or ".." in path.parts or "\\" in inner or ":" in inner:
        raise InputError(f"{name} points outside itself ({inner!r}); it is not opened.")
