"""One piece is made while the last is put away: in order, one ahead, and no thread left."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
import torch

from napari_d2r.jobs import CancelToken
from napari_d2r.stages._ahead import made_ahead


def thread_names() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("d2r-ahead")}


def test_the_next_is_made_while_this_one_is_put_away() -> None:
    begun = [threading.Event() for _ in range(5)]

    def make(item: int) -> int:
        begun[item].set()
        return item * item

    with closing(made_ahead(range(5), make, CancelToken())) as made:
        for item, square in made:
            assert square == item * item
            assert item == 4 or begun[item + 1].wait(10)
            assert not any(event.is_set() for event in begun[item + 2 :])  # and no other
    assert not thread_names()


def test_it_computes_with_as_many_threads_as_its_caller() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = list(made_ahead([0], lambda _: torch.get_num_threads(), CancelToken()))
    finally:
        torch.set_num_threads(before)
    assert found == [(0, 3)]


def test_an_error_rises_in_its_turn() -> None:
    def make(item: int) -> int:
        return 1 // (2 - item)

    put_away = []
    with pytest.raises(ZeroDivisionError):
        for item, _ in made_ahead(range(5), make, CancelToken()):
            put_away.append(item)
    assert put_away == [0, 1]
    assert not thread_names()


def test_closed_early_it_stops_the_work_in_hand() -> None:
    stop, begun = CancelToken(), threading.Event()

    def make(item: int) -> int:
        if item == 1:
            begun.set()
            while not stop:
                stop._event.wait(10)
        return item

    with closing(made_ahead(range(5), make, stop)) as made:
        assert next(made) == (0, 0)
        assert begun.wait(10)
    assert not thread_names()


def test_asked_to_stop_it_begins_nothing_more() -> None:
    stop = CancelToken()

    def make(item: int) -> int:
        if item == 1:
            stop.cancel()
        return item

    assert [item for item, _ in made_ahead(range(5), make, stop)] == [0, 1]


def test_nothing_to_do() -> None:
    assert list(made_ahead([], str, CancelToken())) == []
