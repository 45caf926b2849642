"""Which 16-bit floats a device has instructions for: asked, never measured.

A processor without them computes bfloat16 hundreds of times slower, and a training that is resumed
must go on in the same type, however busy the machine.
"""

from __future__ import annotations

import torch

_BFLOAT16, _FLOAT16 = (8, 0), (7, 0)  # generations of cuda devices that multiply them in hardware


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is not emulated."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _BFLOAT16
    has = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def training_type(device: torch.device) -> torch.dtype | None:
    """In which 16-bit floats to multiply while training; None for float32."""
    if has_bfloat16(device):
        return torch.bfloat16
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= _FLOAT16:
        return torch.float16
    return None
