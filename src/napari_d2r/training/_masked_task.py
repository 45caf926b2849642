"""Stage I by masked slices: clean rows among noise (MSDSR, Jiang et al. 2024)."""

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
from napari_d2r.training._diffusion_task import clean_and_mean
from napari_d2r.training._losses import restoration_loss
from napari_d2r.training._tasks import gain_db, held_out_slices, picture, whole_slices

# The paper keeps 5 to 20 rows of 48.
_FEWEST, _MOST = 5 / 48, 20 / 48
_VALIDATION_EDGE, _MOST_EXAMPLES = 192, 4


class MaskedTask:
    """MS-UNet: the whole slice from some of its rows, where noise stands for the others.

    Parameters
    ----------
    stack
        (Z, Y, X), or (C, Z, Y, X) with channels; measured slices, unit intensity, on the
        training device.
    gap
        Lateral voxels from measured slice to measured slice.
    settings
        Crop sizes and losses; a crop has ``num_gaps * gap`` rows.
    """

    times: tuple[int, ...] = (0,)
    judged_by = "held-out gain (dB)"

    def __init__(self, stack: Tensor, gap: float, settings: PriorSettings) -> None:
        volume = stack if stack.ndim == 4 else stack[None]
        held_out = held_out_slices(volume.shape[1])
        kept = [k for k in range(volume.shape[1]) if k not in held_out]
        self.train, self.settings = volume[:, kept], settings
        step = max(2, round(gap))
        self.rows = settings.num_gaps * step
        self.fewest = min(_FEWEST, 1 / gap)  # so that the stack's own gap is practised
        judged = volume[:, held_out[:_MOST_EXAMPLES], :_VALIDATION_EDGE, :_VALIDATION_EDGE]
        channels = [[clean_and_mean(b) for b in whole_slices(one, step)] for one in judged]
        self.examples = [
            (torch.cat([x0 for x0, _ in example], 1), torch.cat([mu for _, mu in example], 1))
            for example in zip(*channels, strict=True)
        ]
        self.known = torch.arange(self.examples[0][0].shape[2]).to(stack.device) % step == 0

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        x0, known = self._draw(rng)
        filled = torch.where(known, signed(x0), torch.randn_like(x0))
        predicted = network(filled, times_like(0, x0))
        return restoration_loss(predicted, signed(x0), self.settings.loss)

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Gain over linear, in dB, in the hidden rows of slices that took no part."""
        squares = []
        for x0, linear in self.examples:
            base = float((linear - x0).square().mean())
            for time in self.times:
                found = self._estimate(network, x0, time)
                squares.append([float((found - x0).square().mean()), base])
        gain = gain_db(squares)
        return {"score": gain, self.judged_by: gain}

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        x0, linear = self.examples[0]
        with torch.no_grad():
            found = self._estimate(network, x0, self.times[len(self.times) // 2])
        return {
            "linear": picture(linear[0, 0]),
            "prediction": picture(found[0, 0]),
            "truth": picture(x0[0, 0]),
        }

    def _draw(self, rng: Generator) -> tuple[Tensor, Tensor]:
        """Crops (B, C, H, W) and which of their rows are known (B, 1, H, 1)."""
        x0 = draw_crops(
            self.train,
            rng,
            batch=self.settings.optimizer.batch,
            rows=self.rows,
            columns=self.settings.columns,
        )
        known = draw_known_rows(rng, len(x0), x0.shape[2], self.fewest)
        return x0, known.to(x0.device)

    def _estimate(self, network: nn.Module, x0: Tensor, time: int) -> Tensor:
        """The slice as found in one pass, its known rows exact."""
        known = self.known[:, None]
        filled = torch.where(known, signed(x0), seeded_noise(x0, time))
        found: Tensor = network(filled, times_like(0, x0))
        return torch.where(known, x0, unsigned(found))


class MaskedDenoiserTask(MaskedTask):
    """MSDSR: the noise of the hidden rows, from a noisy slice whose known rows are clean.

    The target is the noise in hidden rows and zero in known ones, averaged over all pixels,
    as the authors' code has it; their eq. 6 prints the mask the other way round.
    """

    times = (250, 500, 750)
    judged_by = "one-step gain (dB)"

    def __init__(self, stack: Tensor, gap: float, settings: PriorSettings) -> None:
        super().__init__(stack, gap, settings)
        self.schedule = PreservingSchedule()

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        x0, known = self._draw(rng)
        t = draw_times(rng, x0, self.schedule)
        noise = torch.randn_like(x0)
        noisy = torch.where(known, signed(x0), add_noise(signed(x0), t, noise, self.schedule))
        predicted = network(noisy, t.to(x0))
        return restoration_loss(predicted, noise * ~known, self.settings.loss)

    def _estimate(self, network: nn.Module, x0: Tensor, time: int) -> Tensor:
        known = self.known[:, None]
        t = times_like(time, x0)
        noisy = add_noise(signed(x0), t.long(), seeded_noise(x0, time), self.schedule)
        noisy = torch.where(known, signed(x0), noisy)
        found = clean_from_noise(noisy, time, network(noisy, t), self.schedule)
        return torch.where(known, x0, unsigned(found).clamp(0, 1))


def draw_crops(volume: Tensor, rng: Generator, *, batch: int, rows: int, columns: int) -> Tensor:
    """(C, Z, Y, X) -> (B, C, rows, columns) of XY slices, rows along y or x, flipped at random.

    Crops shrink to what the slices offer.
    """
    shortest = min(volume.shape[2:])
    height, width = min(rows, shortest), min(columns, shortest)
    crops = []
    for transposed in rng.random(batch) < 0.5:
        plane = volume[:, int(rng.integers(volume.shape[1]))]
        plane = plane.transpose(1, 2) if transposed else plane
        top = int(rng.integers(plane.shape[1] - height + 1))
        left = int(rng.integers(plane.shape[2] - width + 1))
        crop = plane[:, top : top + height, left : left + width]
        crops.append(crop.flip([axis for axis in (1, 2) if rng.random() < 0.5]))
    return torch.stack(crops)


def draw_known_rows(rng: Generator, batch: int, rows: int, fewest: float = _FEWEST) -> Tensor:
    """(B, 1, rows, 1), true in known rows: of each crop any number of them, at any places.

    The number is even between ``fewest`` and 20 / 48 of the rows.
    """
    least = max(1, round(fewest * rows))
    counts = rng.integers(least, max(least, round(_MOST * rows)) + 1, batch)
    ranks = rng.permuted(np.tile(np.arange(rows), (batch, 1)), axis=1)
    return torch.from_numpy(ranks < counts[:, None])[:, None, :, None]


def draw_times(rng: Generator, like: Tensor, schedule: PreservingSchedule) -> Tensor:
    """(B,) times from 1 to T, all equally often."""
    return torch.from_numpy(rng.integers(1, schedule.num_steps + 1, len(like))).to(like.device)


def seeded_noise(like: Tensor, seed: int) -> Tensor:
    """Standard normal noise that is the same at every validation."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like)
