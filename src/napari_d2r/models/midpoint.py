"""Sizes of the networks that find the slice between two others: a TimeUNet that sees both."""

from __future__ import annotations

from dataclasses import dataclass

from napari_d2r.models.time_unet import TimeUNetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class MidpointConfig(TimeUNetConfig):
    """The slice below and the slice above."""

    in_channels: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MidpointDenoiserConfig(TimeUNetConfig):
    """The noisy slice between them, the slice below and the slice above."""

    in_channels: int = 3
