"""What a predictor gains on a stack without ground truth, and how much context it needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from napari_d2r.inference._predictors import AxialPredictor, GapRequest, log2_of
from napari_d2r.jobs import CancelToken
from napari_d2r.metrics import GainOverLinear, gain_over_linear


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
    for parity in (0, 1):
        kept = stack[parity::2]
        left_out = slice(parity + 1, parity + 2 * len(kept) - 2, 2)
        if len(kept) < 2:
            continue
        depths = torch.full((len(kept) - 1, 1), 0.5)
        request = GapRequest(0, depths, log2_of(2 * gap))
        predicted[left_out] = predictor.predict(kept, request, cancel)[:, 0]
    inner = range(1, len(stack) - 1)
    return gain_over_linear(
        stack.float().cpu().numpy(), predicted[1:-1].float().cpu().numpy(), inner, data_range=1.0
    )


def measure_halo(
    predictor: AxialPredictor, stack: Tensor, gap: float, tolerance: float = 0.25 / 255
) -> tuple[int, int]:
    """The smallest context (slices, lateral pixels) that leaves the output as it is.

    Compares predictions inside a crop with those of the same place in a larger stack;
    beyond the exact receptive field nothing can change, and well within it little does.

    Parameters
    ----------
    tolerance
        Largest change allowed at the 99.9th percentile of voxels, unit intensity.
    """
    exact = predictor.halo
    return (
        _smallest(lambda h: _axial_change(predictor, stack, gap, h), exact.slices, tolerance, 1),
        _smallest(
            lambda h: _lateral_change(predictor, stack, gap, h),
            exact.lateral,
            tolerance,
            max(4, exact.stride),
        ),
    )


def _smallest(
    change: Callable[[int], float | None], largest: int, tolerance: float, step: int
) -> int:
    for halo in range(step, largest, step):
        error = change(halo)
        if error is None:  # the stack is too small to tell
            return largest
        if error <= tolerance:
            return halo
    return largest


def _axial_change(predictor: AxialPredictor, stack: Tensor, gap: float, halo: int) -> float | None:
    middle = len(stack) // 2
    if halo > middle - 1 or middle + 2 + halo > len(stack):
        return None
    request = _one_gap(middle, gap)
    whole = predictor.predict(stack[:, :96, :96], request)
    part = stack[middle - halo : middle + 2 + halo, :96, :96]
    return _difference(predictor.predict(part, _one_gap(halo, gap)), whole)


def _lateral_change(
    predictor: AxialPredictor, stack: Tensor, gap: float, halo: int
) -> float | None:
    stride = max(1, predictor.halo.stride)
    edge = min(stack.shape[1:])
    start = (edge // 2) // stride * stride
    if edge < 64 or halo > start:
        return None
    middle = len(stack) // 2
    low = max(0, middle - predictor.halo.slices)
    slab = stack[low : middle + 2 + predictor.halo.slices, :edge, :edge]
    request = _one_gap(middle - low, gap)
    whole = predictor.predict(slab, request)
    cut = (start - halo) // stride * stride
    part = predictor.predict(slab[:, cut:, cut:], request)
    inside = slice(start, None)
    return _difference(part[..., start - cut :, start - cut :], whole[..., inside, inside])


def _one_gap(first: int, gap: float) -> GapRequest:
    return GapRequest(first, torch.tensor([[0.25, 0.5]]), log2_of(gap))


def _difference(a: Tensor, b: Tensor) -> float:
    return float(np.quantile((a - b).abs().float().cpu().numpy(), 0.999))
