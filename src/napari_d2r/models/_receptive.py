"""How far a network looks: index intervals followed from its output back to its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Convolution:
    """Along one axis: output i reads inputs i * stride - padding + (0 .. kernel - 1)."""

    kernel: int
    stride: int = 1
    padding: int = 0

    def reads(self, low: int, high: int) -> tuple[int, int]:
        """First and last input that outputs ``low`` to ``high`` read."""
        return (
            low * self.stride - self.padding,
            high * self.stride - self.padding + self.kernel - 1,
        )


@dataclass(frozen=True, slots=True)
class Transposed:
    """Along one axis: input i writes outputs i * stride - padding + (0 .. kernel - 1)."""

    kernel: int
    stride: int
    padding: int = 0

    def reads(self, low: int, high: int) -> tuple[int, int]:
        """First and last input that outputs ``low`` to ``high`` read."""
        first = low + self.padding - self.kernel + 1
        return -(-first // self.stride), (high + self.padding) // self.stride


def receptive_radius(path: Sequence[Convolution | Transposed], stride: int) -> int:
    """Pixels on either side that can change an output pixel, at worst.

    Parameters
    ----------
    path
        The layers from input to output along the deepest path, which reads all that the
        skips read.
    stride
        Product of the strides: the reach repeats with this period.
    """
    radius = 0
    for position in range(stride):
        low = high = position
        for layer in reversed(path):
            low, high = layer.reads(low, high)
        radius = max(radius, position - low, high - position)
    return radius
