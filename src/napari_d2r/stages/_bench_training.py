"""A step of stage I as published, beside what the device would allow it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from napari_d2r.inference import synchronize
from napari_d2r.jobs import NetworkSettings, OptimizerSettings, PriorSettings
from napari_d2r.models import build_network, training_type
from napari_d2r.stages._bench_report import TrainingRate
from napari_d2r.training import DiffusionTask

__all__ = ["memory_rate", "training_rate"]

_NETWORK = "nafnet"
_TRIES = 3
# Crops per step, gaps and columns of each: as published, and what a processor does in seconds.
_ON_A_GPU, _ON_A_PROCESSOR = (4, 32, 256), (1, 2, 32)


class Roofline(TorchDispatchMode):
    """Adds up, call by call, the operations and the seconds that a device needs at least.

    A call takes as long as its operations at ``flops_per_s``, or as its operands and its results
    at ``bytes_per_s``, whichever is longer (the roofline of Williams et al. 2009).
    """

    def __init__(self, flops_per_s: float, bytes_per_s: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops_per_s, self.bytes_per_s = flops_per_s, bytes_per_s
        self.flops = self.seconds = 0.0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = call(*args, **kwargs)
        if not call.is_view:
            count = flop_registry.get(call._overloadpacket)
            flops = 0.0 if count is None else float(count(*args, **kwargs, out_val=found))
            tensors = [t for t in tree_leaves((args, kwargs, found)) if isinstance(t, Tensor)]
            moved = sum(t.numel() * t.element_size() for t in tensors)
            self.flops += flops
            self.seconds += max(flops / self.flops_per_s, moved / self.bytes_per_s)
        return found


def memory_rate(device: torch.device, megabytes: int = 256) -> float:
    """Bytes read and written per second while a large array is copied."""
    source = torch.zeros(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(_seconds(lambda: target.copy_(source), device) for _ in range(_TRIES + 1))
    return 2 * source.numel() / best


def training_rate(
    device: torch.device, matmul: dict[str, float], bytes_per_s: float
) -> TrainingRate:
    """Time a step: draw a batch, forwards, backwards, AdamW; and count what is in it."""
    batch, num_gaps, columns = _ON_A_PROCESSOR if device.type == "cpu" else _ON_A_GPU
    optimizer = OptimizerSettings(batch=batch)
    settings = PriorSettings(
        prediction="noise",
        network=NetworkSettings(architecture=_NETWORK),
        optimizer=optimizer,
        num_gaps=num_gaps,
        columns=columns,
    )
    edge = 8 * num_gaps + 1
    task = DiffusionTask(torch.rand(4, edge, max(edge, columns), device=device), 8.0, settings)
    network = build_network(_NETWORK, {}).to(device).train()
    adam = torch.optim.AdamW(network.parameters())
    dtype = training_type(device)

    def step() -> None:
        with nullcontext() if dtype is None else torch.autocast(device.type, dtype):
            loss = task.loss(network, np.random.default_rng(0))
        loss.backward()
        adam.step()
        adam.zero_grad()

    step()  # the first of a shape is slower
    name = str(dtype or torch.float32).removeprefix("torch.")
    peak = matmul.get(name, matmul["float32"])
    with Roofline(peak, bytes_per_s) as roofline:
        step()
    return TrainingRate(
        network=_NETWORK,
        dtype=name,
        batch=batch,
        flops=roofline.flops,
        seconds=min(_seconds(step, device) for _ in range(_TRIES)),
        least_seconds=roofline.seconds,
        flops_per_s_of_matmul=peak,
    )


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began
