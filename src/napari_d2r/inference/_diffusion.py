"""Stage II with a diffusion prior: XZ and YZ slices restored by sampling, then averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from napari_d2r.checkpoints import HaloCard
from napari_d2r.diffusion import (
    Condition,
    Denoiser,
    KnownRows,
    MeanRevertingSchedule,
    NoiseField,
    NoiseSource,
    Step,
    from_noise_head,
    sample_ddim,
    sample_dpm_solver_pp_2m,
    sample_posterior,
    sample_reverse_sde,
    time_grid,
)
from napari_d2r.inference._predictors import GapRequest, Halo, pixels_at_once, stop_if_asked
from napari_d2r.jobs import CancelToken, SamplerSettings
from napari_d2r.models import interleave_rows, linear_rows

# Estimates are held close to the unit range; measured values may exceed it a little.
_CLAMP = (-0.25, 1.25)
Solver = Callable[[Denoiser, Condition, MeanRevertingSchedule, NoiseSource], Iterator[Step]]


class DiffusionPredictor:
    """Samples of the lateral diffusion prior; the average of both directions.

    The result is a sample, or with ``sampler.samples`` above 1 the mean of several: sharp,
    but not the most likely value of a voxel. Noise is keyed by absolute position, so that
    tiles agree.
    """

    def __init__(
        self,
        network: nn.Module,
        sampler: SamplerSettings,
        prediction: Literal["x0", "noise"] = "x0",
        seed: int = 0,
        halo: HaloCard | None = None,
    ) -> None:
        self.network, self.sampler, self.seed = network.eval(), sampler, seed
        self.prediction = prediction
        self.schedule = MeanRevertingSchedule()
        reach, stride = int(network.halo), int(network.stride)  # type: ignore[arg-type]
        slices, lateral = (halo.slices, halo.lateral) if halo else (-(-reach // 2), reach)
        self.halo = Halo(slices, lateral, stride, slice_stride=stride)

    @torch.inference_mode()
    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """Restore on the grid of round(gap) rows per gap; other depths are interpolated."""
        z, y, x = request.origin
        xz = self._restore(slab.permute(1, 0, 2), request, (y, z, x), 2 * self.seed, cancel)
        yz = self._restore(slab.permute(2, 0, 1), request, (x, z, y), 2 * self.seed + 1, cancel)
        return (xz.permute(1, 2, 0, 3) + yz.permute(1, 2, 3, 0)) / 2

    def _restore(
        self,
        slices: Tensor,
        request: GapRequest,
        origin: tuple[int, int, int],
        seed: int,
        cancel: CancelToken | None,
    ) -> Tensor:
        """(N, J, W) lateral slices -> (N, G, D, W); ``origin`` is that of (N, J, W)."""
        k = max(2, round(2**request.log2_gap))
        at_once = max(1, pixels_at_once(slices.device) // (slices[0].numel() * k))
        filled = []
        for start in range(0, len(slices), at_once):
            rows = slices[start : start + at_once]
            numbers = range(origin[0] + start, origin[0] + start + len(rows))
            restored = torch.zeros(())
            for sample in range(self.sampler.samples):
                field = NoiseField(seed + 1_000_003 * sample, self.sampler.shared_noise)

                def noise(
                    step: int,
                    shape: tuple[int, ...],
                    field: NoiseField = field,
                    numbers: range = numbers,
                ) -> Tensor:
                    return field.draw(step, numbers, origin[1] * k, origin[2], *shape[-2:])

                restored = restored + self._sample(rows, k, noise, cancel)
            filled.append(at_depths(restored / self.sampler.samples, request, k))
        return torch.cat(filled)

    def _sample(
        self, rows: Tensor, k: int, noise: NoiseSource, cancel: CancelToken | None
    ) -> Tensor:
        """(B, J, W) -> one restored slice each, (B, (J - 1) k + 1, W)."""
        depths = (torch.arange(1, k) / k).to(rows).expand(rows.shape[1] - 1, -1)
        mu = interleave_rows(rows, linear_rows(rows, depths))[:, None]
        known = KnownRows(torch.arange(0, mu.shape[-2], k, device=rows.device), rows[:, None])
        condition = Condition(mu, known_rows=known, clamp=_CLAMP)
        x = mu
        for step in self._solver()(self._denoiser(), condition, self.schedule, noise):
            stop_if_asked(cancel)
            x = step.x
        return x[:, 0]

    def _denoiser(self) -> Denoiser:
        def call(x: Tensor, mu: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.network(torch.cat([x - mu, mu], dim=1), t.to(x.dtype))
            return out if self.prediction == "noise" else mu + out

        return from_noise_head(call, self.schedule) if self.prediction == "noise" else call

    def _solver(self) -> Solver:
        if self.sampler.solver == "reverse_sde":
            return sample_reverse_sde
        if self.sampler.solver == "posterior":
            return sample_posterior
        times = time_grid(self.schedule, self.sampler.steps)
        if self.sampler.solver == "ddim":
            return partial(sample_ddim, times=times, eta=self.sampler.eta)
        return partial(sample_dpm_solver_pp_2m, times=times)


def at_depths(restored: Tensor, request: GapRequest, k: int, first: float = 0.0) -> Tensor:
    """Rows of (B, N, W) at the requested gaps and depths: (B, G, D, W).

    Measured slice j of the slab stands at row ``first + j k``.
    """
    depths = request.depths.to(restored)
    gaps = torch.arange(len(depths), device=restored.device)[:, None] + request.first
    position = (gaps + depths) * k + first
    lower = (position + 1e-4).floor().clamp(max=restored.shape[1] - 2).long()
    fraction = (position - lower).clamp(0, 1)[None, :, :, None]
    fraction = torch.where(fraction < 2e-4, torch.zeros_like(fraction), fraction)
    return restored[:, lower] * (1 - fraction) + restored[:, lower + 1] * fraction
