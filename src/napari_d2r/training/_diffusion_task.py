"""Stage I by diffusion: a conditional denoiser of lateral slices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_d2r.diffusion import (
    MeanRevertingSchedule,
    from_noise_head,
    maximum_likelihood_loss,
    perturb,
    x0_loss,
)
from napari_d2r.jobs import PriorSettings
from napari_d2r.models import interleave_rows, linear_rows
from napari_d2r.training._batches import GapMix, RowsBatch, draw_rows
from napari_d2r.training._measurement import longest_gap
from napari_d2r.training._tasks import (
    SAMPLING,
    as_noisy,
    gain_db,
    held_out_slices,
    lost_noise,
    picture,
    whole_slices,
)
from napari_d2r.volumes import Degradation

_VALIDATION_TIMES = (25, 50, 75)


class DiffusionTask:
    """IR-SDE from aligned interpolation (mu) to the XY slice it was made of (x0).

    The parameters are those of `LateralTask`. With ``prediction = noise`` the loss is the
    paper's maximum-likelihood loss; with ``x0`` the network predicts x0 - mu and every
    time counts alike.
    """

    def __init__(
        self,
        stack: Tensor,
        gap: float,
        settings: PriorSettings,
        degradation: Degradation = SAMPLING,
    ) -> None:
        held_out = held_out_slices(len(stack))
        kept = [k for k in range(len(stack)) if k not in held_out]
        self.train, self.settings = stack[kept], settings
        self.gap, self.degradation = gap, degradation
        self.mix = GapMix(gap)
        kernel = degradation.kernel(gap)
        self.noise = lost_noise(stack, kernel)
        self.longest = longest_gap(min(stack.shape[1:]), degradation.widest.kernel(gap))
        self.schedule = MeanRevertingSchedule()
        self.examples = [
            clean_and_mean(b) for b in whole_slices(stack[held_out], max(2, round(gap)), kernel)
        ]

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        kernel = self.degradation.drawn(rng).kernel(self.gap)
        batch = draw_rows(
            self.train,
            rng,
            gap=self.mix.draw(rng, self.longest),
            batch=self.settings.optimizer.batch,
            num_gaps=self.settings.num_gaps,
            columns=self.settings.columns,
            kernel=kernel,
        )
        x0, mu = clean_and_mean(as_noisy(batch, self.noise))
        t = torch.from_numpy(rng.integers(1, self.schedule.num_steps + 1, len(x0)))
        x = perturb(x0, mu, t, torch.randn_like(x0), self.schedule)
        predicted = _call(network, x, mu, t)
        if self.settings.prediction == "noise":
            return maximum_likelihood_loss(predicted, x, mu, x0, t, self.schedule)
        return x0_loss(mu + predicted, x0, t, self.schedule, weighted=False)

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Gain over mu, in dB, of one-step estimates of the clean slice at three times."""
        squares = []
        for x0, mu in self.examples:
            linear = float((mu - x0).square().mean())
            for time in _VALIDATION_TIMES:
                estimate = self._estimate(network, x0, mu, time)
                squares.append([float((estimate - x0).square().mean()), linear])
        gain = gain_db(squares)
        return {"score": gain, "one-step gain (dB)": gain}

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        x0, mu = self.examples[0]
        with torch.no_grad():
            estimate = self._estimate(network, x0, mu, _VALIDATION_TIMES[1])
        return {
            "linear": picture(mu[0, 0]),
            "prediction": picture(estimate[0, 0]),
            "truth": picture(x0[0, 0]),
        }

    def _estimate(self, network: nn.Module, x0: Tensor, mu: Tensor, time: int) -> Tensor:
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(time)).to(x0)
        t = torch.full((len(x0),), time, dtype=torch.int64)
        x = perturb(x0, mu, t, noise, self.schedule)
        if self.settings.prediction == "noise":
            denoise = from_noise_head(lambda x, mu, t: _call(network, x, mu, t), self.schedule)
            return denoise(x, mu, t)
        return mu + _call(network, x, mu, t)


def _call(network: nn.Module, x: Tensor, mu: Tensor, t: Tensor) -> Tensor:
    out: Tensor = network(torch.cat([x - mu, mu], dim=1), t.to(x))
    return out


def clean_and_mean(batch: RowsBatch) -> tuple[Tensor, Tensor]:
    """x0 and mu, (B, 1, gap * num_gaps, W); the row that ends the last gap is dropped."""
    gap, linear = batch.gap, linear_rows(batch.rows, batch.depths)
    if batch.truth.shape[2] >= gap:  # measured rows are blurred, and the truth of them is there
        x0, mu = (part[:, :, :gap].flatten(1, 2)[:, None] for part in (batch.truth, linear))
    else:
        x0, mu = (interleave_rows(batch.rows, part)[:, None, :-1] for part in (batch.truth, linear))
    return x0, mu
