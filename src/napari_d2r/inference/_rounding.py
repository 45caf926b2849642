"""Computed values to stored ones, on the device: one or two bytes per voxel travel, not four."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_d2r.volumes import ChannelRanges, IntensityRange

# What travels; the bits of uint16 do as int16, because torch computes little in uint16. Every other
# type is made of float32 on arrival.
_TRAVELS = {
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "uint16": torch.int16,
    "float16": torch.float16,
}


def to_stored(values: Tensor, intensity: IntensityRange, dtype: np.dtype[Any]) -> Tensor:
    """Unit intensity to grey values, bit for bit as `IntensityRange.from_unit` rounds and clips.

    In the type that travels; `as_stored` makes the array of it. Channels are the first axis.
    """
    if isinstance(intensity, ChannelRanges):
        both = zip(values, intensity.ranges, strict=True)
        return torch.stack([to_stored(one, its, dtype) for one, its in both])
    grey = values.float() * intensity.span + intensity.low
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        grey = grey.round_().clamp_(limits.min, limits.max).int()  # by way of int32, which wraps
    return grey.to(_TRAVELS.get(dtype.name, torch.float32))


def as_stored(host: Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array of what `to_stored` made, once it is in the processor's memory."""
    values: NDArray[Any] = host.numpy()
    return values.view(dtype) if dtype.name == "uint16" else values.astype(dtype, copy=False)
