"""A compiled network: the same voxels, else the network as it is, and a sentence."""

from __future__ import annotations

import threading

import pytest
import torch

from napari_d2r.inference import (
    BlockPredictor,
    GapRequest,
    NoVariant,
    SequencePredictor,
    _compiled,
    compiled,
)
from napari_d2r.inference._compiled import CompiledNetwork
from napari_d2r.models import build_network

REQUEST = GapRequest(0, torch.tensor([[0.25, 0.5, 0.75]]).repeat(4, 1), 2.0)
real_compile = torch.compile


@pytest.fixture
def slabs() -> list[torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return [torch.rand(5, 16, 16, generator=made) for _ in range(2)]


@pytest.fixture
def without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as ever, and run as traced: all of it but the C++ compiler, which takes a minute."""
    monkeypatch.setattr(
        torch, "compile", lambda call, mode: real_compile(call, mode=mode, backend="eager")
    )


@pytest.mark.usefixtures("without_a_compiler")
def test_a_compiled_predictor_stands_in_for_its_network(slabs) -> None:
    plain = SequencePredictor(build_network("aenet-fast", {"widths": [6, 8], "blocks": [1, 1]}))
    fast = compiled(plain, slabs, 4)
    assert fast.halo == plain.halo
    assert fast.network.lateral_halo == plain.network.lateral_halo
    found, wanted = (one.predict(slabs[0], REQUEST) for one in (fast, plain))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_what_computes_something_else_is_not_taken(regressor, slabs, monkeypatch) -> None:
    def compile_wrongly(call, mode):
        return lambda *inputs: call(*inputs) + 0.01

    monkeypatch.setattr(torch, "compile", compile_wrongly)
    with pytest.raises(NoVariant, match="would compute something else"):
        compiled(regressor, slabs, 4)


def test_where_there_is_no_compiler_that_is_told(regressor, slabs, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", lambda call, mode: fail)
    with pytest.raises(NoVariant, match=r"runs as it is: .*No working C\+\+ compiler"):
        compiled(regressor, slabs, 4)


def test_it_is_tried_in_two_threads_because_a_run_is_not_in_that_of_its_plan(
    regressor, slabs, monkeypatch
) -> None:
    """Torch's replayed graphs on cuda are known to one thread only in some of its versions."""
    threads, test = [], _compiled.change

    def tested(*arguments: object) -> float:
        threads.append(threading.current_thread())
        if threads[0] is not threads[-1]:
            raise AssertionError("graphs of another thread")
        return test(*arguments)

    monkeypatch.setattr(torch, "compile", lambda call, mode: call)
    monkeypatch.setattr(_compiled, "change", tested)
    with pytest.raises(NoVariant, match="graphs of another thread"):
        compiled(regressor, slabs, 4)


def test_a_predictor_that_takes_its_network_to_pieces_is_left_as_it_is(slabs, monkeypatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda call, mode: call)
    blocks = BlockPredictor(build_network("srunet", {"factor": 4, "widths": [3, 4, 4]}))
    with pytest.raises(NoVariant, match="cannot be compiled"):
        compiled(blocks, slabs, 4)


def test_a_result_is_kept_before_the_next_replay_writes_over_it(monkeypatch) -> None:
    """As on cuda, played by a compiler that answers from the same memory each time."""
    memory, network = torch.zeros(2), torch.nn.Linear(2, 2)
    monkeypatch.setattr(torch, "compile", lambda call, mode: lambda x: memory.copy_(x))
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
    fast = CompiledNetwork(network)
    fast._replays = True
    first, second = fast(torch.ones(2)), fast(torch.full((2,), 2.0))
    assert first.tolist() == [1, 1]
    assert second.tolist() == [2, 2]
