"""A finished result to a file of the user's choice, in a thread."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.io import check_room, open_source, open_volume, pages_of, save_tiff_stream
from napari_d2r.jobs import CancelToken, Event, Finished, Outcome, Progress, Started
from napari_d2r.volumes import ArrayLike

_SLAB = 64  # slices of one layer of chunks
being_saved: list[Path] = []
"""Stores that a copy is being made of."""


class _Stopped(Exception):
    """The user stopped the copy."""


def save_result(source: Path, target: Path, cancel: CancelToken) -> Iterator[Event]:
    """Copy a finished store to OME-Zarr or TIFF, as the name of ``target`` says.

    Its uncertainty, where it has one, goes beside the copy as it stands beside the store. Voxel
    size and provenance are kept. Nothing is left behind by a copy that is cancelled or fails.

    Yields
    ------
    Event
        ``Finished`` holds the path.

    Raises
    ------
    InputError
        For another suffix, a file that exists, or a disk without room.
    DiskFullError
        When a TIFF does not fit after all.
    """
    from napari_d2r.stages.super_resolve import (
        beside,  # brings torch, which a window need not await
    )

    if not target.parent.is_dir():
        raise InputError(f"There is no folder {target.parent}; create it first.")
    is_tiff = target.suffix.lower() in {".tif", ".tiff"}
    if not is_tiff and target.suffix.lower() != ".zarr":
        raise InputError(f"{target.name} must end in .ome.zarr or .tif, which can be written.")
    copies = {source: target}
    if beside(source).exists():  # first, so that the result is there only when all is
        copies = {beside(source): beside(target), source: target}
    for copy in copies.values():
        if copy.exists():
            raise InputError(f"{copy} exists; choose another name, or delete it first.")
    being_saved.extend(copies)
    try:
        yield Started("save", target)
        for store, copy in copies.items():
            yield from _to_tiff(store, copy, cancel) if is_tiff else _copy(store, copy, cancel)
    except _Stopped:
        yield Finished(Outcome.CANCELLED)
        return
    finally:
        for store in copies:
            being_saved.remove(store)
        if not target.exists():
            _remove(beside(target) if len(copies) > 1 else target)
    yield Finished(Outcome.COMPLETED, target)


def _remove(copy: Path) -> None:
    if copy.is_dir():
        shutil.rmtree(copy)
    else:
        copy.unlink(missing_ok=True)


def _to_tiff(source: Path, target: Path, cancel: CancelToken) -> Iterator[Event]:
    volume = open_volume(source, channel="all")
    pages = pages_of(volume)
    check_room(target, math.prod(pages.shape) * volume.dtype.itemsize)
    steps = save_tiff_stream(
        target,
        _slices(pages),
        shape=pages.shape,
        dtype=volume.dtype,
        voxel_size=volume.voxel_size,
        provenance=open_source(source).provenance,
    )
    with closing(steps):
        for done, total in steps:
            yield Progress(done, total, "slices")
            if cancel and done < total:
                raise _Stopped


def _slices(pages: ArrayLike) -> Iterator[NDArray[Any]]:
    for start in range(0, pages.shape[0], _SLAB):
        yield from np.asarray(pages[start : start + _SLAB])


def _copy(source: Path, target: Path, cancel: CancelToken) -> Iterator[Event]:
    """File by file; the store appears under its name once it is whole."""
    files = sorted(file for file in source.rglob("*") if file.is_file())
    check_room(target, sum(file.stat().st_size for file in files))
    partial = target.with_name(f"{target.name}.copying")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for number, file in enumerate(files):
            if cancel:
                raise _Stopped
            copy = partial / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            yield Progress(number + 1, len(files), "files")
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
