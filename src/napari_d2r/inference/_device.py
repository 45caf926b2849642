"""What a device is good at, found by trying: never by its name."""

from __future__ import annotations

import time

import torch

_EDGE, _TRIES, _WORTHWHILE = 256, 3, 1.2
_known: dict[torch.device, tuple[torch.dtype, ...]] = {}


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def faster_types(device: torch.device) -> tuple[torch.dtype, ...]:
    """16-bit floats that the device multiplies at least 1.2 times as fast as float32.

    A processor that lacks them emulates them, hundreds of times slower. bfloat16 comes
    first: it has the range of float32.
    """
    if device not in _known:
        plain = _product_seconds(device, torch.float32)
        _known[device] = tuple(
            dtype
            for dtype in (torch.bfloat16, torch.float16)
            if _product_seconds(device, dtype) * _WORTHWHILE < plain
        )
    return _known[device]


def _product_seconds(device: torch.device, dtype: torch.dtype) -> float:
    """The shortest of a few small products; infinite where the device cannot."""
    edge = _EDGE if device.type == "cpu" else 16 * _EDGE
    best = float("inf")
    for _ in range(_TRIES):
        try:
            a, b = (torch.ones(edge, edge, device=device, dtype=dtype) for _ in "ab")
            a @ b  # the first of a type is slower
            synchronize(device)
            began = time.perf_counter()
            a @ b
            synchronize(device)
        except RuntimeError:
            return float("inf")
        best = min(best, time.perf_counter() - began)
    return best
