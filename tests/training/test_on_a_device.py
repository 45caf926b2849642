"""A step on a device other than the processor: few transfers, and no Python per example.

The device is torch's meta device, which computes nothing, but refuses to be read and to be mixed
with what is on another one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from napari_d2r.jobs import OptimizerSettings, PriorSettings, StudentSettings
from napari_d2r.models import build_network
from napari_d2r.training import BlockTask, DiffusionTask, LateralTask, SequenceTask

NETWORKS: dict[Any, tuple[str, dict[str, Any]]] = {
    LateralTask: ("lateral", {"widths": [8, 8], "blocks": [1, 1]}),
    DiffusionTask: ("nafnet", {"width": 8, "encoder_blocks": [1], "decoder_blocks": [1]}),
    SequenceTask: ("aenet-fast", {"widths": [8, 8], "blocks": [1, 1]}),
    BlockTask: ("srunet", {"factor": 4, "widths": [3, 4, 4]}),
}
MOST_TRANSFERS = 10  # starts of crops, depths, times, noise: each for a whole batch


class Counted(TorchDispatchMode):
    """How many operations there were, and how many of them between two devices."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.transfers = 0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = call(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, found)) if isinstance(t, torch.Tensor)]
        self.operations += 1
        self.transfers += len({tensor.device for tensor in tensors}) > 1
        return found


def one_step(kind: Any, batch: int) -> Counted:
    name, options = NETWORKS[kind]
    stack, whole = torch.rand(9, 64, 64), torch.rand(33, 64, 64)
    optimizer = OptimizerSettings(batch=batch)
    if kind in (LateralTask, DiffusionTask):
        task = kind(stack, 4.0, PriorSettings(optimizer=optimizer))
    else:
        task = kind(whole, stack, 4.0, StudentSettings(optimizer=optimizer))
    task.train = task.train.to("meta")
    network = build_network(name, options).to("meta")
    with Counted() as counted:
        loss = task.loss(network, np.random.default_rng(0))
        loss.backward()
    assert loss.device.type == "meta"
    return counted


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_larger_batch_is_no_more_work_for_the_processor(kind: Any) -> None:
    small, large = one_step(kind, 4), one_step(kind, 16)
    assert large.operations == small.operations
    assert large.transfers == small.transfers <= MOST_TRANSFERS
