"""Stage II: the pseudo-HR volume, restored slab by slab into a file that others may read."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_d2r.inference import AxialPredictor, Box, Interrupted, fill_shard
from napari_d2r.io import replace_file
from napari_d2r.jobs import BlockWritten, CancelToken, Event, Progress
from napari_d2r.stages._beats import CountingToken, in_beats
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume, VoxelSize

BEAT_S = 0.4  # a little more than two signs of life a second
_GAPS_AT_ONCE = 16
# What the mark beside a file may raise after a crash.
_TORN = (ValueError, EOFError, LookupError, TypeError, ArithmeticError, RecursionError)


class SlabFile:
    """A float32 array (Z, Y, X) in a .npy file of full length, filled from the top.

    How much of it is final, and how long that took, stands in a small file beside it that
    is replaced after each slab; so the array itself keeps its name and its place. It is
    written to as a file: where a disk is full that is an error, and through a memory map
    it would be the end of the process.

    Parameters
    ----------
    resume
        Go on with what is there, if it is of this shape.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], *, resume: bool) -> None:
        self.path, self.shape = path, shape
        self.num_done, self.seconds = 0, 0.0
        self._mark = path.with_suffix(".json")
        if not (resume and self._restore()):
            self._mark.unlink(missing_ok=True)
            with path.open("wb") as file:
                np.lib.format.write_array_header_1_0(
                    file, {"descr": "<f4", "fortran_order": False, "shape": shape}
                )
                file.truncate(file.tell() + 4 * shape[0] * shape[1] * shape[2])

    @property
    def is_complete(self) -> bool:
        """Whether all slices are final."""
        return self.num_done == self.shape[0]

    def write(self, slab: NDArray[np.float32]) -> None:
        """The next slices, (N, Y, X)."""
        voxels = np.ascontiguousarray(slab, "<f4").tobytes()
        with self.path.open("r+b") as file:
            file.seek(self._header + self.num_done * 4 * self.shape[1] * self.shape[2])
            file.write(voxels)
            file.flush()
            os.fsync(file.fileno())
        self.num_done += len(slab)

    def note(self, seconds: float) -> None:
        """Keep how far it is, and that another ``seconds`` were spent."""
        self.seconds += seconds
        facts = {"shape": self.shape, "done": self.num_done, "seconds": round(self.seconds, 3)}
        replace_file(self._mark, json.dumps(facts).encode())

    @property
    def _header(self) -> int:
        return self.path.stat().st_size - 4 * self.shape[0] * self.shape[1] * self.shape[2]

    def _restore(self) -> bool:
        try:
            facts = json.loads(self._mark.read_text("utf-8"))
            expected, done, seconds = tuple(facts["shape"]), int(facts["done"]), facts["seconds"]
            seconds, shape = float(seconds), np.load(self.path, mmap_mode="r").shape
        except (*_TORN, OSError):  # or not begun
            return False
        if expected != self.shape or shape != self.shape or not 0 <= done <= shape[0]:
            return False
        self.num_done, self.seconds = done, seconds
        return True


def read_slabs(path: Path) -> NDArray[np.float32]:
    """All of such a file, (Z, Y, X), in memory."""
    array: NDArray[np.float32] = np.load(path).astype(np.float32, copy=False)
    return array


def restore_into(
    file: SlabFile,
    measured: Tensor,
    grid: AxialGrid,
    gap: float,
    predictor: AxialPredictor,
    cancel: CancelToken | None,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Event, None, None]:
    """Fill the grid of a stack in memory, of a whole factor, from where the file ends.

    Raises
    ------
    Interrupted
        When ``cancel`` is set.
    """
    volume = Volume(measured.cpu().numpy(), VoxelSize(1, 1, 1), "the training region")
    total, lateral, unit = grid.num_output, volume.shape[1:], IntensityRange(0.0, 1.0)
    token, first, began = CountingToken(cancel), file.num_done, time.perf_counter()
    noted = clock()
    if first:
        yield BlockWritten((0, 0, 0), (first, *lateral))
    yield Progress(first, total, "slices")
    while not file.is_complete:
        if token:
            raise Interrupted
        start = file.num_done
        stop = min(start + _GAPS_AT_ONCE * round(grid.factor), total)
        box = Box((start, 0, 0), (stop, *lateral))
        work = partial(fill_shard, volume, grid, box, predictor, unit, gap, measured.device, token)

        def so_far(start: int = start, stop: int = stop, before: int = token.looks) -> Progress:
            """By how often slabs before this one looked at the token."""
            looks_per_slice = before / (start - first) if start > first else math.inf
            within = min((token.looks - before) / looks_per_slice, stop - start - 1)
            return _progress(start + int(within), first, total, began)

        try:
            slab = yield from in_beats(work, token, so_far, BEAT_S)
            file.write(slab)
        finally:
            now = clock()
            file.note(now - noted)
            noted = now
        yield BlockWritten(box.start, box.stop)
        yield _progress(stop, first, total, began)


def _progress(done: int, first: int, total: int, began: float) -> Progress:
    """With the time left at the rate of this session."""
    elapsed = time.perf_counter() - began
    left = elapsed / (done - first) * (total - done) if done > first else None
    return Progress(done, total, "slices", eta_s=left)
