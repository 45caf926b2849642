"""Work in a thread of its own, so that a stream of events goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from napari_d2r.jobs import CancelToken, Event

_T = TypeVar("_T")


class CountingToken(CancelToken):
    """Cancelled with another; ``looks`` says how often the job has looked at it."""

    def __init__(self, other: CancelToken | None) -> None:
        super().__init__()
        self._other, self.looks = other, 0

    def __bool__(self) -> bool:
        """Whether someone asked to stop, here or there."""
        self.looks += 1
        return super().__bool__() or bool(self._other)


def in_beats(
    work: Callable[[], _T], token: CancelToken, tell: Callable[[], Event], every_s: float
) -> Generator[Event, None, _T]:
    """Do ``work``; until it is done yield what ``tell`` says every ``every_s`` seconds.

    Returns the result. ``work`` must look at ``token``, which is cancelled when the
    generator is closed early.
    """
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        try:
            while not wait([done], every_s).done:
                yield tell()
        finally:
            if not done.done():
                token.cancel()
        return done.result()
