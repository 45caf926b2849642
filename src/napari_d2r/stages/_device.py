"""From the device asked for to the device there is."""

from __future__ import annotations

import torch

from napari_d2r.errors import InputError
from napari_d2r.jobs import Device


def resolve_device(wanted: Device) -> torch.device:
    """``auto`` takes cuda, then mps, then cpu.

    Raises
    ------
    InputError
        When the device asked for is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[wanted]:
        raise InputError(f"This machine has no {wanted} device; use --device auto or cpu.")
    return torch.device(wanted)
