"""The lateral regressor: stages I and II of D2R in one deterministic step.

A 2D network sees the measured rows of an XZ (or YZ) slice on their own coarse grid and
predicts the rows between them. It learns from XY slices with rows left out, where the
truth is known, and is applied along Z. Because every convolution runs on the coarse grid
and only the last linear layer knows the depth, it costs r times less than a network on
the interpolated slice, and serves any r.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_d2r.models._depth import DepthHead, linear_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class LateralNetConfig:
    """Channels and residual blocks of each level; a level has half the columns of the last.

    ``restores_measured`` where measured slices are blurred, so that depths 0 and 1 differ
    from them.
    """

    widths: tuple[int, ...] = (32, 64, 96)
    blocks: tuple[int, ...] = (1, 1, 2)
    restores_measured: bool = False


class RowBlock(nn.Module):
    """Residual block; only its first convolution mixes rows, so the axial halo stays small."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.along = nn.Conv2d(width, width, (1, 3), padding=(0, 1))
        with torch.no_grad():
            self.along.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, J - 1, W)  # noqa: D102
        out: Tensor = x + self.along(F.relu(self.mix(F.relu(x))))
        return out


class LateralNet(nn.Module):
    """Rows of a slice in, the rows between them out."""

    def __init__(self, config: LateralNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LateralNetConfig()
        widths, blocks = config.widths, config.blocks
        pairs = list(pairwise(widths))
        self.stem = nn.Conv2d(1, widths[0], (4, 5), padding=(0, 2))  # rows j-1 .. j+2 -> gap j
        self.encoder = nn.ModuleList(
            nn.Sequential(*(RowBlock(width) for _ in range(count)))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, (1, 2), (1, 2)) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, (1, 2), (1, 2)) for a, b in pairs)
        self.decoder = nn.ModuleList(RowBlock(width) for width in widths[:-1])
        self.head = DepthHead(widths[0], restores_measured=config.restores_measured)

    @property
    def lateral_stride(self) -> int:
        """Tiles must start at a multiple of this many columns."""
        return int(2 ** len(self.down))

    @property
    def lateral_halo(self) -> int:
        """Columns on either side that can change an output column."""
        levels = len(self.down)
        in_blocks: int = sum(
            2 * 2**level * (count + (level < levels))
            for level, count in enumerate(self.config.blocks)
        )
        return 2 + in_blocks + (self.lateral_stride - 1)  # stem, blocks, pooling

    @property
    def axial_halo(self) -> int:
        """Rows beyond the two that bound a gap that can change the gap."""
        return 1 + sum(self.config.blocks) + len(self.decoder)

    def forward(self, rows: Tensor, depths: Tensor, log2_gap: Tensor) -> Tensor:
        """Predict the rows between measured rows.

        Parameters
        ----------
        rows
            (B, J, W) measured rows, unit intensity.
        depths
            Relative depth in [0, 1] of the D rows wanted: (J - 1, D), or (1, D) where
            all gaps want the same, which is faster.
        log2_gap
            Scalar tensor: log2 of the factor r; or (J - 1,), with as many rows of ``depths``.

        Returns
        -------
        Tensor
            (B, J - 1, D, W): aligned linear interpolation plus a residual.
        """
        width = rows.shape[-1]
        padded = F.pad(rows[:, None] - 0.5, (0, -width % self.lateral_stride, 1, 1), "replicate")
        features = self.stem(padded)  # (B, C, J - 1, W)
        skips = []
        for level, down in enumerate(self.down):
            features = self.encoder[level](features)
            skips.append(features)
            features = down(features)
        features = self.encoder[-1](features)
        for level in reversed(range(len(self.up))):
            features = self.decoder[level](self.up[level](features) + skips[level])
        features = F.relu(features[..., :width])
        weights = self.head(depths, log2_gap.expand(len(depths)))[:, :, 0]  # (J - 1 or 1, D, C)
        if len(weights) == 1:  # one matrix for all gaps: an ordinary 1x1 convolution
            residual = F.conv2d(features, weights[0, :, :, None, None]).transpose(1, 2)
        else:
            residual = torch.einsum("bcjw,jdc->bjdw", features, weights)
        return linear_rows(rows, depths) + residual
