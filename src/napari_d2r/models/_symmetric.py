"""Convolutions that commute with turning a stack upside down.

The channels of a feature map come in two halves, which change places when the slices are
reversed. A convolution with the weights [[A, B], [B, A]] maps such a map to such a map:
reversing its input reverses its output (group convolution over {1, reversal}, Cohen and
Welling 2016). It costs what an ordinary convolution of that width costs, with half the
parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SymmetricConv2d(nn.Module):
    """3x3 convolution, or 2x2 that halves H and W: (B, 2 c, H, W) -> (B, 2 c', ...).

    Parameters
    ----------
    before, width
        Channels of both halves together; even.
    halving
        2x2 with stride 2 in place of 3x3.
    gain
        Scales the initial weights.
    """

    def __init__(
        self, before: int, width: int, *, halving: bool = False, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.stride, self.padding = (2, 0) if halving else (1, 1)
        start = nn.Conv2d(before, width // 2, 2 if halving else 3)
        assert start.bias is not None
        with torch.no_grad():  # in place: on torch's meta device a product imports its compiler
            start.weight.mul_(gain)
        self.weight = nn.Parameter(start.weight.detach())  # (c', 2 c, k, k): [A, B]
        self.bias = nn.Parameter(start.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Both halves at once, by one ordinary convolution."""
        a, b = self.weight.chunk(2, dim=1)
        whole = torch.cat([self.weight, torch.cat([b, a], dim=1)])
        bias = torch.cat([self.bias, self.bias])
        return F.conv2d(x, whole, bias, self.stride, self.padding)


class SymmetricDoubling(nn.Module):
    """2x2 transposed convolution with stride 2: (B, 2 c, H, W) -> (B, 2 c', 2 H, 2 W)."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        start = nn.ConvTranspose2d(before, width // 2, 2, 2)
        assert start.bias is not None
        self.weight = nn.Parameter(start.weight.detach())  # (2 c, c', 2, 2): [A, B]
        self.bias = nn.Parameter(start.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Both halves at once, by one ordinary transposed convolution."""
        a, b = self.weight.chunk(2, dim=0)
        whole = torch.cat([self.weight, torch.cat([b, a])], dim=1)
        return F.conv_transpose2d(x, whole, torch.cat([self.bias, self.bias]), stride=2)
