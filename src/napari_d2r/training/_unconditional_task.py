"""Stage I without a condition: what XY slices look like, and nothing of what was left out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_d2r.diffusion import (
    PreservingSchedule,
    add_noise,
    clean_from_noise,
    signed,
    times_like,
    unsigned,
)
from napari_d2r.errors import InputError
from napari_d2r.jobs import PriorSettings
from napari_d2r.training._diffusion_task import clean_and_mean
from napari_d2r.training._masked_task import draw_crops, draw_times, seeded_noise
from napari_d2r.training._tasks import gain_db, held_out_slices, picture, whole_slices

_VALIDATION_TIMES, _MOST_EXAMPLES = (100, 200, 400), 4


class UnconditionalTask:
    """DDPM of XY slices (Ho et al. 2020, eq. 14): mean squared error of the predicted noise.

    Crops are squares of ``settings.columns`` pixels, turned and mirrored at random; intensities
    run from -1 to 1.

    Parameters
    ----------
    stack
        (Z, Y, X) measured slices, unit intensity, on the training device.
    gap
        Lateral voxels from measured slice to measured slice; validation alone asks for it.

    Raises
    ------
    InputError
        When the settings ask for another prediction than the noise.
    """

    def __init__(self, stack: Tensor, gap: float, settings: PriorSettings) -> None:
        if settings.prediction != "noise":
            raise InputError(
                f"Network {settings.network.architecture} predicts noise; "
                "set prior.prediction to noise."
            )
        held_out = held_out_slices(len(stack))
        kept = [k for k in range(len(stack)) if k not in held_out]
        self.train, self.settings, self.gap = stack[kept], settings, max(2, round(gap))
        self.schedule = PreservingSchedule()
        judged = stack[held_out[:_MOST_EXAMPLES]]
        self.examples = [clean_and_mean(b) for b in whole_slices(judged, self.gap)]

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        edge, batch = self.settings.columns, self.settings.optimizer.batch
        x0 = signed(draw_crops(self.train[None], rng, batch=batch, rows=edge, columns=edge))
        t, noise = draw_times(rng, x0, self.schedule), torch.randn_like(x0)
        return F.mse_loss(network(add_noise(x0, t, noise, self.schedule), t.to(x0)), noise)

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Two errors at three times, on slices that took no part in training.

        The gain over linear, in dB, of one-step estimates in which the measured rows stand; and
        the mean squared error of the predicted noise, 1 for one who predicts none.
        """
        squares, errors = [], []
        for x0, linear in self.examples:
            base = float((linear - x0).square().mean())
            for time in _VALIDATION_TIMES:
                estimate, error = self._estimate(network, x0, time)
                squares.append([float((estimate - x0).square().mean()), base])
                errors.append(error)
        gain = gain_db(squares)
        return {"score": gain, "one-step gain (dB)": gain, "noise error": float(np.mean(errors))}

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        x0, linear = self.examples[0]
        with torch.no_grad():
            estimate, _ = self._estimate(network, x0, _VALIDATION_TIMES[1])
        return {
            "linear": picture(linear[0, 0]),
            "prediction": picture(estimate[0, 0]),
            "truth": picture(x0[0, 0]),
        }

    def _estimate(self, network: nn.Module, x0: Tensor, time: int) -> tuple[Tensor, float]:
        """The clean slice, unit intensity, seen through noise; and the error of that noise."""
        noise, t = seeded_noise(x0, time), times_like(time, x0)
        x = add_noise(signed(x0), t.long(), noise, self.schedule)
        predicted = network(x, t)
        estimate = unsigned(clean_from_noise(x, time, predicted, self.schedule))
        estimate[..., :: self.gap, :] = x0[..., :: self.gap, :]
        return estimate, float((predicted - noise).square().mean())
