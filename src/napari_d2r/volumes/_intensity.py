"""Grey values to the unit range and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.volumes._axial import to_dtype
from napari_d2r.volumes._volume import Volume

# Percentiles that survive hot pixels and dropouts.
LOW_PERCENTILE, HIGH_PERCENTILE = 0.1, 99.9
_SAMPLE_EDGE = 1024


@dataclass(frozen=True, slots=True)
class IntensityRange:
    """The grey values that map to 0 and 1. Values outside are kept, not clipped."""

    low: float
    high: float

    @property
    def span(self) -> float:
        """Grey levels between 0 and 1."""
        return self.high - self.low

    def to_unit(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Stored values to float32, ``low`` to 0 and ``high`` to 1."""
        return ((values.astype(np.float32) - self.low) / self.span).astype(np.float32)

    def from_unit(self, values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The inverse of `to_unit`, rounded and clipped to ``dtype``."""
        return to_dtype(values * np.float32(self.span) + np.float32(self.low), dtype)

    @classmethod
    def of(cls, volume: Volume, max_slices: int = 16) -> IntensityRange:
        """Percentiles 0.1 and 99.9 of slices sampled evenly along Z; of each channel by itself.

        Raises
        ------
        InputError
            If the sample is constant, in all channels, or holds NaN or infinite values.
        """
        sample = _sampled(volume, max_slices)
        require_finite(sample, volume.name)
        channels = sample[None] if volume.num_channels is None else sample.swapaxes(0, 1)
        ranges = tuple(_range_of(one) for one in channels)
        low, high = min(r.low for r in ranges), max(r.high for r in ranges)
        if all(r.span <= 0 for r in ranges):
            raise InputError(
                f"{volume.name} is constant (every voxel is {low:g}); there is nothing to resolve."
            )
        if volume.num_channels is None:
            return ranges[0]
        dark = (cls(r.low, r.low + 1) for r in ranges)  # of a channel that nothing was put in
        kept = tuple(r if r.span > 0 else d for r, d in zip(ranges, dark, strict=True))
        return ChannelRanges(low, high, kept)


@dataclass(frozen=True, slots=True)
class ChannelRanges(IntensityRange):
    """Of a volume with channels: a range for each, and one that holds them all."""

    ranges: tuple[IntensityRange, ...]

    def to_unit(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Stored values (C, ...) to float32, each channel by its own range."""
        return np.stack([one.to_unit(v) for one, v in zip(self.ranges, values, strict=True)])

    def from_unit(self, values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The inverse of `to_unit`."""
        both = zip(self.ranges, values, strict=True)
        return np.stack([one.from_unit(v, dtype) for one, v in both])


def _sampled(volume: Volume, max_slices: int) -> NDArray[np.float64]:
    """Slices spread evenly along Z, (N, 1, Y, X) or (N, C, 1, Y, X)."""
    picks = np.unique(np.linspace(0, volume.shape[0] - 1, max_slices).round().astype(int))
    step = max(1, max(volume.shape[1:]) // _SAMPLE_EDGE)  # large slices are thinned out
    slices = (volume.read(z=slice(k, k + 1))[..., ::step, ::step] for k in picks)
    return np.stack(list(slices)).astype(np.float64)


def _range_of(sample: NDArray[np.float64]) -> IntensityRange:
    low, high = np.percentile(sample, [LOW_PERCENTILE, HIGH_PERCENTILE])
    if high <= low:  # a few bright voxels on an even background are still a signal
        low, high = sample.min(), sample.max()
    return IntensityRange(float(low), float(high))


def require_finite(values: NDArray[Any], name: str) -> None:
    """Refuse NaN and infinite voxels, which a network would spread over its whole tile."""
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise InputError(
            f"{name} holds NaN or infinite voxels; replace them, for example by zero, first."
        )
