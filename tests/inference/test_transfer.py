"""What travels beside the computation: nothing is used before it is there.

Without cuda, streams are played by queues whose work is done only when somebody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from napari_d2r.inference import _transfer
from napari_d2r.inference._transfer import to_device, to_host

CUDA = torch.device("cuda:0")


class Stream:
    """Work in order, put off until it is waited for."""

    current: Stream

    def __init__(self, _: object = None) -> None:
        self.waiting: list[Callable[[], None]] = []

    def do(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)

    def synchronize(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()

    def wait_stream(self, other: Stream) -> None:
        self.do(other.synchronize)

    def record_event(self) -> Stream:
        return self


@contextmanager
def entered(stream: Stream) -> Iterator[None]:
    before, Stream.current = Stream.current, stream
    yield
    Stream.current = before


class Late:
    """A tensor on the device, or page-locked: copies of it come when its stream gets there."""

    def __init__(self, values: np.ndarray, device: torch.device = CUDA) -> None:
        self.values, self.device, self.is_pinned = values, device, False
        self.shape, self.dtype, self.kept_for = values.shape, None, []

    def pin_memory(self) -> Late:
        self.is_pinned = True
        return self

    def to(self, device: torch.device, *, non_blocking: bool) -> Late:
        assert self.is_pinned and non_blocking
        there = Late(np.zeros_like(self.values), device)
        Stream.current.do(lambda: there.values.__setitem__(..., self.values))
        return there

    def copy_(self, other: Late, *, non_blocking: bool) -> None:
        assert self.is_pinned and non_blocking
        Stream.current.do(lambda: self.values.__setitem__(..., other.values))

    def record_stream(self, stream: Stream) -> None:
        self.kept_for.append(stream)


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    Stream.current = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", entered)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream.current)
    monkeypatch.setattr(
        torch, "empty", lambda shape, dtype, pin_memory: Late(np.zeros(shape)).pin_memory()
    )
    _transfer._stream.cache_clear()
    yield
    _transfer._stream.cache_clear()


def test_what_goes_there_is_there_when_it_is_computed_with_and_nobody_waits() -> None:
    there = to_device(Late(np.ones(3)), CUDA)
    assert not there.values.any()  # still under way
    doubled = np.zeros(3)
    Stream.current.do(lambda: np.multiply(there.values, 2, out=doubled))
    Stream.current.synchronize()
    assert (doubled == 2).all()
    assert there.kept_for == [Stream.current]


def test_what_comes_back_is_fetched_after_it_is_computed() -> None:
    computed = Late(np.zeros(3))
    Stream.current.do(lambda: computed.values.__setitem__(..., 7))
    arrived = to_host(computed)
    assert not computed.values.any()  # nobody has waited for the device
    assert (arrived().values == 7).all()
    assert len(computed.kept_for) == 1


def test_there_and_back_are_beside_each_other_and_beside_the_computation() -> None:
    way_there, way_back = _transfer._stream(CUDA, "there"), _transfer._stream(CUDA, "back")
    assert len({id(way_there), id(way_back), id(Stream.current)}) == 3
    assert way_there is _transfer._stream(CUDA, "there")


def test_elsewhere_they_are_plain_copies() -> None:
    there = to_device(torch.ones(3), torch.device("cpu"))
    assert torch.equal(to_host(2 * there)(), torch.full((3,), 2.0))
