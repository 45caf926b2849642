"""Predictors of channels, asked by those who know grey slabs only."""

from __future__ import annotations

from torch import Tensor

from napari_d2r.inference._predictors import AxialPredictor, GapRequest, Halo
from napari_d2r.jobs import CancelToken


class SideBySide:
    """Channels one below the other along y, in slabs that have the whole of y.

    For tests that compare a stack with a prediction of it: (J, C H, W) -> (G, D, C H, W).
    """

    def __init__(self, predictor: AxialPredictor, num_channels: int) -> None:
        self.predictor, self.num_channels = predictor, num_channels

    @property
    def halo(self) -> Halo:
        """Of the predictor."""
        return self.predictor.halo

    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """Apart, filled, and one below the other again."""
        volume = slab.unflatten(1, (self.num_channels, -1)).transpose(0, 1)
        filled = self.predictor.predict(volume, request, cancel)  # (C, G, D, H, W)
        return filled.permute(1, 2, 0, 3, 4).flatten(2, 3)


class OfOneSlab:
    """One grey slab in the place of every channel; for measures of time and of context."""

    def __init__(self, predictor: AxialPredictor, num_channels: int) -> None:
        self.predictor, self.num_channels = predictor, num_channels

    @property
    def halo(self) -> Halo:
        """Of the predictor."""
        return self.predictor.halo

    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """(J, H, W) -> (G, D, H, W), the first channel."""
        volume = slab.expand(self.num_channels, *slab.shape)
        return self.predictor.predict(volume, request, cancel)[0]
