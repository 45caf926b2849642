"""A shard that does not fit into memory is computed in parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_d2r.inference._window import Box

SMALLEST_EDGE = 32
# How torch words a failed allocation where it has no exception class of its own.
_PHRASES = ("not enough memory", "can't allocate memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or not."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(p in str(error).lower() for p in _PHRASES)


def fill_in_parts(
    fill: Callable[[Box], Callable[[], NDArray[Any]]], box: Box, edge: int | None = None
) -> tuple[Callable[[], NDArray[Any]], int | None]:
    """Fill a box at once, or where memory ends in lateral quarters, and these again.

    Parts are read with the halo that they need, so what comes out is the same.

    Parameters
    ----------
    fill
        Begins any part of the box, and gives what waits for its voxels.
    edge
        Lateral edge above which parts are known not to fit.

    Returns
    -------
    arrived, edge
        What waits for the voxels of the box, and the edge above which parts did not fit, if any.

    Raises
    ------
    MemoryError, RuntimeError
        The original one, where not even parts of 32 pixels fit.
    """
    _, y, x = box.shape
    if edge is None or max(y, x) <= edge:
        try:
            return fill(box), edge
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or max(y, x) <= SMALLEST_EDGE:
                raise
            edge = max(SMALLEST_EDGE, -(-max(y, x) // 2))
        # The exception is gone here, and with it the frames that held on to memory.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    whole: NDArray[Any] | None = None
    for part in _quarters(box):
        arrived, edge = fill_in_parts(fill, part, edge)
        found = arrived()  # before the next is begun, since memory is short
        if whole is None:
            whole = np.empty((*found.shape[:-2], y, x), found.dtype)
        top, left = (a - b for a, b in zip(part.start[1:], box.start[1:], strict=True))
        whole[..., top : top + part.shape[1], left : left + part.shape[2]] = found
    assert whole is not None
    return partial(np.asarray, whole), edge


def _quarters(box: Box) -> list[Box]:
    """Halves along y and along x, where an axis is long enough to be halved."""
    cuts = []
    for start, stop in zip(box.start[1:], box.stop[1:], strict=True):
        middle = start + -(-(stop - start) // 2)
        cuts.append([start, stop] if stop - start <= SMALLEST_EDGE else [start, middle, stop])
    return [
        Box((box.start[0], top, left), (box.stop[0], bottom, right))
        for (top, bottom), (left, right) in product(*(pairwise(cut) for cut in cuts))
    ]
