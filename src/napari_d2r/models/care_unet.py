"""A lateral U-Net on the interpolated slice, as isotropic CARE (Weigert et al. 2018) has it.

The measured rows of an XZ (or YZ) slice are interpolated linearly to full resolution, and a
2D U-Net adds what is missing. Unlike `LateralNet` it computes on the fine grid, at r times the
cost, and learns nothing of depth or gap but what the picture shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_d2r.models._depth import linear_rows
from napari_d2r.models._receptive import Convolution, Transposed, receptive_radius

_SAME = 2e-3  # of a row: depths come rounded


@dataclass(frozen=True, slots=True, kw_only=True)
class CareUNetConfig:
    """Channels of the first level, which each further one doubles, and the edge of the kernels.

    ``levels`` counts halvings of rows and columns.
    """

    width: int = 32
    levels: int = 2
    kernel: int = 3

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0 or self.levels < 1:
            raise ValueError(f"kernels are odd and levels at least 1, not {self}")


class CareUNet(nn.Module):
    """Rows of a slice in, the rows at any depth of its gaps out."""

    def __init__(self, config: CareUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CareUNetConfig()
        widths = [config.width * 2**level for level in range(config.levels + 1)]
        before = [1, *widths[:-1]]
        self.encoder = nn.ModuleList(self._pair(a, b) for a, b in zip(before, widths, strict=True))
        self.decoder = nn.ModuleList(
            self._pair(deeper + own, own)
            for deeper, own in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.ending = nn.Conv2d(config.width, 1, 1)
        with torch.no_grad():  # start close to the linear base
            self.ending.weight.mul_(0.1)
            self.ending.bias.zero_()  # type: ignore[union-attr]

    def _pair(self, before: int, width: int) -> nn.Sequential:
        kernel = self.config.kernel
        return nn.Sequential(
            nn.Conv2d(before, width, kernel, padding="same"),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel, padding="same"),
            nn.ReLU(),
        )

    @property
    def lateral_stride(self) -> int:
        """Tiles must start at a multiple of this many columns."""
        return int(2**self.config.levels)

    @property
    def lateral_halo(self) -> int:
        """Columns, and rows of the fine grid, that can change a voxel on either side."""
        pair = [Convolution(self.config.kernel, 1, self.config.kernel // 2)] * 2
        path: list[Convolution | Transposed] = [*pair]
        for _ in range(self.config.levels):
            path = [*pair, Convolution(2, 2), *path, Transposed(2, 2), *pair]
        return receptive_radius(path, self.lateral_stride)

    @property
    def axial_halo(self) -> int:
        """Measured rows beyond the two that bound a gap that can change the gap, at worst."""
        return -(-self.lateral_halo // self.lateral_stride)

    def forward(self, rows: Tensor, depths: Tensor, log2_gap: Tensor) -> Tensor:
        """Predict rows between measured rows, and these themselves.

        The fine grid has a whole multiple of the `lateral_stride` rows per gap, so that tiles
        agree. Where a gap is no such multiple, and between its rows, the residual is
        interpolated linearly.

        Parameters
        ----------
        rows
            (B, J, W) measured rows, unit intensity.
        depths
            Relative depth in [0, 1] of the D rows wanted: (J - 1, D), or (1, D) where
            all gaps want the same.
        log2_gap
            Scalar tensor: log2 of the gap in lateral voxels.

        Returns
        -------
        Tensor
            (B, J - 1, D, W): aligned linear interpolation plus a residual.
        """
        stride = self.lateral_stride
        per_gap = -(-round(2 ** float(log2_gap)) // stride) * stride
        begin = _first_row(depths * per_gap)
        grid = (torch.arange(per_gap) + begin) / per_gap
        fine = linear_rows(rows, grid.to(rows)[None]).flatten(1, 2)
        if begin == 0:
            fine = torch.cat([fine, rows[:, -1:]], dim=1)
        residual = self._restore(fine)
        gaps = torch.arange(rows.shape[1] - 1, device=depths.device)[:, None]
        places = ((gaps + depths) * per_gap - begin).clamp(0, fine.shape[1] - 1)
        lower = (places + _SAME).floor().clamp(max=fine.shape[1] - 2).long()
        part = (places - lower)[None, :, :, None]
        part = torch.where(part < _SAME, 0, part).to(rows)
        between = residual[:, lower] * (1 - part) + residual[:, lower + 1] * part
        return linear_rows(rows, depths) + between

    def _restore(self, fine: Tensor) -> Tensor:
        """(B, R, W) interpolated rows -> what they lack."""
        height, width = fine.shape[1:]
        stride = self.lateral_stride
        padded = F.pad(fine[:, None] - 0.5, (0, -width % stride, 0, -height % stride), "replicate")
        h, skips = self.encoder[0](padded), []
        for stage in self.encoder[1:]:
            skips.append(h)
            h = stage(F.max_pool2d(h, 2))
        for stage in self.decoder:
            doubled = F.interpolate(h, scale_factor=2.0, mode="nearest")
            h = stage(torch.cat([doubled, skips.pop()], dim=1))
        residual: Tensor = self.ending(h)
        return residual[:, 0, :height, :width]


def _first_row(places: Tensor) -> float:
    """Where the fine grid begins: half a row on where all that is wanted lies between rows."""
    return 0.5 if bool(((places % 1 - 0.5).abs() < _SAME).all()) else 0.0
