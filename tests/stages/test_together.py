"""One process works, the others wait: no longer than needed, and all stop together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from napari_d2r.inference import Interrupted
from napari_d2r.jobs import CancelToken, Progress
from napari_d2r.stages._together import wait_for_the_first, while_others_wait
from napari_d2r.training import ALONE, Ranks

BEATS = [Progress(done, 9, "slices") for done in range(1, 10)]


class Threads:
    """Two ranks of one process."""

    def __init__(self) -> None:
        self._told, self._all_told = [0.0, 0.0], threading.Barrier(2, timeout=60)

    def rank(self, index: int) -> Ranks:
        shared = self

        class Rank(Ranks):
            def most(self, *values: float) -> tuple[float, ...]:
                (shared._told[index],) = values
                shared._all_told.wait()
                largest = max(shared._told)
                shared._all_told.wait()  # nobody tells the next before all have heard this
                return (largest,)

        return Rank(index, 2)


def both(
    cancels: tuple[CancelToken, CancelToken], work: Iterator[Progress]
) -> tuple[list[Progress], str, str]:
    """The events of the first, and how either ended."""
    ranks, events = Threads(), []

    def first() -> str:
        try:
            events.extend(while_others_wait(work, ranks.rank(0), cancels[0]))
        except Interrupted:
            return "stopped"
        return "done"

    def other() -> str:
        try:
            wait_for_the_first(ranks.rank(1), cancels[1])
        except Interrupted:
            return "stopped"
        return "done"

    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(first), pool.submit(other)]
        return events, ends[0].result(60), ends[1].result(60)


def test_the_others_wait_until_all_is_done() -> None:
    work = (beat for beat in BEATS)
    assert both((CancelToken(), CancelToken()), work) == (BEATS, "done", "done")


@pytest.mark.parametrize("asked", [0, 1])
def test_all_stop_when_one_is_asked_to(asked: int) -> None:
    cancels, closed = (CancelToken(), CancelToken()), []

    def work() -> Iterator[Progress]:
        try:
            yield BEATS[0]
            cancels[asked].cancel()
            if cancels[0]:
                raise Interrupted
            yield from BEATS[1:]
        finally:
            closed.append(True)

    events, *ends = both(cancels, work())
    assert ends == ["stopped", "stopped"]
    assert events[:1] == BEATS[:1]
    assert len(events) < len(BEATS)
    assert closed == [True]


def test_alone_nothing_is_waited_for() -> None:
    assert list(while_others_wait((beat for beat in BEATS), ALONE, None)) == BEATS
