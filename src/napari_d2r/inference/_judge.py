"""What a predictor gains on a stack without ground truth, and how much context it needs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from napari_d2r.inference._predictors import AxialPredictor, GapRequest, log2_of
from napari_d2r.jobs import CancelToken
from napari_d2r.metrics import GainOverLinear, gain_over_linear

_AXIAL_EDGE, _LATERAL_EDGE = 64, 192  # of the columns and of the slices that are probed


def leave_one_out(
    predictor: AxialPredictor, stack: Tensor, gap: float, cancel: CancelToken | None = None
) -> GainOverLinear:
    """Predict measured slices 1 .. Z - 2 from the others, across a gap twice as wide.

    Parameters
    ----------
    stack
        (Z, Y, X) measured slices, unit intensity; the odd ones are predicted from the
        even ones and the other way round.
    gap
        Lateral voxels from slice to slice.
    """
    predicted = torch.empty_like(stack)
    for left_out, found in predict_left_out(predictor, stack, gap, cancel):
        predicted[left_out] = found
    inner = range(1, len(stack) - 1)
    return gain_over_linear(
        stack.float().cpu().numpy(), predicted[1:-1].float().cpu().numpy(), inner, data_range=1.0
    )


def predict_left_out(
    predictor: AxialPredictor, stack: Tensor, gap: float, cancel: CancelToken | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Odd slices predicted from the even ones, then the other way round: where, and what.

    Nothing of a parity of which fewer than two slices are left.
    """
    for parity in (0, 1):
        kept = stack[parity::2]
        if len(kept) < 2:
            continue
        depths = torch.full((len(kept) - 1, 1), 0.5)
        request = GapRequest(0, depths, log2_of(2 * gap))
        left_out = slice(parity + 1, parity + 2 * len(kept) - 2, 2)
        yield left_out, predictor.predict(kept, request, cancel)[:, 0]


def measure_halo(
    predictor: AxialPredictor,
    stack: Tensor,
    gap: float,
    tolerance: float = 0.25 / 255,
    cancel: CancelToken | None = None,
) -> tuple[int, int]:
    """The smallest context (slices, lateral pixels) that leaves the output as it is.

    Compares predictions inside a crop with those of the same place in a larger stack;
    beyond the exact receptive field nothing can change, and well within it little does.
    A stack too small to tell gives the exact receptive field.

    Parameters
    ----------
    tolerance
        Largest change allowed at the 99.9th percentile of voxels, unit intensity.
    """
    exact = predictor.halo
    slices = _smallest(_axial_changes(predictor, stack, gap, cancel), tolerance) or exact.slices
    lateral = _smallest(_lateral_changes(predictor, stack, gap, slices, cancel), tolerance)
    return slices, lateral or exact.lateral


def _smallest(changes: Iterator[tuple[int, float]], tolerance: float) -> int | None:
    return next((halo for halo, change in changes if change <= tolerance), None)


def _axial_changes(
    predictor: AxialPredictor, stack: Tensor, gap: float, cancel: CancelToken | None
) -> Iterator[tuple[int, float]]:
    """Halo in slices, and what cutting the stack there changes in its middle gap."""
    part, middle = stack[:, :_AXIAL_EDGE, :_AXIAL_EDGE], len(stack) // 2
    whole = predictor.predict(part, _one_gap(middle - 1, gap), cancel)
    for halo in range(1, min(predictor.halo.slices, middle - 1)):  # cuts at both ends
        slab = part[middle - 1 - halo : middle + 1 + halo]
        request = _one_gap(halo, gap, (middle - 1 - halo, 0, 0))
        yield halo, _difference(predictor.predict(slab, request, cancel), whole)


def _lateral_changes(
    predictor: AxialPredictor, stack: Tensor, gap: float, slices: int, cancel: CancelToken | None
) -> Iterator[tuple[int, float]]:
    """Halo in pixels, and what cutting the slices there changes further in, of so many slices."""
    exact, middle = predictor.halo, len(stack) // 2
    low = max(0, middle - slices)
    slab = stack[low : middle + 2 + slices, :_LATERAL_EDGE, :_LATERAL_EDGE]
    start = min(slab.shape[1:]) // 2 // exact.stride * exact.stride
    request = _one_gap(middle - low, gap)
    whole = predictor.predict(slab, request, cancel)[..., start:, start:]
    step = max(4, exact.stride)
    for halo in range(step, min(exact.lateral, start), step):
        cut = (start - halo) // exact.stride * exact.stride
        there = _one_gap(middle - low, gap, (0, cut, cut))
        inside = predictor.predict(slab[:, cut:, cut:], there, cancel)
        yield halo, _difference(inside[..., start - cut :, start - cut :], whole)


def _one_gap(first: int, gap: float, origin: tuple[int, int, int] = (0, 0, 0)) -> GapRequest:
    return GapRequest(first, torch.tensor([[0.25, 0.5]]), log2_of(gap), origin)


def _difference(a: Tensor, b: Tensor) -> float:
    return float(np.quantile((a - b).abs().float().cpu().numpy(), 0.999))
