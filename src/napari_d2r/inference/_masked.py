"""Masked slices (MSDSR, Jiang et al. 2024): measured rows among noise, in XZ and in YZ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_d2r.checkpoints import HaloCard
from napari_d2r.diffusion import (
    NoiseField,
    NoiseSource,
    PreservingSchedule,
    decode,
    decoding_times,
    signed,
    times_like,
    unsigned,
)
from napari_d2r.inference._diffusion import at_depths
from napari_d2r.inference._directions import Origin, in_directions
from napari_d2r.inference._predictors import GapRequest, Halo, pixels_at_once, stop_if_asked
from napari_d2r.inference._workers import share_out
from napari_d2r.jobs import CancelToken, Direction, SamplerSettings

# Estimates are held close to the unit range, here -1 to 1; measured values may exceed it a little.
_CLAMP = (-1.5, 1.5)
_NEXT_CHANNEL, _NEXT_SAMPLE = 7_919, 1_000_003  # seeds are so far apart


class MaskedPredictor:
    """MS-UNet: one pass over slices whose hidden rows are noise; both directions averaged, or one.

    Slabs may have channels, (C, J, H, W) -> (C, G, D, H, W), where the network was made for
    them. Noise is keyed by absolute position, so that tiles agree.
    """

    samples, blur, shared_noise = 1, 0.0, True

    def __init__(
        self,
        network: nn.Module,
        seed: int = 0,
        halo: HaloCard | None = None,
        gap: float = 2.0,
        direction: Direction = "mean",
    ) -> None:
        self.network, self.seed, self.direction = network.eval(), seed, direction
        reach, stride = int(network.halo), int(network.stride)  # type: ignore[arg-type]
        slices, lateral = (halo.slices, halo.lateral) if halo else (math.ceil(reach / gap), reach)
        self.halo = Halo(slices, lateral, stride, slice_stride=stride)

    @torch.inference_mode()
    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """Restore on the grid of round(gap) rows per gap; other depths are interpolated."""
        volume = slab if slab.ndim == 4 else slab[None]
        k = max(2, round(2**request.log2_gap))

        def restore(slices: Tensor, origin: Origin, index: int) -> Tensor:
            return self._restore(slices, k, origin, 2 * self.seed + index, cancel)

        # (C, (J - 1) k + 1, H, W)
        both = in_directions(volume, request.origin, self.direction, restore)
        if self.blur > 0:
            both = blurred(both, self.blur)
            both[:, ::k] = volume
        filled = at_depths(both.flatten(2), request, k).unflatten(3, both.shape[2:])
        of_all: Tensor = filled if slab.ndim == 4 else filled[0]
        return of_all

    def _restore(
        self,
        slices: Tensor,
        k: int,
        origin: Origin,
        seed: int,
        cancel: CancelToken | None,
    ) -> Tensor:
        """(N, C, J, W) lateral slices -> (N, C, (J - 1) k + 1, W); ``origin`` of (N, J, W)."""
        at_once = max(1, pixels_at_once(slices.device) // (slices[0, 0].numel() * k))
        parts = torch.arange(len(slices)).split(at_once)

        def fill(part: Tensor) -> Tensor:
            numbers = (part + origin[0]).tolist()
            rows = slices[part]
            place = partial(self._noise, numbers, (origin[1] * k, origin[2]), rows.shape[1])
            samples = [
                self._fill_rows(rows, k, partial(place, seed + _NEXT_SAMPLE * sample), cancel)
                for sample in range(self.samples)
            ]
            return torch.stack(samples).mean(0)

        return torch.cat(share_out(fill, parts, slices.device))

    def _noise(
        self,
        numbers: Sequence[int],
        corner: tuple[int, int],
        channels: int,
        seed: int,
        step: int,
        shape: tuple[int, ...],
    ) -> Tensor:
        """The noise that belongs to these slices, each channel with its own."""
        fields = (NoiseField(seed + _NEXT_CHANNEL * c, self.shared_noise) for c in range(channels))
        return torch.cat([f.draw(step, numbers, *corner, *shape[-2:]) for f in fields], dim=1)

    def _fill_rows(
        self, rows: Tensor, k: int, noise: NoiseSource, cancel: CancelToken | None
    ) -> Tensor:
        """(B, C, J, W) measured rows -> whole slices, in which they stand exactly."""
        stop_if_asked(cancel)
        length = (rows.shape[2] - 1) * k + 1
        hidden = noise(0, (*rows.shape[:2], length, rows.shape[3])).to(rows)
        filled = unsigned(self.network(interlaced(hidden, signed(rows), k), times_like(0, rows)))
        return interlaced(filled, rows, k)


class MaskedDiffusionPredictor(MaskedPredictor):
    """MSDSR: DDIM, with the measured rows written clean into every state.

    The result is a sample, or with ``sampler.samples`` above 1 the mean of several: sharp,
    but not the most likely value of a voxel.
    """

    def __init__(
        self,
        network: nn.Module,
        sampler: SamplerSettings,
        seed: int = 0,
        halo: HaloCard | None = None,
        gap: float = 2.0,
    ) -> None:
        super().__init__(network, seed, halo, gap, sampler.direction)
        self.schedule = PreservingSchedule()
        self.times = decoding_times(self.schedule, sampler.steps)
        self.eta, self.samples = sampler.eta, sampler.samples
        self.blur, self.shared_noise = sampler.blur, sampler.shared_noise

    def _fill_rows(
        self, rows: Tensor, k: int, noise: NoiseSource, cancel: CancelToken | None
    ) -> Tensor:
        length = (rows.shape[2] - 1) * k + 1
        like = rows.new_empty((*rows.shape[:2], length, rows.shape[3]))
        known = signed(rows)

        def predict_noise(x: Tensor, t: Tensor) -> Tensor:
            stop_if_asked(cancel)
            found: Tensor = self.network(interlaced(x, known, k), t)
            return found

        *_, last = decode(
            predict_noise, like, self.times, self.schedule, noise, eta=self.eta, clamp=_CLAMP
        )
        return interlaced(unsigned(last), rows, k)


def interlaced(slices: Tensor, rows: Tensor, k: int) -> Tensor:
    """A copy of (B, C, (J - 1) k + 1, W) with ``rows`` (B, C, J, W) at every k-th place."""
    whole = slices.clone()
    whole[:, :, ::k] = rows
    return whole


def blurred(volume: Tensor, sigma: float) -> Tensor:
    """(C, Z, Y, X) under a Gaussian of 3 x 3 x 3 voxels; the outermost voxels are repeated."""
    tap = torch.exp(torch.tensor(-0.5 / sigma**2)).to(volume)
    weights = torch.stack([tap, torch.ones_like(tap), tap]) / (1 + 2 * tap)
    kernel = weights[:, None, None] * weights[:, None] * weights
    padded = F.pad(volume[:, None], (1, 1, 1, 1, 1, 1), mode="replicate")
    return F.conv3d(padded, kernel[None, None])[:, 0]
