"""The inspection itself: a stream of progress that ends in findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.inspection._findings import Box, Finding, Inspection, Label, listed
from napari_d2r.inspection._frame import Frame, find_frame
from napari_d2r.inspection._names import inspect_names
from napari_d2r.inspection._slices import SliceWatch
from napari_d2r.io import (
    Edges,
    SliceFile,
    is_slice_folder,
    odd_names,
    odd_slices,
    open_source,
    pick_axes,
    read_slice,
    scan_slices,
    slice_paths,
    usual_header,
)
from napari_d2r.jobs import CancelToken, Finished, Outcome, Progress
from napari_d2r.volumes import MIN_SLICES, ArrayLike, Volume, VoxelSize

__all__ = ["inspect_folder", "inspect_stream", "inspect_volume"]

_NUM_SAMPLE = 12  # slices from which bar and borders are told
_SAMPLE_BYTES = 2**28
_SLAB_BYTES = 2**26
_MAX_SLAB = 64  # slices read at once: as deep as most chunks
_SQUARE = 5e-3  # relative difference of x and y that is still rounding

Events = Iterator[Progress | Finished]
Read = Callable[[int], NDArray[Any]]
"""Slice k, (Y, X)."""


@dataclass(frozen=True, slots=True)
class _Stack:
    """What the slices of any source have in common; ``usable`` ones are alike."""

    usable: tuple[int, ...]
    slabs: Callable[[], Iterator[tuple[int, NDArray[Any]]]]
    read: Read
    label: Label
    num_slices: int


def inspect_folder(path: str | Path) -> tuple[Finding, ...]:
    """Name every trap in a folder of slices, all at once; see `inspect_stream`.

    Raises
    ------
    InputError
        If the folder is not there.
    """
    return _result(inspect_stream(path)).findings


def inspect_volume(volume: Volume) -> tuple[Finding, ...]:
    """Name every trap in a volume that is open already; see `inspect_stream`."""
    return _result(inspect_stream(volume)).findings


def inspect_stream(
    subject: str | Path | Volume,
    *,
    channel: int | None = None,
    time: int | None = None,
    cancel: CancelToken | None = None,
) -> Events:
    """Look through a stack slice by slice, never holding more than a few.

    Parameters
    ----------
    subject
        A folder of slices, any other file that `open_volume` reads, or an open volume.
    channel, time
        As for `open_volume`, where the subject is a file.
    cancel
        Looked at between slices.

    Yields
    ------
    Progress
        In slices.
    Finished
        Its result is an `Inspection`; after a cancel, of what was seen so far.

    Raises
    ------
    InputError
        If the path is missing, or is no folder of slices and cannot be opened.
    """
    token = cancel if cancel is not None else CancelToken()
    if isinstance(subject, Volume):
        z, y, x = subject.voxel_size
        yield from _array(subject.data, (z, y, x), token)
    elif is_slice_folder(subject):
        yield from _folder(Path(subject), token, channel or 0)
    else:
        source = open_source(subject)
        data = pick_axes(source, channel=channel, time=time)
        yield from _array(data, source.edges, token)


def _result(events: Events) -> Inspection:
    for event in events:
        if isinstance(event, Finished):
            inspection: Inspection = event.result
            return inspection
    raise AssertionError("an inspection ends with Finished")


def _folder(folder: Path, cancel: CancelToken, channel: int) -> Events:
    try:
        paths = slice_paths(folder)
    except InputError as error:
        yield _finished([Finding("files", "blocks", str(error))], None, cancel)
        return
    total = 2 * len(paths)
    scanned: list[SliceFile] = []
    for entry in scan_slices(paths):
        scanned.append(entry)
        yield Progress(len(scanned), total, "slices")
        if cancel:
            yield _finished([], None, cancel)
            return
    usual = usual_header(scanned)
    found = [*_unreadable(scanned), *inspect_names([path.name for path in paths])]
    if usual is None:
        yield _finished(found, None, cancel)
        return
    odd = odd_slices(scanned, usual)
    if odd:
        found.append(
            Finding(
                "odd",
                "blocks",
                f"{odd_names(odd)}, but the other {len(scanned) - len(odd)} are {usual}; convert "
                "the odd ones or move them away, so that all are alike.",
                tuple(at for at, entry in enumerate(scanned) if entry in odd),
            )
        )
    found += _sizes([entry.header.edges for entry in scanned if entry.header])
    found += [Finding("header", "warning", note) for note in usual.notes]
    if usual.axes != "YX":
        found.append(
            Finding(
                "colour",
                "warning",
                "The slices are in colour; choose one channel, or a method that restores all "
                f"together. Channel {channel} was inspected.",
            )
        )

    def read(index: int) -> NDArray[Any]:
        plane = read_slice(paths[index])
        return plane if plane.ndim == 2 else np.take(plane, channel, usual.axes.index("C"))

    def slabs() -> Iterator[tuple[int, NDArray[Any]]]:
        for index in usable:
            yield index, read(index)

    usable = tuple(
        at for at, entry in enumerate(scanned) if entry.header and entry.header.fits(usual)
    )
    stack = _Stack(usable, slabs, read, lambda index: paths[index].name, len(paths))
    yield from _pixels(stack, found, cancel, (len(paths), total))


def _array(data: ArrayLike, edges: Edges, cancel: CancelToken) -> Events:
    num_slices, height, width = (int(length) for length in data.shape[-3:])
    if len(data.shape) == 4:
        data = _FirstChannel(data)
    slice_bytes = max(1, height * width * np.dtype(data.dtype).itemsize)
    depth = max(1, min(_MAX_SLAB, _SLAB_BYTES // slice_bytes))

    def slabs() -> Iterator[tuple[int, NDArray[Any]]]:
        for start in range(0, num_slices, depth):
            yield from enumerate(np.asarray(data[start : start + depth]), start)

    stack = _Stack(
        tuple(range(num_slices)),
        slabs,
        lambda index: np.asarray(data[index]),
        lambda index: f"slice {index}",
        num_slices,
    )
    yield from _pixels(stack, _sizes([edges]), cancel, (0, num_slices))


def _pixels(
    stack: _Stack, found: list[Finding], cancel: CancelToken, progress: tuple[int, int]
) -> Events:
    """Look at every usable slice once, within the frame that a sample of them tells."""
    done, total = progress
    if stack.num_slices < MIN_SLICES:
        found.append(
            Finding(
                "short",
                "blocks",
                f"There are {stack.num_slices} slices; at least {MIN_SLICES} are needed.",
            )
        )
    try:
        frame = find_frame(_sample(stack))
    except InputError as error:
        yield _finished([*found, Finding("unreadable", "blocks", str(error))], None, cancel)
        return
    rows, columns = frame.inner
    watch = SliceWatch()
    yield Progress(done, total, "slices")
    try:
        for count, (index, plane) in enumerate(stack.slabs(), start=1):
            watch.add(index, plane[rows, columns])
            yield Progress(done + count, total, "slices")
            if cancel:
                break
    except InputError as error:  # the header is fine, the pixels are not
        found.append(Finding("unreadable", "blocks", str(error)))
    found += [*frame.findings(), *watch.findings(stack.label)]
    yield _finished(found, _box(frame, stack.num_slices), cancel)


def _sample(stack: _Stack) -> list[NDArray[Any]]:
    """Slices from all over the stack, as many as a moderate memory holds."""
    first = stack.read(stack.usable[0])
    most = max(4, min(_NUM_SAMPLE, _SAMPLE_BYTES // max(1, first.nbytes)))
    picks = np.unique(np.linspace(0, len(stack.usable) - 1, most).round().astype(int))
    return [stack.read(stack.usable[at]) for at in picks]


def _box(frame: Frame, num_slices: int) -> Box | None:
    rows, columns = frame.inner
    if (rows.stop - rows.start, columns.stop - columns.start) == frame.shape:
        return None
    return slice(0, num_slices), rows, columns


def _finished(found: list[Finding], box: Box | None, cancel: CancelToken) -> Finished:
    outcome = Outcome.CANCELLED if cancel else Outcome.COMPLETED
    return Finished(outcome, Inspection.of([_capital(one) for one in found], box))


def _capital(finding: Finding) -> Finding:
    """A sentence begins with a capital letter, unless with the name of a file."""
    if not finding.sentence.startswith("slice "):
        return finding
    sentence = "S" + finding.sentence[1:]
    return Finding(finding.kind, finding.severity, sentence, finding.slices)


def _unreadable(scanned: list[SliceFile]) -> list[Finding]:
    return [
        Finding("unreadable", "blocks", entry.problem, (at,))
        for at, entry in enumerate(scanned)
        if entry.problem
    ]


def _sizes(edges: list[Edges]) -> list[Finding]:
    """What the headers say, or do not say, about the size of a voxel."""
    z, y, x = edges[0]
    found = []
    if len({one[1:] for one in edges}) > 1:
        kinds = sorted({one[1:] for one in edges}, key=str)
        found.append(
            Finding(
                "pixel-size",
                "warning",
                f"The slices state different pixel sizes ({listed([_pixel(*one) for one in kinds])}"
                "); find out which is right and enter it.",
            )
        )
    if z is None or y is None or x is None:
        known = f" (y and x: {_pixel(y, x)})" if y is not None and x is not None else ""
        lacking = "the distance between slices" if known else "the size of a voxel"
        found.append(
            Finding(
                "voxel-size",
                "warning",
                f"The files do not state {lacking}{known}; look it up in your notes and enter it "
                "in nm, since it decides how much is restored.",
            )
        )
    if y is not None and x is not None and abs(y - x) > _SQUARE * max(y, x):
        found.append(
            Finding(
                "pixels",
                "warning",
                f"Pixels are not square: {y:g} nm along y and {x:g} nm along x; check that this is "
                "meant, as for a tilted stage.",
            )
        )
    if z is not None and y is not None and x is not None and VoxelSize(z, y, x).anisotropy < 1:
        found.append(
            Finding(
                "axial-finer",
                "note",
                f"Slices are {z:g} nm apart, finer than the pixels within them; there is nothing "
                "to restore along Z.",
            )
        )
    return found


def _pixel(y: float | None, x: float | None) -> str:
    return "none" if y is None or x is None else f"{y:g} x {x:g} nm"


class _FirstChannel:
    """The first channel of a (C, Z, Y, X) array, as lazy as that is."""

    def __init__(self, data: ArrayLike) -> None:
        self._data = data
        self.shape = tuple(data.shape[1:])
        self.dtype = data.dtype

    def __getitem__(self, key: Any) -> Any:
        return self._data[(0, *key) if isinstance(key, tuple) else (0, key)]
