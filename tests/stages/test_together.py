"""One process works, the others wait: no longer than needed, and all stop together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from napari_d2r.inference import Interrupted
from napari_d2r.jobs import CancelToken, Event, Outcome, Progress, TrainJob
from napari_d2r.metrics import GainOverLinear
from napari_d2r.stages import train
from napari_d2r.stages._together import all_or_none, wait_for_the_first, while_others_wait
from napari_d2r.training import ALONE, FitResult, Ranks
from napari_d2r.volumes import Volume

BEATS = [Progress(done, 9, "slices") for done in range(1, 10)]


class Threads:
    """Two ranks of one process."""

    def __init__(self) -> None:
        self._told, self._all_told = [(0.0,), (0.0,)], threading.Barrier(2, timeout=60)

    def rank(self, index: int) -> Ranks:
        shared = self

        class Rank(Ranks):
            def most(self, *values: float) -> tuple[float, ...]:
                shared._told[index] = values
                shared._all_told.wait()
                largest = tuple(map(max, *shared._told))
                shared._all_told.wait()  # nobody tells the next before all have heard this
                return largest

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


@pytest.mark.parametrize("asked", [None, 0, 1])
def test_what_all_compute_is_of_all_or_of_none(asked: int | None) -> None:
    ranks = Threads()

    def one(index: int) -> str:
        def work() -> str:
            if index == asked:
                raise Interrupted
            return "done"

        try:
            return all_or_none(work, ranks.rank(index))
        except Interrupted:
            return "stopped"

    assert of_both(one) == ["done" if asked is None else "stopped"] * 2


def of_both(one: Callable[[int], str]) -> list[str]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(2), timeout=60))


def test_the_first_begins_and_ends_alone(
    stack: Volume, tiny_job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others look at what is there after it has begun, and return after it has published."""
    job = tiny_job.model_copy(update={"student": None})
    plan, ranks, order = train.resolve_train(job, stack, tmp_path), Threads(), []

    def slowly(done: str) -> Callable[..., tuple[str, ...]]:
        def do(*_: object, **__: object) -> tuple[str, ...]:
            time.sleep(0.3)
            order.append(done)
            return ()

        return do

    def fitted(*_: object) -> Generator[Event, None, FitResult]:
        order.append("fit")
        yield from ()
        return FitResult(Outcome.COMPLETED, {}, 1, 1.0)

    def kept(training: train._Training, role: str, *_: object) -> Iterator[Event]:
        training.gains[role] = GainOverLinear((1,), (1.0,), (2.0,), 1.0)
        yield from ()

    monkeypatch.setattr(train, "begin_work", slowly("begun"))
    for name, stand_in in {"_publish": slowly("published"), "_fit": fitted, "_keep": kept}.items():
        monkeypatch.setattr(train._Training, name, stand_in)

    def one(index: int) -> str:
        *_, end = train._run(plan, True, True, None, ranks.rank(index))
        order.append("returned")
        return str(end.outcome)

    assert of_both(one) == [str(Outcome.COMPLETED)] * 2
    assert order == ["begun", "fit", "fit", "published", "returned", "returned"]
