"""How a network is told where between two measured slices its output stands.

``d`` in (0, 1) is the relative depth between the two neighbours, and ``log2_gap`` the
base-2 logarithm of how many output steps wide the gap is (log2 of the factor r).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class DepthEmbedding(nn.Module):
    """Smooth features of (d, log2 gap): sin and cos of 2^j pi d, then a two-layer MLP."""

    frequencies: Tensor

    def __init__(self, num_frequencies: int, width: int) -> None:
        super().__init__()
        # A list: ranges and powers of torch's meta device import its compiler, which takes seconds.
        frequencies = torch.tensor([math.pi * 2.0**j for j in range(num_frequencies)])
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.Sequential(
            nn.Linear(2 * num_frequencies + 2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def forward(self, depths: Tensor, log2_gap: Tensor) -> Tensor:
        """``depths`` (B, D), ``log2_gap`` (B,) -> (B, D, width)."""
        angles = depths[..., None] * self.frequencies
        gap = (log2_gap[:, None] / 3).expand_as(depths)  # about 1 at r = 8
        waves = (angles.sin(), angles.cos(), depths[..., None], gap[..., None])
        features: Tensor = self.mlp(torch.cat(waves, dim=-1))
        return features


class DepthHead(nn.Module):
    """Output weights as a function of depth: one encoding serves every depth of a gap.

    The last linear layer of the network, ``num_features`` to ``num_outputs``, is generated
    from (d, log2 gap) and scaled by the `residual_envelope`.
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int = 1,
        num_frequencies: int = 4,
        *,
        restores_measured: bool = False,
    ) -> None:
        super().__init__()
        self.num_features, self.num_outputs = num_features, num_outputs
        self.restores_measured = restores_measured
        self.embedding = DepthEmbedding(num_frequencies, 64)
        self.generate = nn.Linear(64, num_features * num_outputs)
        with torch.no_grad():  # start close to the linear base
            self.generate.weight.mul_(0.1)
            self.generate.bias.zero_()

    def forward(self, depths: Tensor, log2_gap: Tensor) -> Tensor:
        """``depths`` (B, D), ``log2_gap`` (B,) -> weights (B, D, num_outputs, num_features)."""
        weights = self.generate(self.embedding(depths, log2_gap))
        envelope = residual_envelope(depths, self.restores_measured)[..., None]
        shape = (*depths.shape, self.num_outputs, self.num_features)
        shaped: Tensor = (weights * envelope).reshape(shape)
        return shaped


def residual_envelope(depths: Tensor, restores_measured: bool) -> Tensor:
    """By how much a residual counts at these depths: 4 d (1 - d), or 1 everywhere.

    4 d (1 - d) vanishes on the measured slices, which so return whatever the weights are.
    Measured slices that are blurred are to be restored too.
    """
    return torch.ones_like(depths) if restores_measured else 4 * depths * (1 - depths)


def linear_base(below: Tensor, above: Tensor, depths: Tensor) -> Tensor:
    """Aligned linear interpolation: ``below``, ``above`` (B, H, W), ``depths`` (B, D).

    Returns (B, D, H, W); depth 0 is ``below`` and depth 1 is ``above`` exactly.
    """
    d = depths[..., None, None]
    return below[:, None] * (1 - d) + above[:, None] * d


def interleave_rows(rows: Tensor, between: Tensor) -> Tensor:
    """Measured rows (B, J, W) and the rows between (B, J - 1, D, W), in one slice.

    Returns (B, (J - 1) (D + 1) + 1, W); measured row j stands at row j (D + 1).
    """
    gaps = torch.cat([rows[:, :-1, None], between], dim=2).flatten(1, 2)
    return torch.cat([gaps, rows[:, -1:]], dim=1)


def linear_rows(rows: Tensor, depths: Tensor) -> Tensor:
    """Aligned linear interpolation: rows (B, J, W), depths (J - 1 or 1, D) -> (B, J - 1, D, W)."""
    d = depths[None, :, :, None]
    return rows[:, :-1, None] * (1 - d) + rows[:, 1:, None] * d
