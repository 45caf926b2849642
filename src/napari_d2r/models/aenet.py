"""AENet, the axial super-resolution network of D2R, at its published size.

Four measured slices and a continuous depth in, the slice at that depth out. An 18-layer
3D ResNet encodes the slices, transposed convolutions with skips decode them, every block
ends in a channel gate (D2R-AENet, eq. 7), and a 7x7 head adds a residual to aligned linear
interpolation. At width 64 the network without its depth embedding has the 42,036,481
parameters of its backbone, FLAVR (Kalluri et al. 2023), for one grey channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_d2r.models._depth import DepthEmbedding, linear_base, residual_envelope
from napari_d2r.models._pooling import GlobalPool
from napari_d2r.models._receptive import Convolution, Transposed, receptive_radius

NUM_SLICES = 4
BACKBONE_STRIDE = 8  # three halvings
DepthIn = Literal["encoder", "decoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AENetConfig:
    """Channels of the stem, where depth enters, and the size of its embedding.

    ``depth_in="encoder"`` is as published and runs once per depth; ``"decoder"`` encodes
    four slices once for all depths between them. ``restores_measured`` where measured slices
    are blurred, so that depths 0 and 1 differ from them.
    """

    width: int = 64
    depth_in: DepthIn = "decoder"
    num_frequencies: int = 8
    embedding: int = 64
    restores_measured: bool = False

    def __post_init__(self) -> None:
        if self.depth_in not in get_args(DepthIn):
            raise ValueError(f"depth enters in one of {get_args(DepthIn)}, not {self.depth_in!r}")


class ChannelGate(nn.Module):
    """sigmoid(W pool(f) + b) f (eq. 7; there b is added before W, the same functions)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool = GlobalPool(width)
        self.weigh = nn.Linear(width, width)

    def forward(self, f: Tensor) -> Tensor:
        """(N, C, 4, H, W), weighed channel by channel."""
        pooled = self.pool(f, torch.zeros(len(f), dtype=torch.int64, device=f.device))
        return f * torch.sigmoid(self.weigh(pooled))[:, :, None, None, None]


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions, and a gate unless told otherwise; never strided along Z."""

    def __init__(self, before: int, width: int, stride: int = 1, *, gated: bool = True) -> None:
        super().__init__()
        steps = (1, stride, stride)
        self.body = nn.Sequential(
            nn.Conv3d(before, width, 3, steps, 1, bias=False),
            nn.ReLU(),
            nn.Conv3d(width, width, 3, 1, 1, bias=False),
            *([ChannelGate(width)] if gated else []),
        )
        is_same = before == width and stride == 1
        self.skip = nn.Identity() if is_same else nn.Conv3d(before, width, 1, steps, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 4, H, W) -> (N, C', 4, H / stride, W / stride)."""
        return F.relu(self.body(x) + self.skip(x))


class DecoderStage(nn.Module):
    """One convolution over [deep, skip], and a gate.

    The convolution is split in two, which is the same: the part over the encoder's skip
    does not depend on depth and is computed once for all depths.
    """

    def __init__(self, deep: int, skip: int, width: int, *, is_up: bool) -> None:
        super().__init__()
        self.from_deep = convolution(deep, width, is_up=is_up, bias=True)
        self.from_skip = convolution(skip, width, is_up=is_up, bias=False) if skip else None
        self.gate = ChannelGate(width)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """``deep`` (B D, C, 4, H, W) and ``skip`` (B, C', 4, H, W), D depths each."""
        h: Tensor = self.from_deep(deep)
        if self.from_skip is not None:
            shared = self.from_skip(skip)
            h = (h.reshape(len(shared), -1, *h.shape[1:]) + shared[:, None]).flatten(0, 1)
        out: Tensor = self.gate(h)
        return out


class FeatureModulation(nn.Module):
    """Scale and shift per channel, made from the depth embedding; at first the identity."""

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        self.generate = nn.Linear(embedding, 2 * width)
        nn.init.zeros_(self.generate.weight)
        nn.init.zeros_(self.generate.bias)

    def forward(self, f: Tensor, embedding: Tensor) -> Tensor:
        """``f`` (N, C, 4, H, W), modulated by ``embedding`` (N, E)."""
        generated: Tensor = self.generate(embedding)
        scale, shift = generated[:, :, None, None, None].chunk(2, dim=1)
        return f * (1 + scale) + shift


