"""SRUNet (Heinrich et al. 2017, as D2R trains it): a block of measured slices in, finer out.

A 3D U-Net whose skips and upward steps are transposed convolutions along z, so that its
decoder works on the output grid and fills all gaps of a block at once. Strides of z are
undone by kernels of 2 s - 1 taps, of which the middle one falls on the measured slice: each
output slice is written to (kernels of 3, as published, leave planes with nothing but a bias
where s > 3) and nothing is shifted, whether the factor is even or odd. The network predicts what
aligned linear interpolation misses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_d2r.models._depth import linear_rows
from napari_d2r.models._receptive import Convolution, Transposed, receptive_radius

_CONVOLUTIONS = 3  # of each level, on its way down and up
_HEAD = Convolution(3, 1, 1)
_LEVEL: list[Convolution | Transposed] = [Convolution(3, 1, 1)] * _CONVOLUTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class SRUNetConfig:
    """The factor it is made for, at least 2, and the channels of its three levels."""

    factor: int = 8
    widths: tuple[int, ...] = (32, 64, 128)


class SRUNet(nn.Module):
    """J measured slices in, the ``factor - 1`` slices within each of their gaps out."""

    def __init__(self, config: SRUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SRUNetConfig()
        if config.factor < 2:
            raise ValueError(f"a factor of {config.factor} leaves nothing between slices")
        fine, middle, coarse = config.widths
        first, second = self.axial_strides
        self.down = nn.ModuleList([_level(1, fine), _level(fine, middle), _level(middle, coarse)])
        self.skip = nn.ModuleList(
            [_finer(fine, fine, config.factor), _finer(middle, middle, first)]
        )
        self.up = nn.ModuleList([_finer(middle, fine, second, 2), _finer(coarse, middle, first, 2)])
        self.merge = nn.ModuleList([_level(2 * fine, fine), _level(2 * middle, middle)])
        self.head = nn.Conv3d(fine, 1, 3, padding=1)
        with torch.no_grad():  # start close to the linear base
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()  # type: ignore[union-attr]

    @property
    def axial_strides(self) -> tuple[int, int]:
        """How the factor is shared by the two upward steps; a prime is left to the second."""
        factor = self.config.factor
        first = next((n for n in range(2, math.isqrt(factor) + 1) if factor % n == 0), 1)
        return first, factor // first

    @property
    def lateral_stride(self) -> int:
        """Tiles must start at a multiple of this many pixels."""
        return 4

    @property
    def lateral_halo(self) -> int:
        """Pixels on either side that can change an output pixel."""
        pool, unpool = Convolution(2, 2), Transposed(2, 2)
        path = [*_LEVEL, pool, *_LEVEL, pool, *_LEVEL, unpool, *_LEVEL, unpool, *_LEVEL, _HEAD]
        return receptive_radius(path, self.lateral_stride)

    @property
    def decoder_halo(self) -> int:
        """Slices beyond the two that bound a gap whose features can change the gap."""
        low, high = 1, self.config.factor - 1
        first, second = (Transposed(2 * s - 1, s, s - 1) for s in self.axial_strides)
        for layer in reversed([first, *_LEVEL, second, *_LEVEL, _HEAD]):
            low, high = layer.reads(low, high)
        return max(-low, high - 1)

    @property
    def axial_halo(self) -> int:
        """Slices beyond the two that bound a gap that can change the gap."""
        return self.decoder_halo + 3 * _CONVOLUTIONS

    def forward(self, slices: Tensor) -> Tensor:
        """Predict the slices within all gaps.

        Parameters
        ----------
        slices
            (B, J, H, W) measured slices, unit intensity.

        Returns
        -------
        Tensor
            (B, J - 1, factor - 1, H, W) at depths 1/factor .. (factor - 1)/factor: aligned
            linear interpolation plus a residual.
        """
        return self.decode(slices, self.encode(slices))

    def encode(self, slices: Tensor) -> list[Tensor]:
        """Features (B, C, J, H, W) of each level, the finest first; all on the measured slices."""
        height, width = slices.shape[-2:]
        stride = self.lateral_stride
        padded = F.pad(slices - 0.5, (0, -width % stride, 0, -height % stride), "replicate")
        features = [self.down[0](padded[:, None])]
        for level in self.down[1:]:
            features.append(level(F.max_pool3d(features[-1], (1, 2, 2))))
        return features

    def decode(self, slices: Tensor, features: list[Tensor]) -> Tensor:
        """The slices within the gaps, from features of the same slices; see `forward`."""
        fine, middle, coarse = features
        middle = self.merge[1](torch.cat([self.skip[1](middle), self.up[1](coarse)], dim=1))
        fine = self.merge[0](torch.cat([self.skip[0](fine), self.up[0](middle)], dim=1))
        height, width = slices.shape[-2:]
        residual = self.head(fine)[:, 0, :-1, :height, :width]
        factor = self.config.factor
        between = residual.unflatten(1, (slices.shape[1] - 1, factor))[:, :, 1:]
        depths = (torch.arange(1, factor) / factor).to(slices)[None]
        base = linear_rows(slices.flatten(2), depths).unflatten(3, (height, width))
        filled: Tensor = base + between
        return filled


def _level(given: int, width: int) -> nn.Sequential:
    """Three 3x3x3 convolutions, each followed by a rectifier."""
    layers: list[nn.Module] = []
    for channels in (given, *[width] * (_CONVOLUTIONS - 1)):
        convolution = nn.Conv3d(channels, width, 3, padding=1)
        nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _finer(given: int, width: int, axial: int, lateral: int = 1) -> nn.ConvTranspose3d:
    """From slices j to slices j * axial and those between; (J - 1) axial + 1 of them."""
    kernel, padding = (3, 1) if lateral == 1 else (lateral, 0)
    layer = nn.ConvTranspose3d(
        given,
        width,
        (2 * axial - 1, kernel, kernel),
        (axial, lateral, lateral),
        (axial - 1, padding, padding),
    )
    taps = given * layer.weight[0, 0].numel() / (axial * lateral**2)  # that write an output
    bound = (3 / taps) ** 0.5  # of variance 1 / taps
    nn.init.uniform_(layer.weight, -bound, bound)
    return layer
