"""Independent pieces of a prediction, one processor core each.

Torch splits every single operation among its threads, and these wait for each other after
each. On a machine that does something else meanwhile, such as drawing in napari, the
slowest thread sets the pace hundreds of times per gap. Whole gaps have nothing to wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

_T = TypeVar("_T")
# Each worker holds the activations of its own piece.
MOST_WORKERS = 8


def share_out(
    work: Callable[[_T], Tensor],
    items: Sequence[_T],
    device: torch.device,
) -> list[Tensor]:
    """What ``work`` makes of every item, in order, without gradients.

    On the CPU by as many threads as torch is allowed, up to `MOST_WORKERS`, which share torch's
    threads between them; on other devices one after the other. The first exception
    is raised once the pieces in work are done; no further ones are begun.
    """
    threads = torch.get_num_threads()
    workers = min(len(items), threads, MOST_WORKERS)
    if device.type != "cpu" or workers < 2:
        return [_without_gradients(work, item) for item in items]

    def begin() -> None:
        torch.set_num_threads(threads // workers)

    try:
        with ThreadPoolExecutor(workers, "d2r-gap", begin) as pool:
            return list(pool.map(lambda item: _without_gradients(work, item), items))
    finally:  # what a worker sets is also the default of threads that torch meets later
        torch.set_num_threads(threads)


@torch.inference_mode()  # which holds for one thread only
def _without_gradients(work: Callable[[_T], Tensor], item: _T) -> Tensor:
    return work(item)
