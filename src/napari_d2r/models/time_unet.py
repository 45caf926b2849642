"""TimeUNet: a 2D U-Net that is told the diffusion time.

The structure of Ho et al. 2020 (appendix B): residual blocks of two convolutions at every
level, shifted by an embedding of the time, and a skip from each of them. Two things differ, so
that a tile does not matter to its neighbour: features are normalised pixel by pixel, where
the original normalises groups of channels over the whole image, and attention is off unless
levels are named for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_d2r.models._receptive import Convolution, Transposed, receptive_radius
from napari_d2r.models.nafnet import TimeEmbedding


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeUNetConfig:
    """The defaults are a quarter as wide as the network of Ho et al. for images of 32 x 32.

    Level ``i`` stands at 1 / 2^i resolution, has ``width * multipliers[i]`` channels and
    ``blocks`` residual blocks on the way down, one more on the way up. ``attention`` numbers
    the levels whose pixels look at each other; with any, a result depends on its tile.
    """

    in_channels: int = 1
    out_channels: int = 1
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = ()


class PixelNorm(nn.LayerNorm):
    """Layer norm over channels, pixel by pixel; fast where channels come last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), each pixel with mean 0 and variance 1 over C, scaled and shifted."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TimeBlock(nn.Module):
    """Norm, SiLU, convolution, twice; the time shifts the channels in between."""

    def __init__(self, wide_in: int, wide_out: int, time_width: int, *, attends: bool) -> None:
        super().__init__()
        self.norm_in, self.norm_out = PixelNorm(wide_in), PixelNorm(wide_out)
        self.first = nn.Conv2d(wide_in, wide_out, 3, padding=1)
        self.shift = nn.Linear(time_width, wide_out)
        self.second = _silent(nn.Conv2d(wide_out, wide_out, 3, padding=1))
        self.skip = nn.Conv2d(wide_in, wide_out, 1) if wide_in != wide_out else nn.Identity()
        self.attend = PixelAttention(wide_out) if attends else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """``x`` (B, C, H, W); ``time`` (B, time_width)."""
        h = self.first(F.silu(self.norm_in(x))) + self.shift(time)[:, :, None, None]
        out: Tensor = self.attend(self.skip(x) + self.second(F.silu(self.norm_out(h))))
        return out


class PixelAttention(nn.Module):
    """Every pixel of the tile looks at every other (Vaswani et al. 2017, eq. 1), one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = PixelNorm(width)
        self.ask = nn.Conv2d(width, 3 * width, 1)
        self.answer = _silent(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        parts = self.ask(self.norm(x)).flatten(2).transpose(1, 2)  # (B, H W, 3 C)
        seen = F.scaled_dot_product_attention(*(p[:, None] for p in parts.chunk(3, dim=2)))
        out: Tensor = x + self.answer(seen[:, 0].transpose(1, 2).unflatten(2, x.shape[2:]))
        return out


class TimeUNet(nn.Module):
    """An image and a time in; an image of the same size out, zero before any training.

    What goes in and what comes out is up to the task: the noise of a noisy slice, or the rows
    that a slice lacks.
    """

    def __init__(self, config: TimeUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TimeUNetConfig()
        widths = [config.width * factor for factor in config.multipliers]
        self.time = TimeEmbedding(config.width)

        def block(wide_in: int, level: int) -> TimeBlock:
            return TimeBlock(
                wide_in, widths[level], 4 * config.width, attends=level in config.attention
            )

        self.intro = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.encoder, self.down = nn.ModuleList(), nn.ModuleList()
        skips, wide = [widths[0]], widths[0]
        for level, next_width in enumerate(widths):
            if level > 0:
                self.down.append(nn.Conv2d(wide, wide, 3, stride=2, padding=1))
                skips.append(wide)
            blocks = nn.ModuleList()
            for _ in range(config.blocks):
                blocks.append(block(wide, level))
                wide = next_width
                skips.append(wide)
            self.encoder.append(blocks)
        last = len(widths) - 1
        self.middle = nn.ModuleList([block(wide, last), block(wide, last)])
        self.decoder, self.up = nn.ModuleList(), nn.ModuleList()
        for level in range(last, -1, -1):
            blocks = nn.ModuleList()
            for _ in range(config.blocks + 1):
                blocks.append(block(wide + skips.pop(), level))
                wide = widths[level]
            self.decoder.append(blocks)
            if level > 0:
                self.up.append(nn.Conv2d(wide, wide, 3, padding=1))
        self.norm = PixelNorm(wide)
        self.ending = _silent(nn.Conv2d(wide, config.out_channels, 3, padding=1))
        # A quarter to a third faster on a CPU; the hints of torch leave this overload out.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def stride(self) -> int:
        """Tiles must start at a multiple of this many pixels, on both axes of a slice."""
        return int(2 ** (len(self.config.multipliers) - 1))

    @property
    def halo(self) -> int:
        """Pixels on either side that can change an output pixel, without attention."""
        depth, blocks = len(self.config.multipliers), self.config.blocks
        conv, block = Convolution(3, 1, 1), Convolution(5, 1, 2)
        path: list[Convolution | Transposed] = [conv, *[block] * blocks]
        for _ in range(depth - 1):
            path += [Convolution(3, 2, 1), *[block] * blocks]
        path += [block] * (2 + blocks + 1)
        for _ in range(depth - 1):
            path += [Transposed(2, 2), conv, *[block] * (blocks + 1)]
        return receptive_radius([*path, conv], self.stride)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """One pass.

        Parameters
        ----------
        x
            (B, in_channels, H, W), about -1 to 1 plus noise; H and W may be of any size.
        t
            (B,) times, such as 0 to 1000; a network that knows no time is told zeros.

        Returns
        -------
        Tensor
            (B, out_channels, H, W).
        """
        height, width = x.shape[-2:]
        time = F.silu(self.time(t))  # (B, 4 w)
        x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride))
        h = self.intro(x.contiguous(memory_format=torch.channels_last))
        skips = [h]
        for level, blocks in enumerate(self.encoder):
            if level > 0:
                h = self.down[level - 1](h)
                skips.append(h)
            for block in blocks.children():
                h = block(h, time)
                skips.append(h)
        for block in self.middle:
            h = block(h, time)
        for level, blocks in enumerate(self.decoder):
            if level > 0:
                h = self.up[level - 1](F.interpolate(h, scale_factor=2.0, mode="nearest"))
            for block in blocks.children():
                h = block(torch.cat([h, skips.pop()], dim=1), time)
        out: Tensor = self.ending(F.silu(self.norm(h)))[..., :height, :width]
        return out


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """A layer that adds nothing until it has learned something."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
