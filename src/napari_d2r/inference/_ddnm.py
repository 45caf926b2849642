"""Lee and Jeong 2023: XZ and YZ slices restored by a denoiser of XY slices, one after the other."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from napari_d2r.checkpoints import HaloCard
from napari_d2r.diffusion import (
    ChainTimes,
    NoiseField,
    NoiseSource,
    PreservingSchedule,
    RowOperator,
    decoding_times,
    falling_times,
    sample_chain,
    signed,
    unsigned,
)
from napari_d2r.inference._diffusion import at_depths
from napari_d2r.inference._directions import Origin, in_directions
from napari_d2r.inference._predictors import GapRequest, Halo, stop_if_asked
from napari_d2r.jobs import CancelToken, SamplerSettings
from napari_d2r.volumes import Degradation

# Estimates are held close to the range -1 to 1; measured values may exceed it a little.
_CLAMP = (-1.5, 1.5)


class DDNMPredictor:
    """Samples of an unconditional prior that agree with the measured slices.

    A chain of slices runs along y (XZ slices) and another along x (YZ slices). Each begins
    where its tile does, so a tile is read with a halo, in which a chain forgets its first slice;
    noise is keyed by absolute position.
    """

    def __init__(
        self,
        network: nn.Module,
        sampler: SamplerSettings,
        degradation: Degradation | None = None,
        seed: int = 0,
        halo: HaloCard | None = None,
        gap: float = 2.0,
    ) -> None:
        self.network, self.sampler, self.seed = network.eval(), sampler, seed
        self.degradation = degradation or Degradation()
        self.schedule = PreservingSchedule()
        how = sampler.ddnm
        self.times = ChainTimes(
            first=decoding_times(self.schedule, how.first_steps),
            rise=falling_times(how.level, how.encode_steps)[::-1],
            fall=falling_times(how.level, sampler.steps),
        )
        reach, stride = int(network.halo), int(network.stride)  # type: ignore[arg-type]
        slices, lateral = (halo.slices, halo.lateral) if halo else (math.ceil(reach / gap), reach)
        self.halo = Halo(slices, lateral, stride, slice_stride=stride)

    @torch.inference_mode()
    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """Restore on the grid of round(gap) rows per gap; other depths are interpolated."""

        def restore(slices: Tensor, origin: Origin, index: int) -> Tensor:
            return self._restore(slices, request, origin, index, cancel)

        return in_directions(slab, request.origin, self.sampler.direction, restore, at_once=True)

    def _restore(
        self,
        slices: Tensor,
        request: GapRequest,
        origin: Origin,
        direction: int,
        cancel: CancelToken | None,
    ) -> Tensor:
        """(N, J, W) lateral slices -> (N, G, D, W); ``origin`` is that of (N, J, W)."""
        k = max(2, round(2**request.log2_gap))
        operator, phase = self._operator(slices.shape[1], k)
        samples = self.sampler.samples
        seeds = [2 * self.seed + direction + 1_000_003 * n for n in range(samples)]
        fields = [NoiseField(seed, self.sampler.shared_noise) for seed in seeds]

        def draw(index: int, step: int, shape: tuple[int, ...]) -> Tensor:
            number, row, column = [origin[0] + index], origin[1] * k, origin[2]
            return torch.cat(
                [field.draw(step, number, row, column, *shape[-2:]) for field in fields]
            )

        def noise_of(index: int) -> NoiseSource:
            return partial(draw, index)

        def predict_noise(x: Tensor, t: Tensor) -> Tensor:
            stop_if_asked(cancel)
            predicted: Tensor = self.network(x, t)
            return predicted

        chain = sample_chain(
            predict_noise,
            operator.to(slices),
            (rows.expand(samples, 1, -1, -1) for rows in signed(slices)),
            self.schedule,
            self.times,
            noise_of,
            eta=self.sampler.eta,
            clamp=_CLAMP,
        )
        filled = [at_depths(unsigned(x.mean(dim=0)), request, k, phase) for x in chain]
        return torch.cat(filled)

    def _operator(self, num_slices: int, k: int) -> tuple[RowOperator, float]:
        """What lies between a slice and its measured rows, and the row of the first of these."""
        if self.sampler.ddnm.operator == "blind":
            return RowOperator.blind(num_slices, k), 0.0
        is_block = self.degradation.kind == "block"
        num_rows = num_slices * k if is_block else (num_slices - 1) * k + 1
        return RowOperator.of(self.degradation.matrix(num_rows, k)), self.degradation.phase(k)
