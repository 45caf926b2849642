"""ConditionalNAFNet, the denoiser of stage I.

NAFNet (Chen et al. 2022) conditioned on diffusion time, with a residual channel-attention
stem, at the size published with D2R: 20.4 million parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_d2r.models._pooling import GlobalPool
from napari_d2r.models._receptive import Convolution, Transposed, receptive_radius

# Frozen channel means are kept for each of so many equal ranges of the times 1 to T,
# because the noise they average over depends on time.
_TIME_BINS, _NUM_TIMES = 10, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class NAFNetConfig:
    """The defaults are the published network.

    ``encoder_blocks[i]`` and ``decoder_blocks[-1 - i]`` stand at 1 / 2^i resolution with
    ``width * 2^i`` channels. ``frozen_pooling`` replaces the channel means of its gates by
    running averages in evaluation, so that a tile does not matter to its neighbour.
    """

    in_channels: int = 2
    out_channels: int = 1
    width: int = 64
    encoder_blocks: tuple[int, ...] = (14, 1, 1, 1)
    middle_blocks: int = 1
    decoder_blocks: tuple[int, ...] = (1, 1, 1, 1)
    frozen_pooling: bool = True


class TimeEmbedding(nn.Module):
    """Sinusoids of t (Vaswani et al. 2017, sec. 3.5), then a gated two-layer MLP."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        steps = [-math.log(10_000) * j / max(half - 1, 1) for j in range(half)]
        frequencies = torch.tensor(steps).exp()
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.rise = nn.Linear(2 * half, 8 * width)
        self.mix = nn.Linear(4 * width, 4 * width)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, 4 width)."""
        angles = t.to(self.frequencies.dtype)[:, None] * self.frequencies
        waves = torch.cat((angles.sin(), angles.cos()), dim=1)
        out: Tensor = self.mix(simple_gate(self.rise(waves)))
        return out


class ChannelNorm(nn.Module):
    """Layer norm over channels, pixel by pixel; statistics in float32 at least."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), each pixel with mean 0 and variance 1 over C, times the gain."""
        accurate = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(accurate, dim=1, correction=0, keepdim=True)
        return ((accurate - mean) * torch.rsqrt(variance + 1e-5)).to(x.dtype) * self.gain


