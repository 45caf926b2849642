"""Gaps shared out among cores: the same voxels, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from napari_d2r.inference import GapRequest, Interrupted
from napari_d2r.inference._workers import share_out
from napari_d2r.jobs import CancelToken

CPU = torch.device("cpu")
REQUEST = GapRequest(1, torch.tensor([[0.25, 0.5, 0.75]]).repeat(5, 1), 2.0)


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_shared_out_gaps_are_those_of_one_thread(predictor):
    slab = torch.rand(8, 40, 40, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(predictor.predict(slab, REQUEST))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, rtol=0, atol=5e-6)


@pytest.mark.usefixtures("three_threads")
def test_several_workers_keep_the_order_and_share_the_threads_of_torch():
    barrier, seen = threading.Barrier(3, timeout=10), []

    def work(item: int) -> torch.Tensor:
        barrier.wait()  # passes only if three work at the same time
        here = threading.get_ident()
        seen.append((here, torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return torch.tensor(item)

    assert [int(t) for t in share_out(work, range(6), CPU)] == list(range(6))
    assert len({facts[0] for facts in seen}) == 3
    assert {facts[1:] for facts in seen} == {(1, True)}
    assert not [t for t in threading.enumerate() if t.name.startswith("d2r-gap")]
    assert torch.get_num_threads() == 3
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [3]  # a thread that torch meets afterwards is not held to one


@pytest.mark.usefixtures("three_threads")
def test_the_first_error_rises_and_no_further_piece_is_begun():
    begun = []

    def work(item: int) -> torch.Tensor:
        begun.append(item)
        if item == 0:
            raise MemoryError
        threading.Event().wait(0.05)
        return torch.tensor(item)

    with pytest.raises(MemoryError):
        share_out(work, range(1000), CPU)
    assert len(begun) < 100
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_a_cancelled_prediction_ends(regressor):
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Interrupted):
        regressor.predict(torch.rand(8, 40, 40), REQUEST, cancel)


def test_other_devices_are_given_one_piece_at_a_time():
    here = threading.get_ident()
    found = share_out(
        lambda item: torch.tensor(threading.get_ident() == here), range(4), torch.device("meta")
    )
    assert all(found)