class AENet(nn.Module):
    """Four slices and D depths in, D slices between the middle two out."""

    def __init__(self, config: AENetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AENetConfig()
        w = config.width
        self.encoder = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv3d(1, w, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.ReLU()
                ),  # H / 2
                nn.Sequential(ResidualBlock(w, w), ResidualBlock(w, w)),
                nn.Sequential(ResidualBlock(w, 2 * w, 2), ResidualBlock(2 * w, 2 * w)),  # H / 4
                nn.Sequential(ResidualBlock(2 * w, 4 * w, 2), ResidualBlock(4 * w, 4 * w)),  # / 8
                nn.Sequential(ResidualBlock(4 * w, 8 * w), ResidualBlock(8 * w, 8 * w)),
            ]
        )
        self.decoder = nn.ModuleList(
            [
                DecoderStage(8 * w, 0, 4 * w, is_up=False),  # H / 8
                DecoderStage(4 * w, 4 * w, 2 * w, is_up=True),  # H / 4
                DecoderStage(2 * w, 2 * w, w, is_up=True),  # H / 2
                DecoderStage(w, w, w, is_up=False),
                DecoderStage(w, w, w, is_up=True),  # H
            ]
        )
        self.fuse = nn.Conv2d(NUM_SLICES * w, w, 1, bias=False)
        self.head = nn.Conv2d(w, 1, 7, padding=3, padding_mode="reflect")
        initialise(self)
        nn.init.zeros_(self.head.weight)  # starts as the linear base

        stages = (w, w, 2 * w, 4 * w, 8 * w)
        if config.depth_in == "decoder":
            stages = (4 * w, 2 * w, w, w, w)
        self.embedding = DepthEmbedding(config.num_frequencies, config.embedding)
        self.modulation = nn.ModuleList(FeatureModulation(config.embedding, c) for c in stages)

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
            so that depths 0 and 1 are the measured slices whatever the weights are, or plus
            the residual itself where measured slices are to be restored.
        """
        height, width = slices.shape[-2:]
        stride = self.lateral_stride
        # A fixed grey level, not the tile's mean, which would depend on where the tile ends.
        centred = slices - 0.5
        padded = F.pad(centred, (0, -width % stride, 0, -height % stride), "replicate")
        embedding = self.embedding(depths, log2_gap)  # (B, D, E)
        if self.config.depth_in == "decoder":
            residual = self._decode(self._encode(padded), embedding)
        else:
            residual = torch.cat(
                [self._decode(self._encode(padded, e)) for e in embedding.unbind(1)], dim=1
            )
        envelope = residual_envelope(depths, self.config.restores_measured)[..., None, None]
        base = linear_base(slices[:, 1], slices[:, 2], depths)
        return base + envelope * residual[..., :height, :width]

    def _encode(self, slices: Tensor, embedding: Tensor | None = None) -> list[Tensor]:
        """(B, 4, H, W) -> five (B, C, 4, H', W'), modulated by one depth (B, E) if given."""
        f = slices[:, None]
        features = []
        for stage, modulate in zip(self.encoder, self.modulation, strict=True):
            f = stage(f)
            if embedding is not None:
                f = modulate(f, embedding)
            features.append(f)
        return features

    def _decode(self, features: list[Tensor], embedding: Tensor | None = None) -> Tensor:
        """Encoder features -> (B, D, H, W); D depths (B, D, E), or the encoder's own one."""
        h = features[-1]
        batch = len(h)
        for index, stage in enumerate(self.decoder):
            h = stage(h, features[-1 - index])
            if embedding is not None:
                if index == 0:  # nothing above depends on depth
                    h = h.repeat_interleave(embedding.shape[1], dim=0)
                h = self.modulation[index](h, embedding.flatten(0, 1))
            h = F.leaky_relu(h, 0.2)
        fused = F.leaky_relu(self.fuse(h.flatten(1, 2)), 0.2)  # (B D, w, H, W)
        residual: Tensor = self.head(fused)  # (B D, 1, H, W)
        return residual.reshape(batch, -1, *residual.shape[-2:])


def convolution(before: int, width: int, *, is_up: bool, bias: bool) -> nn.Module:
    """3x3x3, or transposed 3x4x4 that doubles H and W: an even overlap, no checkerboard."""
    if is_up:
        return nn.ConvTranspose3d(before, width, (3, 4, 4), (1, 2, 2), 1, bias=bias)
    return nn.Conv3d(before, width, 3, 1, 1, bias=bias)


def initialise(network: nn.Module) -> None:
    """Convolutions as He et al. (2015) draw them, by what leaves them; no biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def backbone_halo() -> int:
    """Lateral reach of encoder, decoder and head, which DGEAN has in common with AENet."""
    plain, halving = Convolution(3, 1, 1), Convolution(3, 2, 1)
    doubling = Transposed(4, 2, 1)
    path: list[Convolution | Transposed] = [Convolution(7, 2, 3), *[plain] * 4]
    path += [halving, plain, plain, plain] * 2
    path += [plain] * 4
    path += [plain, doubling, doubling, plain, doubling, Convolution(7, 1, 3)]
    return receptive_radius(path, BACKBONE_STRIDE)
