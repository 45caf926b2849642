"""Learning the slice between two others from the measured stack itself, along z."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
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
from napari_d2r.jobs import PriorSettings
from napari_d2r.models import midpoint
from napari_d2r.training._losses import restoration_loss
from napari_d2r.training._masked_task import draw_crops, draw_times, seeded_noise
from napari_d2r.training._tasks import gain_db, kept_back, picture

_STEPS = (1, 2)  # slices from the middle one to either neighbour
_VALIDATION_EDGE, _MOST_EXAMPLES = 192, 16


class MidpointTask:
    """E2E UNet (Jiang et al. 2024): slices j and j + 2 in, what slice j + 1 differs by out.

    What it differs from is the mean of the two. Slices j and j + 4 with j + 2 are learned
    from as well. The end of y is kept back and judged by.

    Parameters
    ----------
    stack
        (Z, Y, X), or (C, Z, Y, X) with channels; measured slices, unit intensity, on the
        training device.
    gap
        Lateral voxels from measured slice to measured slice.
    settings
        Losses, and ``columns``, the edge of a crop.
    """

    times: tuple[int, ...] = (0,)
    judged_by = "held-out gain (dB)"

    def __init__(self, stack: Tensor, gap: float, settings: PriorSettings) -> None:
        volume = stack if stack.ndim == 4 else stack[None]
        self.settings = settings
        self.train, held = kept_back(volume, max(2, round(gap)))
        self.steps = [step for step in _STEPS if 2 * step < volume.shape[1]]
        slices = held.transpose(0, 1)
        triples = torch.stack([slices[:-2], slices[1:-1], slices[2:]], dim=1)
        self.examples = triples[:_MOST_EXAMPLES, ..., :_VALIDATION_EDGE, :_VALIDATION_EDGE]

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        below, middle, above = self._draw(rng)
        predicted = midpoint(network, below, above)
        return restoration_loss(predicted, middle, self.settings.loss)

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Gain over the mean of the neighbours, in dB, where nothing was learned from."""
        below, middle, above = self.examples.unbind(1)
        linear = float(((below + above) / 2 - middle).square().mean())
        squares = []
        for time in self.times:
            found = self._estimate(network, below, middle, above, time)
            squares.append([float((found - middle).square().mean()), linear])
        gain = gain_db(squares)
        return {"score": gain, self.judged_by: gain}

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        below, middle, above = self.examples[:1].unbind(1)
        with torch.no_grad():
            time = self.times[len(self.times) // 2]
            found = self._estimate(network, below, middle, above, time)
        return {
            "linear": picture((below + above)[0, 0] / 2),
            "prediction": picture(found[0, 0]),
            "truth": picture(middle[0, 0]),
        }

    def _draw(self, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Crops (B, C, H, W) of three slices, as far from the first to the second as on."""
        step = int(rng.choice(self.steps))
        last = self.train.shape[1] - 2 * step
        runs = torch.cat([self.train[:, n * step : n * step + last] for n in range(3)])
        edge = self.settings.columns
        crops = draw_crops(runs, rng, batch=self.settings.optimizer.batch, rows=edge, columns=edge)
        below, middle, above = crops.chunk(3, dim=1)
        return (above, middle, below) if rng.random() < 0.5 else (below, middle, above)

    def _estimate(
        self, network: nn.Module, below: Tensor, middle: Tensor, above: Tensor, time: int
    ) -> Tensor:
        return midpoint(network, below, above)


class MidpointDenoiserTask(MidpointTask):
    """vEMDiffuse-a (Lu et al. 2024): the noise of the middle slice, given its neighbours."""

    times = (250, 500, 750)
    judged_by = "one-step gain (dB)"

    def __init__(self, stack: Tensor, gap: float, settings: PriorSettings) -> None:
        super().__init__(stack, gap, settings)
        self.schedule = PreservingSchedule()

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        below, middle, above = self._draw(rng)
        t, noise = draw_times(rng, middle, self.schedule), torch.randn_like(middle)
        noisy = add_noise(signed(middle), t, noise, self.schedule)
        predicted = network(torch.cat([noisy, signed(below), signed(above)], 1), t.to(middle))
        return restoration_loss(predicted, noise, self.settings.loss)

    def _estimate(
        self, network: nn.Module, below: Tensor, middle: Tensor, above: Tensor, time: int
    ) -> Tensor:
        t = times_like(time, middle)
        noisy = add_noise(signed(middle), t.long(), seeded_noise(middle, time), self.schedule)
        noise = network(torch.cat([noisy, signed(below), signed(above)], 1), t)
        return unsigned(clean_from_noise(noisy, time, noise, self.schedule)).clamp(0, 1)
