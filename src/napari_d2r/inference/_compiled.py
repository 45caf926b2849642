"""The same network compiled by torch, for runs that are long enough to be worth the wait.

The compiler may take a minute or more for each new shape of a tile. It may not work at all: on a
processor it needs a C++ compiler, on a GPU Triton.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from napari_d2r.errors import explain
from napari_d2r.inference._predictors import AxialPredictor
from napari_d2r.inference._variants import (
    MAX_CHANGE,
    NoVariant,
    StandIn,
    change,
    with_network,
)


class CompiledNetwork(StandIn):
    """A network that torch compiles when it is first used; on cuda into replayed graphs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self._replays = next(network.parameters()).device.type == "cuda"
        mode = "reduce-overhead" if self._replays else None
        self._compiled = torch.compile(network.forward, mode=mode)

    def forward(self, *inputs: Tensor) -> Tensor:
        """As that of the network it stands for."""
        self.is_used = True
        if not self._replays:
            found: Tensor = self._compiled(*inputs)
            return found
        torch.compiler.cudagraph_mark_step_begin()
        kept: Tensor = self._compiled(*inputs).clone()  # the next replay writes over its result
        return kept


def compiled(plain: Any, slabs: Sequence[Tensor], gap: float) -> AxialPredictor:
    """A predictor whose network is compiled, if that leaves the result as it is.

    Tested in two threads, because a run computes in another than the one that plans it.

    Parameters
    ----------
    plain
        A predictor of a network.
    slabs
        (J, H, W) pieces of the stack in unit intensity.
    gap
        Lateral voxels from measured slice to measured slice.

    Raises
    ------
    NoVariant
        Where it cannot be compiled, or computes something else.
    """
    device = next(plain.network.parameters()).device
    found = with_network(plain, CompiledNetwork(plain.network))

    def changed(pieces: Sequence[Tensor]) -> float:
        return change(plain, found, pieces, gap, device)

    try:
        with ThreadPoolExecutor(1) as another:
            largest = max(changed(slabs[:1]), another.submit(changed, slabs[1:]).result())
    except Exception as error:  # of whatever kind: the network itself has just computed the same
        raise NoVariant(
            f"Torch could not compile this model, so it runs as it is: {explain(error)}"
        ) from error
    if not found.network.is_used:
        raise NoVariant("A model of this kind cannot be compiled; it runs as it is.")
    if largest > MAX_CHANGE:
        raise NoVariant("Compiled, this model would compute something else; it runs as it is.")
    predictor: AxialPredictor = found
    return predictor
