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
from napari_d2r.inference._directions import Origin, in_directions, slices_of
from napari_d2r.inference._predictors import (
    AxialPredictor,
    GapRequest,
    Halo,
    pixels_at_once,
    stop_if_asked,
)
from napari_d2r.jobs import CancelToken, SamplerSettings
from napari_d2r.models import interleave_rows
from napari_d2r.volumes import Degradation

# Estimates are held close to the unit range; measured values may exceed it a little.
_CLAMP = (-0.25, 1.25)
Solver = Callable[[Denoiser, Condition, MeanRevertingSchedule, NoiseSource], Iterator[Step]]


class DiffusionPredictor:
    """Samples of the lateral diffusion prior; the average of both directions, or one.

    The result is a sample, or with ``sampler.samples`` above 1 the mean of several: sharp,
    but not the most likely value of a voxel. Noise is keyed by absolute position, so that
    tiles agree.

    With a ``base`` the prior refines what that one predicts: sampling begins at
    ``sampler.start``, at that prediction with the noise of this time.
    """

    def __init__(
        self,
        network: nn.Module,
        sampler: SamplerSettings,
        prediction: Literal["x0", "noise"] = "x0",
        seed: int = 0,
        halo: HaloCard | None = None,
        degradation: Degradation | None = None,
        base: AxialPredictor | None = None,
    ) -> None:
        self.network, self.sampler, self.seed = network.eval(), sampler, seed
        self.prediction, self.degradation = prediction, degradation or Degradation()
        self.base = base
        self.schedule = MeanRevertingSchedule()
        self.solve = self._solver()  # steps that there are not are refused at once
        reach, stride = int(network.halo), int(network.stride)  # type: ignore[arg-type]
        slices, lateral = (halo.slices, halo.lateral) if halo else (-(-reach // 2), reach)
        self.halo = Halo(slices, lateral, stride, slice_stride=stride)
        if base is not None:
            self.halo = self.halo.beyond(base.halo)

    @torch.inference_mode()
    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """Restore on the grid of round(gap) rows per gap; other depths are interpolated."""
        k = max(2, round(2**request.log2_gap))
        skeleton = None if self.base is None else _filled(self.base, slab, k, request, cancel)

        def restore(slices: Tensor, origin: Origin, index: int) -> Tensor:
            bases = None if skeleton is None else slices_of(skeleton, index)
            seed = 2 * self.seed + index
            return self._restore(slices, bases, k, request, origin, seed, cancel)

        return in_directions(slab, request.origin, self.sampler.direction, restore)

    def _restore(
        self,
        slices: Tensor,
        bases: Tensor | None,
        k: int,
        request: GapRequest,
        origin: Origin,
        seed: int,
        cancel: CancelToken | None,
    ) -> Tensor:
        """(N, J, W) lateral slices -> (N, G, D, W); ``origin`` is that of (N, J, W)."""
        at_once = max(1, pixels_at_once(slices.device) // (slices[0].numel() * k))
        filled = []
        for start in range(0, len(slices), at_once):
            rows = slices[start : start + at_once]
            base = None if bases is None else bases[start : start + at_once, None]
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

                restored = restored + self._sample(rows, base, k, noise, cancel)
            begin = self.degradation.grid(slices.shape[1], k).offset
            filled.append(at_depths(restored / self.sampler.samples, request, k, -begin))
        return torch.cat(filled)

    def _sample(
        self,
        rows: Tensor,
        base: Tensor | None,
        k: int,
        noise: NoiseSource,
        cancel: CancelToken | None,
    ) -> Tensor:
        """(B, J, W) -> one restored slice each, on the grid of k rows per gap, (B, N, W)."""
        how = self.degradation
        positions = torch.from_numpy(how.grid(rows.shape[1], k).positions())
        lower = positions.long().clamp(max=rows.shape[1] - 2)
        part = (positions - lower)[:, None].to(rows)
        mu = (rows[:, lower] * (1 - part) + rows[:, lower + 1] * part)[:, None]
        known = None
        if how.is_sampling:  # others are blurred, and no row is known
            known = KnownRows(torch.arange(0, mu.shape[-2], k, device=rows.device), rows[:, None])
        condition = Condition(mu, base, known, _CLAMP)
        x = mu
        for step in self.solve(self._denoiser(), condition, self.schedule, noise):
            stop_if_asked(cancel)
            x = step.x
        return x[:, 0]

    def _denoiser(self) -> Denoiser:
        def call(x: Tensor, mu: Tensor, t: Tensor) -> Tensor:
            out: Tensor = self.network(torch.cat([x - mu, mu], dim=1), t.to(x.dtype))
            return out if self.prediction == "noise" else mu + out

        return from_noise_head(call, self.schedule) if self.prediction == "noise" else call

    def _solver(self) -> Solver:
        start = self.sampler.start
        if self.sampler.solver == "reverse_sde":
            return partial(sample_reverse_sde, start=start)
        if self.sampler.solver == "posterior":
            return partial(sample_posterior, start=start)
        times = time_grid(self.schedule, self.sampler.steps, start)
        if self.sampler.solver == "ddim":
            return partial(sample_ddim, times=times, eta=self.sampler.eta)
        return partial(sample_dpm_solver_pp_2m, times=times)


def _filled(
    base: AxialPredictor, slab: Tensor, k: int, request: GapRequest, cancel: CancelToken | None
) -> Tensor:
    """(J, H, W) with k - 1 predicted slices in every gap: ((J - 1) k + 1, H, W)."""
    depths = (torch.arange(1, k) / k).expand(len(slab) - 1, -1)
    everywhere = GapRequest(0, depths, request.log2_gap, request.origin)
    between = base.predict(slab, everywhere, cancel)
    whole = interleave_rows(slab.flatten(1)[None], between.flatten(2)[None])[0]
    shaped: Tensor = whole.unflatten(1, slab.shape[1:])
    return shaped


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
