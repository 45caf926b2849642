"""Stage III by blocks: all the gaps of a stack of lateral slices at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_d2r.jobs import StudentSettings
from napari_d2r.models import linear_rows
from napari_d2r.training._batches import BlocksBatch, draw_blocks, inner_depths
from napari_d2r.training._losses import cubic_weighted_loss, restoration_loss
from napari_d2r.training._tasks import gain_db, input_noise, kept_back, mean_square, picture


class BlockTask:
    """Blocks of the pseudo-HR volume through XZ or YZ, never along z, at one gap only.

    The parameters are those of `SequenceTask`. Judged by blocks that were kept back; not by
    measured slices left out, because the network knows no gap of 2r.
    """

    def __init__(
        self, pseudo_hr: Tensor, measured: Tensor, factor: float, settings: StudentSettings
    ) -> None:
        self.settings, self.gap = settings, max(2, round(factor))
        self.noise = input_noise(pseudo_hr, measured, settings)
        self.train, held = kept_back(pseudo_hr, self.gap)
        self.examples = [
            draw_blocks(
                held,
                np.random.default_rng([1, n]),
                gap=self.gap,
                batch=2,
                num_slices=settings.block_slices,
                crop=settings.crop,
            )
            for n in range(4)
        ]

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        batch = draw_blocks(
            self.train,
            rng,
            gap=self.gap,
            batch=self.settings.optimizer.batch,
            num_slices=self.settings.block_slices,
            crop=self.settings.crop,
            noise=self.noise,
        )
        predicted, weights = network(batch.slices), self.settings.loss
        loss = restoration_loss(predicted.flatten(1, 2), batch.truth.flatten(1, 2), weights)
        if weights.cubic:
            loss = loss + weights.cubic * cubic_weighted_loss(predicted, batch.truth, batch.slices)
        return loss

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Gain over linear in dB on blocks that took no part in training."""
        squares = [
            [mean_square(filled, batch.truth) for filled in (network(batch.slices), _linear(batch))]
            for batch in self.examples
        ]
        gain = gain_db(squares)
        return {"score": gain, "held-out gain (dB)": gain}

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        batch, middle = self.examples[0], self.gap // 2 - 1
        with torch.no_grad():
            predicted = network(batch.slices[:1])
        return {
            "linear": picture(_linear(batch)[0, 0, middle]),
            "prediction": picture(predicted[0, 0, middle]),
            "target": picture(batch.truth[0, 0, middle]),
        }


def _linear(batch: BlocksBatch) -> Tensor:
    depths = torch.from_numpy(inner_depths(batch.truth.shape[2] + 1)).to(batch.truth)[None]
    between = linear_rows(batch.slices.flatten(2), depths)
    filled: Tensor = between.unflatten(3, batch.slices.shape[2:])
    return filled
