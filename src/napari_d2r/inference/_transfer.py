"""Between the processor and a device: on cuda beside the computation, elsewhere plainly.

On cuda, copies run on streams of their own, in page-locked memory. Torch keeps such memory and
hands it out again, so that a run goes round the same few buffers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor


def to_device(host: Tensor, device: torch.device) -> Tensor:
    """Values on the device; what is computed there next waits for them, the caller does not."""
    if device.type != "cuda":
        return host.to(device)
    way = _stream(device, "there")
    with torch.cuda.stream(way):
        there = host.pin_memory().to(device, non_blocking=True)
    now = torch.cuda.current_stream(device)
    now.wait_stream(way)
    there.record_stream(now)  # its memory is not given away before `now` is done with it
    return there


def to_host(values: Tensor) -> Callable[[], Tensor]:
    """Fetch values as soon as they are computed; call what is returned to wait for them."""
    device = values.device
    if device.type != "cuda":
        host = values.cpu()
        return lambda: host
    way = _stream(device, "back")
    way.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(way):
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        has_arrived = way.record_event()
    values.record_stream(way)

    def arrived() -> Tensor:
        has_arrived.synchronize()
        return host

    return arrived


@cache
def _stream(device: torch.device, way: Literal["there", "back"]) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
