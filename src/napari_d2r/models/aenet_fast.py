"""A small AENet: the published contract at a hundredth of its cost.

Like AENet it takes four measured slices and a continuous depth d and returns the slice at
d. Unlike it, the four slices are collapsed into channels at once, the stem works at half
resolution, and depth enters only in the last linear layer, so that one encoding serves
all depths of a gap. Turning the slices upside down turns the answer upside down,
g(I_4 .. I_1, 1 - d) = g(I_1 .. I_4, d), whatever the weights are: a network that could
tell up from down would lean to one side along z. No layer looks further than its receptive
field: a tile equals the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_d2r.models._depth import DepthHead, linear_base
from napari_d2r.models._symmetric import SymmetricConv2d, SymmetricDoubling

NUM_SLICES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AENetFastConfig:
    """Channels (even) and residual blocks of each level; level 0 is at half resolution.

    ``restores_measured`` where measured slices are blurred, so that depths 0 and 1 differ
    from them.
    """

    widths: tuple[int, ...] = (48, 96, 128)
    blocks: tuple[int, ...] = (1, 1, 2)
    restores_measured: bool = False

    def __post_init__(self) -> None:
        if any(width % 2 for width in self.widths):
            raise ValueError(f"channels come in pairs, so widths must be even, not {self.widths}")


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip; no normalisation, so tiles agree."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = SymmetricConv2d(width, width)
        self.second = SymmetricConv2d(width, width, gain=0.3)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)  # noqa: D102
        out: Tensor = x + self.second(F.relu(self.first(F.relu(x))))
        return out


class AENetFast(nn.Module):
    """Four slices and D depths in, D slices between the middle two out."""

    is_symmetric = True

    def __init__(self, config: AENetFastConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AENetFastConfig()
        widths, blocks = config.widths, config.blocks
        pairs = list(pairwise(widths))
        self.stem = nn.Conv2d(4 * NUM_SLICES, widths[0] // 2, 3, padding=1)
        self.encoder = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.down = nn.ModuleList(SymmetricConv2d(a, b, halving=True) for a, b in pairs)
        self.up = nn.ModuleList(SymmetricDoubling(b, a) for a, b in pairs)
        self.decoder = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.head = DepthHead(
            widths[0] // 2, num_outputs=4, restores_measured=config.restores_measured
        )

    @property
    def lateral_stride(self) -> int:
        """Tiles must start at a multiple of this many pixels."""
        return int(2 ** (1 + len(self.down)))

    @property
    def lateral_halo(self) -> int:
        """Pixels on either side that can change an output pixel."""
        levels = len(self.down)
        in_blocks: int = sum(
            2 * 2 ** (1 + level) * (count + (level < levels))
            for level, count in enumerate(self.config.blocks)
        )
        return 2 + in_blocks + (self.lateral_stride - 1)  # stem, blocks, pooling

    def forward(self, slices: Tensor, depths: Tensor, log2_gap: Tensor) -> Tensor:
        """Predict slices between the middle two of four.

        Parameters
        ----------
        slices
            (B, 4, H, W) measured slices j - 1 .. j + 2, unit intensity.
        depths
            (B, D) relative depths in [0, 1] between slices j and j + 1.
        log2_gap
            (B,) log2 of the factor r.

        Returns
        -------
        Tensor
            (B, D, H, W): aligned linear interpolation plus a residual.
        """
        return self.decode(self.encode(slices), slices, depths, log2_gap)

    def encode(self, slices: Tensor) -> Tensor:
        """Everything that does not know the depth: (B, 4, H, W) -> (B, C, H' / 2, W' / 2).

        H' and W' are H and W padded to the `lateral_stride`.
        """
        height, width = slices.shape[-2:]
        stride = self.lateral_stride
        padded = F.pad(slices - 0.5, (0, -width % stride, 0, -height % stride), "replicate")
        features = self._lift(F.pixel_unshuffle(padded, 2))
        skips = []
        for level, down in enumerate(self.down):
            features = self.encoder[level](features)
            skips.append(features)
            features = down(features)
        features = self.encoder[-1](features)
        for level in reversed(range(len(self.up))):
            features = self.decoder[level](self.up[level](features) + skips[level])
        return F.relu(features)

    def decode(self, features: Tensor, slices: Tensor, depths: Tensor, log2_gap: Tensor) -> Tensor:
        """The last linear layer, made for each depth, on the result of `encode`."""
        height, width = slices.shape[-2:]
        # The half of the channels that sees the slices upside down sees d from above.
        upright, reversed_ = self.head(depths, log2_gap), self.head(1 - depths, log2_gap)
        weights = torch.cat([upright, reversed_], dim=-1).flatten(1, 2)  # (B, D 4, C)
        phases = weights.to(features.dtype) @ features.flatten(2)
        phases = phases.unflatten(1, (-1, 4)).unflatten(-1, features.shape[-2:])
        residual = F.pixel_shuffle(phases, 2).squeeze(2)[..., :height, :width]
        return linear_base(slices[:, 1], slices[:, 2], depths) + residual

    def _lift(self, unshuffled: Tensor) -> Tensor:
        """(B, 4 slices x 4 pixels, H / 2, W / 2) -> the slices as they stand, and reversed."""
        weight = self.stem.weight
        upside_down = weight.unflatten(1, (NUM_SLICES, 4)).flip(1).flatten(1, 2)
        assert self.stem.bias is not None
        bias = torch.cat([self.stem.bias, self.stem.bias])
        return F.conv2d(unshuffled, torch.cat([weight, upside_down]), bias, padding=1)
