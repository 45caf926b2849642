"""DGEAN, the first axial super-resolution network of D2R (Chen et al., arXiv 2411.16792).

Four measured slices and a continuous depth in, the slice at that depth out. Five encoders, those
of an 18-layer 3D ResNet, each end in a Gaussian embedding attention block: it adds where every
slice stands relative to the output, tells how deep in the gap that is, and weighs the channels.
Transposed convolutions with skips decode, and a 7x7 head adds to aligned linear interpolation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_d2r.models._depth import DepthEmbedding, linear_base, residual_envelope
from napari_d2r.models.aenet import (
    BACKBONE_STRIDE,
    NUM_SLICES,
    ChannelGate,
    FeatureModulation,
    ResidualBlock,
    backbone_halo,
    convolution,
    initialise,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DGEANConfig:
    """Channels of the stem, and the sizes of what says where a slice stands.

    ``num_positions`` random frequencies embed the position of a slice, ``num_frequencies``
    powers of two the depth in the gap. ``restores_measured`` where measured slices are blurred,
    so that depths 0 and 1 differ from them.
    """

    width: int = 64
    num_positions: int = 16
    num_frequencies: int = 8
    embedding: int = 64
    restores_measured: bool = False


class GaussianEmbeddingAttention(nn.Module):
    """Position, depth and attention: the end of each encoder.

    The position p of a slice is its distance from the output slice, in gaps: -1, 0, 1, 2 less
    the depth. It enters as W [cos 2 pi B p, sin 2 pi B p] with B drawn once from N(0, 1) and
    kept with the weights (random Fourier features, Tancik et al. 2020). It has no part in the
    image plane, where the network must not know where a tile lies.
    """

    frequencies: Tensor

    def __init__(self, width: int, num_positions: int, embedding: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(num_positions))
        self.place = nn.Linear(2 * num_positions, width, bias=False)
        self.modulate = FeatureModulation(embedding, width)
        self.attend = ChannelGate(width)

    def forward(self, f: Tensor, positions: Tensor, embedding: Tensor) -> Tensor:
        """``f`` (B, C, 4, H, W), ``positions`` (B, 4), ``embedding`` (B, E) of the depth."""
        angles = 2 * math.pi * positions[..., None] * self.frequencies
        placed = self.place(torch.cat([angles.cos(), angles.sin()], dim=-1))  # (B, 4, C)
        f = f + placed.transpose(1, 2)[..., None, None]
        attended: Tensor = self.attend(self.modulate(f, embedding))
        return attended


class DGEAN(nn.Module):
    """Four slices and D depths in, D slices between the middle two out."""

    def __init__(self, config: DGEANConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DGEANConfig()
        w = config.width
        stem = nn.Conv3d(1, w, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.encoder = nn.ModuleList(
            [
                nn.Sequential(stem, nn.ReLU()),  # H / 2
                _residual_pair(w, w),
                _residual_pair(w, 2 * w, 2),  # H / 4
                _residual_pair(2 * w, 4 * w, 2),  # H / 8
                _residual_pair(4 * w, 8 * w),
            ]
        )
        self.blocks = nn.ModuleList(
            GaussianEmbeddingAttention(c, config.num_positions, config.embedding)
            for c in (w, w, 2 * w, 4 * w, 8 * w)
        )
        self.decoder = nn.ModuleList(
            [
                convolution(8 * w, 4 * w, is_up=False, bias=True),  # H / 8
                convolution(8 * w, 2 * w, is_up=True, bias=True),  # H / 4
                convolution(4 * w, w, is_up=True, bias=True),  # H / 2
                convolution(2 * w, w, is_up=False, bias=True),
                convolution(2 * w, w, is_up=True, bias=True),  # H
            ]
        )
        self.fuse = nn.Conv2d(NUM_SLICES * w, w, 1, bias=False)
        self.head = nn.Conv2d(w, 1, 7, padding=3, padding_mode="reflect")
        self.embedding = DepthEmbedding(config.num_frequencies, config.embedding)
        initialise(self)
        nn.init.zeros_(self.head.weight)  # starts as the linear base

    @property
    def lateral_stride(self) -> int:
        """Tiles must start at a multiple of this many pixels."""
        return BACKBONE_STRIDE

    @property
    def lateral_halo(self) -> int:
        """Pixels on either side that can change an output pixel."""
        return backbone_halo()

    def forward(self, slices: Tensor, depths: Tensor, log2_gap: Tensor) -> Tensor:
        """Predict slices between the middle two of four.

        Parameters
        ----------
        slices
            (B, 4, H, W) measured slices j - 1 .. j + 2, unit intensity; any H and W.
        depths
            (B, D) relative depths in (0, 1) between slices j and j + 1.
        log2_gap
            (B,) log2 of the factor r.

        Returns
        -------
        Tensor
            (B, D, H, W): aligned linear interpolation plus 4 d (1 - d) times the residual,
            so that depths 0 and 1 are the measured slices whatever the weights are.
        """
        height, width = slices.shape[-2:]
        stride = self.lateral_stride
        padded = F.pad(slices - 0.5, (0, -width % stride, 0, -height % stride), "replicate")
        stem = self.encoder[0](padded[:, None])  # does not know the depth
        embedding = self.embedding(depths, log2_gap)  # (B, D, E)
        positions = torch.arange(-1, NUM_SLICES - 1).to(depths) - depths[..., None]  # (B, D, 4)
        residual = torch.cat(
            [
                self._residual(stem, p, e)
                for p, e in zip(positions.unbind(1), embedding.unbind(1), strict=True)
            ],
            dim=1,
        )
        envelope = residual_envelope(depths, self.config.restores_measured)[..., None, None]
        base = linear_base(slices[:, 1], slices[:, 2], depths)
        return base + envelope * residual[..., :height, :width]

    def _residual(self, stem: Tensor, positions: Tensor, embedding: Tensor) -> Tensor:
        """One depth: stem features, (B, 4) and (B, E) -> (B, 1, H, W)."""
        features = [self.blocks[0](stem, positions, embedding)]
        for stage, block in zip(self.encoder[1:], self.blocks[1:], strict=True):
            features.append(block(stage(features[-1]), positions, embedding))
        h = F.relu(self.decoder[0](features.pop()))
        for stage, skip in zip(self.decoder[1:], reversed(features), strict=True):
            h = F.relu(stage(torch.cat([h, skip], dim=1)))
        residual: Tensor = self.head(F.relu(self.fuse(h.flatten(1, 2))))
        return residual


def _residual_pair(before: int, width: int, stride: int = 1) -> nn.Sequential:
    """Two blocks of the ResNet; the attention comes after them."""
    return nn.Sequential(
        ResidualBlock(before, width, stride, gated=False), ResidualBlock(width, width, gated=False)
    )
