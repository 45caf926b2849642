"""What a microscope would measure of a result: for comparison with what it did measure."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_d2r.inference._predictors import AxialPredictor, GapRequest, Halo
from napari_d2r.jobs import CancelToken
from napari_d2r.volumes import Degradation

__all__ = ["measured_again"]


def measured_again(
    predictor: AxialPredictor, degradation: Degradation, gap: float
) -> AxialPredictor:
    """A predictor of slices as they would be measured, from one of slices as they are.

    Parameters
    ----------
    degradation
        Of the measured slices, which stand ``gap`` lateral voxels apart.
    """
    if degradation.is_sampling:
        return predictor
    return _MeasuredAgain(predictor, torch.from_numpy(degradation.kernel(gap)).float())


class _MeasuredAgain:
    """Weighted means of a prediction along Z; beyond a gap its bounds go on."""

    def __init__(self, predictor: AxialPredictor, kernel: Tensor) -> None:
        self.predictor, self.kernel = predictor, kernel

    @property
    def halo(self) -> Halo:
        """Of the predictor: nothing beyond the gap is looked at."""
        return self.predictor.halo

    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """All slices under the kernel are predicted, then summed."""
        count = len(self.kernel)
        steps = (torch.arange(count) - (count - 1) / 2) / 2**request.log2_gap
        depths = (request.depths.cpu()[..., None] + steps).clamp(0, 1).flatten(1)
        fine = GapRequest(request.first, depths, request.log2_gap, request.origin)
        filled = self.predictor.predict(slab, fine, cancel).unflatten(1, (-1, count))
        return torch.einsum("gdkhw,k->gdhw", filled, self.kernel.to(filled))
