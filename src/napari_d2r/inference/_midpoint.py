"""The slice between two others, again and again: gaps are halved until they are fine enough."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from napari_d2r.checkpoints import HaloCard
from napari_d2r.diffusion import (
    NoiseField,
    PreservingSchedule,
    decode,
    decoding_times,
    signed,
    unsigned,
)
from napari_d2r.inference._diffusion import at_depths
from napari_d2r.inference._predictors import GapRequest, Halo, pixels_at_once, stop_if_asked
from napari_d2r.inference._workers import share_out
from napari_d2r.jobs import CancelToken, SamplerSettings
from napari_d2r.models import interleave_rows, midpoint

_MOST_HALVINGS = 4  # a gap of 16, the widest
_CLAMP = (-1.5, 1.5)  # as for masked slices
_NEXT_SAMPLE = 1_000_003


class MidpointPredictor:
    """E2E UNet: the mean of two slices and what the network adds, in both orders.

    A gap of 2^n lateral voxels is halved n times, others once more than they need; depths
    between are interpolated linearly. Slabs may have channels, (C, J, H, W) -> (C, G, D, H, W),
    where the network was made for them.
    """

    def __init__(self, network: nn.Module, halo: HaloCard | None = None) -> None:
        self.network = network.eval()
        reach, stride = int(network.halo), int(network.stride)  # type: ignore[arg-type]
        self.halo = Halo(0, halo.lateral if halo else reach * _MOST_HALVINGS, stride)

    @torch.inference_mode()
    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """All gaps at once, halving by halving."""
        first, count = request.first, len(request.depths)
        halvings = halvings_for(request)
        volume = slab if slab.ndim == 4 else slab[None]
        slices = volume.transpose(0, 1)[first : first + count + 1]  # (J, C, H, W)
        shape = slices.shape[1:]
        for level in range(halvings):
            places = torch.arange(len(slices) - 1).add(0.5) / 2**level + request.origin[0] + first
            between = self._between(slices, places, request.origin[1:], cancel)
            slices = interleave_rows(slices.flatten(1)[None], between.flatten(1)[None, :, None])[0]
            slices = slices.unflatten(1, shape)
        these = GapRequest(0, request.depths, request.log2_gap)
        filled = at_depths(slices.flatten(1)[None], these, 2**halvings)[0]
        of_all: Tensor = filled.unflatten(2, shape).movedim(2, 0)
        return of_all if slab.ndim == 4 else of_all[0]

    def _between(
        self,
        slices: Tensor,
        places: Tensor,
        corner: tuple[int, int],
        cancel: CancelToken | None,
    ) -> Tensor:
        """(J, C, H, W) -> (J - 1, C, H, W); ``places`` (J - 1,) along z in measured slices."""

        def fill(pairs: Tensor) -> Tensor:
            stop_if_asked(cancel)
            below, above = slices[pairs], slices[pairs + 1]
            return self._middle(below, above, places[pairs], corner, cancel)

        at_once = max(1, pixels_at_once(slices.device) // slices[0, 0].numel())
        return torch.cat(share_out(fill, torch.arange(len(places)).split(at_once), slices.device))

    def _middle(
        self,
        below: Tensor,
        above: Tensor,
        places: Tensor,
        corner: tuple[int, int],
        cancel: CancelToken | None,
    ) -> Tensor:
        """(B, C, H, W) halfway between others."""
        orders = torch.cat([below, above]), torch.cat([above, below])
        upright, mirrored = midpoint(self.network, *orders).chunk(2)
        return (upright + mirrored) / 2


class MidpointDiffusionPredictor(MidpointPredictor):
    """vEMDiffuse-a: a slice drawn from noise, given its two neighbours.

    The result is a sample, or with ``sampler.samples`` above 1 the mean of several. Noise is
    keyed by absolute position; the halo is that of one step of one halving, as what lies
    beyond moves a sample by little.
    """

    def __init__(
        self,
        network: nn.Module,
        sampler: SamplerSettings,
        seed: int = 0,
        halo: HaloCard | None = None,
    ) -> None:
        super().__init__(network, halo or HaloCard(slices=0, lateral=int(network.halo)))  # type: ignore[arg-type]
        self.sampler, self.seed, self.schedule = sampler, seed, PreservingSchedule()

    def _middle(
        self,
        below: Tensor,
        above: Tensor,
        places: Tensor,
        corner: tuple[int, int],
        cancel: CancelToken | None,
    ) -> Tensor:
        around = signed(torch.cat([below, above], dim=1))
        numbers = (places * 2**_MOST_HALVINGS).long().tolist()
        times = decoding_times(self.schedule, self.sampler.steps)

        def predict_noise(x: Tensor, t: Tensor) -> Tensor:
            stop_if_asked(cancel)
            found: Tensor = self.network(torch.cat([x, around], dim=1), t)
            return found

        total = torch.zeros_like(below)
        for sample in range(self.sampler.samples):
            field = NoiseField(self.seed + _NEXT_SAMPLE * sample, self.sampler.shared_noise)

            def noise(step: int, shape: tuple[int, ...], field: NoiseField = field) -> Tensor:
                return field.draw(step, numbers, *corner, *shape[-2:])

            *_, last = decode(
                predict_noise,
                below,
                times,
                self.schedule,
                noise,
                eta=self.sampler.eta,
                clamp=_CLAMP,
            )
            total += unsigned(last)
        return total / self.sampler.samples


def halvings_for(request: GapRequest) -> int:
    """Once for every factor of two in the gap; fewer where the depths asked for need no more."""
    most = max(1, math.ceil(request.log2_gap - 1e-3))
    depths = request.depths.double().cpu()
    for halvings in range(1, most):
        steps = depths * 2**halvings
        if bool(((steps - steps.round()).abs() < 1e-4).all()):
            return halvings
    return most
