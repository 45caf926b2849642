"""The next piece of work is made while the last one is put away."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from napari_d2r.jobs import CancelToken

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def made_ahead(
    items: Iterable[_Item], make: Callable[[_Item], _Made], stop: CancelToken
) -> Generator[tuple[_Item, _Made], None, None]:
    """Every item and what ``make`` makes of it, in order, from a thread of its own.

    While the caller puts one away the next is being made, and never more than that one, so
    that two are in memory at most. What ``make`` raises rises here, in its turn. ``items``
    are taken one by one as the work on each begins.

    Nothing is begun once ``stop`` is set. Close the generator, by `contextlib.closing` say, to
    be left without a thread; that sets ``stop``, at which ``make`` must look.
    """
    waiting, threads = iter(items), torch.get_num_threads()
    with ThreadPoolExecutor(1, "d2r-ahead", torch.set_num_threads, (threads,)) as pool:

        def begin() -> tuple[_Item, Future[_Made]] | None:
            for item in () if stop else waiting:
                return item, pool.submit(make, item)
            return None

        try:
            ahead = begin()
            while ahead:
                item, making = ahead
                made = making.result()
                ahead = begin()
                yield item, made
        finally:
            stop.cancel()
