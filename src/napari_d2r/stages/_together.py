"""What several processes do: one alone, while the others wait for it, or all alike."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TypeVar

from napari_d2r.inference import Interrupted
from napari_d2r.jobs import CancelToken, Event
from napari_d2r.training import Ranks

__all__ = ["all_or_none", "wait_for_the_first", "while_others_wait"]

_Result = TypeVar("_Result")

_GOES_ON, _IS_DONE, _IS_ASKED_TO_STOP = 0, 1, 2  # of what several tell, the largest counts


def while_others_wait(
    work: Generator[Event, None, None], ranks: Ranks, cancel: CancelToken | None
) -> Iterator[Event]:
    """The events of ``work``; at each of them all processes tell each other that they are there.

    So none waits for one that is gone, and all stop where one is asked to.

    Raises
    ------
    Interrupted
        When ``cancel`` of any process is set.
    """
    told: float = _GOES_ON
    with closing(work):
        while told == _GOES_ON:
            try:
                event = next(work, None)
            except Interrupted:  # ``cancel`` is set, as the others are told
                event = None
            if event is not None:
                yield event
            told = _tell(_IS_DONE if event is None else _GOES_ON, ranks, cancel)


def wait_for_the_first(ranks: Ranks, cancel: CancelToken | None) -> None:
    """What all other processes do meanwhile.

    Raises
    ------
    Interrupted
        When ``cancel`` of any process is set.
    """
    while _tell(_GOES_ON, ranks, cancel) == _GOES_ON:
        pass


def all_or_none(work: Callable[[], _Result], ranks: Ranks) -> _Result:
    """What every process computes by itself, if none of them was asked to stop meanwhile.

    Raises
    ------
    Interrupted
        In all processes, where ``work`` of any raises it.
    """
    try:
        done = work()
    except Interrupted:
        ranks.most(_IS_ASKED_TO_STOP)
        raise
    _tell(_IS_DONE, ranks, None)
    return done


def _tell(state: int, ranks: Ranks, cancel: CancelToken | None) -> float:
    (told,) = ranks.most(_IS_ASKED_TO_STOP if cancel else state)
    if told == _IS_ASKED_TO_STOP:
        raise Interrupted
    return told
