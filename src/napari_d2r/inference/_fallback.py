"""Gaps that look damaged are filled by another method, and do not touch the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from napari_d2r.inference._predictors import AxialPredictor, GapRequest, Halo
from napari_d2r.jobs import CancelToken

__all__ = ["FallbackPredictor"]


class FallbackPredictor:
    """``predictor`` everywhere but in ``damaged`` gaps, which ``fallback`` fills.

    A damaged gap is a wall: what lies beyond it is no context. The stack is predicted as if
    it ended there, so that a bad slice harms the gaps on either side of it only.

    Parameters
    ----------
    damaged
        Gaps of the volume; gap k lies between the measured slices k and k + 1.
    """

    def __init__(
        self, predictor: AxialPredictor, fallback: AxialPredictor, damaged: Iterable[int]
    ) -> None:
        self.predictor, self.fallback, self.damaged = predictor, fallback, frozenset(damaged)

    @property
    def halo(self) -> Halo:
        """Of the predictor; the fallback must not need more."""
        return self.predictor.halo

    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """Run by run, each with the slices between its walls alone."""
        filled = []
        for method, first, last, low, high in self._runs(request, len(slab)):
            z, y, x = request.origin
            rows = request.depths[first - request.first : last + 1 - request.first]
            widths = None if request.widths is None else request.widths[low : high - 1]
            origin = (z + low, y, x)
            part = GapRequest(first - low, rows, request.log2_gap, origin, widths)
            filled.append(method.predict(slab[low:high], part, cancel))
        return torch.cat(filled)

    def _runs(
        self, request: GapRequest, num_slices: int
    ) -> Iterator[tuple[AxialPredictor, int, int, int, int]]:
        """Method, first and last gap, and slices [low, high) of each run, counted in the slab."""
        walls = {gap - request.origin[0] for gap in self.damaged}
        gap, end = request.first, request.first + len(request.depths)
        while gap < end:
            if gap in walls:
                yield self.fallback, gap, gap, gap, gap + 2
                gap += 1
                continue
            before = max((wall for wall in walls if wall < gap), default=-1)
            after = min((wall for wall in walls if wall > gap), default=num_slices)
            last = min(after, end) - 1
            yield self.predictor, gap, last, max(before + 1, 0), min(after + 1, num_slices)
            gap = last + 1
