"""The slice between two others: sizes of a TimeUNet that sees both, and what it adds to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_d2r.models.time_unet import TimeUNetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class MidpointConfig(TimeUNetConfig):
    """The slice below and the slice above; of C channels 2 C go in, and C come out."""

    in_channels: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MidpointDenoiserConfig(TimeUNetConfig):
    """The noisy slice between them, the slice below and the slice above."""

    in_channels: int = 3


def midpoint(network: nn.Module, below: Tensor, above: Tensor) -> Tensor:
    """The mean of two slices (B, C, H, W), unit intensity, and what the network adds to it."""
    mean = (below + above) / 2
    both = 2 * torch.cat([below, above], dim=1) - 1
    added: Tensor = network(both, torch.zeros(len(mean)).to(mean))
    return mean + added