class ChannelAttention(nn.Module):
    """The stem: two convolutions whose channels are weighed by their means (RCAN, 2018)."""

    def __init__(self, width: int, pool: GlobalPool) -> None:
        super().__init__()
        squeezed = max(width // 16, 1)
        self.convolutions = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.pool = pool
        self.weigh = nn.Sequential(
            nn.Linear(width, squeezed), nn.ReLU(), nn.Linear(squeezed, width), nn.Sigmoid()
        )

    def forward(self, x: Tensor, bins: Tensor) -> Tensor:
        """``x`` (B, C, H, W); ``bins`` (B,) choose the frozen channel means."""
        y = self.convolutions(x)
        out: Tensor = x + y * self.weigh(self.pool(y, bins))[:, :, None, None]
        return out


class NAFBlock(nn.Module):
    """Gated depthwise convolution, then gated channel mixing, both modulated by time."""

    def __init__(self, width: int, time_width: int, pool: GlobalPool) -> None:
        super().__init__()
        self.modulate = nn.Linear(time_width // 2, 4 * width)
        self.norm_space = ChannelNorm(width)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.depthwise = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.pool = pool
        self.weigh = nn.Linear(width, width)
        self.project = nn.Conv2d(width, width, 1)
        self.norm_channels = ChannelNorm(width)
        self.mix_in = nn.Conv2d(width, 2 * width, 1)
        self.mix_out = nn.Conv2d(width, width, 1)
        self.beta = nn.Parameter(torch.zeros(width, 1, 1))  # a new block is the identity
        self.gamma = nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, x: Tensor, time: Tensor, bins: Tensor) -> Tensor:
        """``x`` (B, C, H, W); ``time`` (B, time_width); ``bins`` (B,)."""
        modulation = self.modulate(simple_gate(time))[:, :, None, None]  # (B, 4 c, 1, 1)
        shift_space, scale_space, shift_mix, scale_mix = modulation.chunk(4, dim=1)

        y = self.norm_space(x) * (1 + scale_space) + shift_space
        y = simple_gate(self.depthwise(self.expand(y)))
        y = y * self.weigh(self.pool(y, bins))[:, :, None, None]
        x = x + self.beta * self.project(y)

        y = self.norm_channels(x) * (1 + scale_mix) + shift_mix
        out: Tensor = x + self.gamma * self.mix_out(simple_gate(self.mix_in(y)))
        return out


class ConditionalNAFNet(nn.Module):
    """A noisy slice, its mean and the time in; the noise, or the clean slice, out.

    What the output means is up to the loss it was trained with.
    """

    def __init__(self, config: NAFNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NAFNetConfig()
        width = config.width
        widths = [width * 2**level for level in range(len(config.encoder_blocks) + 1)]

        def pool(channels: int) -> GlobalPool:
            return GlobalPool(channels, _TIME_BINS, frozen=config.frozen_pooling)

        def blocks(channels: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(
                NAFBlock(channels, 4 * width, pool(channels)) for _ in range(count)
            )

        self.time = TimeEmbedding(width)
        self.intro = nn.Conv2d(config.in_channels, width, 3, padding=1)
        self.stem = ChannelAttention(width, pool(width))
        self.encoder = nn.ModuleList(
            blocks(c, n) for c, n in zip(widths[:-1], config.encoder_blocks, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(c, 2 * c, 2, 2) for c in widths[:-1])
        self.middle = blocks(widths[-1], config.middle_blocks)
        self.up = nn.ModuleList(nn.Conv2d(c, 2 * c, 1, bias=False) for c in widths[:0:-1])
        self.decoder = nn.ModuleList(
            blocks(c, n) for c, n in zip(widths[-2::-1], config.decoder_blocks, strict=True)
        )
        self.ending = nn.Conv2d(width, config.out_channels, 3, padding=1)
        # A quarter to a third faster on a CPU; the hints of torch leave this overload out.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def stride(self) -> int:
        """Tiles must start at a multiple of this many pixels, on both axes of a slice."""
        return int(2 ** len(self.config.encoder_blocks))

    @property
    def halo(self) -> int:
        """Pixels on either side that can change an output pixel, with frozen pooling."""
        block, down, up = Convolution(3, 1, 1), Convolution(2, 2), Transposed(2, 2)
        path: list[Convolution | Transposed] = [block] * 3  # intro and stem
        for count in self.config.encoder_blocks:
            path += [*[block] * count, down]
        path += [block] * self.config.middle_blocks
        for count in self.config.decoder_blocks:
            path += [up, *[block] * count]
        return receptive_radius([*path, block], self.stride)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Denoise slices.

        Parameters
        ----------
        x
            (B, 2, H, W): deviation from the mean x_t - mu, and mu, in unit intensity.
        t
            (B,) times, 1 to 100; fractions are welcome.

        Returns
        -------
        Tensor
            (B, 1, H, W); H and W may be of any size.
        """
        height, width = x.shape[-2:]
        time = self.time(t)  # (B, 4 w)
        bins = ((t - 1) * (_TIME_BINS / _NUM_TIMES)).long().clamp(0, _TIME_BINS - 1)

        x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride))
        h = self.intro(x.contiguous(memory_format=torch.channels_last))
        h = h + self.stem(h, bins)  # (B, w, H, W)
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            h = self._through(blocks, h, time, bins)
            skips.append(h)
            h = down(h)  # (B, 2 c, H / 2, W / 2)
        h = self._through(self.middle, h, time, bins)
        for blocks, up in zip(self.decoder, self.up, strict=True):
            h = F.pixel_shuffle(up(h), 2) + skips.pop()  # (B, c / 2, 2 H, 2 W)
            h = self._through(blocks, h, time, bins)
        out: Tensor = self.ending(h)[..., :height, :width]
        return out

    @staticmethod
    def _through(blocks: nn.Module, h: Tensor, time: Tensor, bins: Tensor) -> Tensor:
        for block in blocks.children():
            h = block(h, time, bins)
        return h


def simple_gate(x: Tensor) -> Tensor:
    """The product of the two halves of the channels, in place of an activation."""
    first, second = x.chunk(2, dim=1)
    return first * second
