"""How far a prediction may be off: half-widths of intervals, from what a stack itself shows.

Five things are seen at a voxel. How far it is from the nearest measured slice, as a part of the
gap and in lateral voxels, and how wide the gap is. How steep the image is there, and how much the
two slices differ around it. Where two opinions of the network part: slices as they stand and
transposed, or XZ and YZ. And how badly the two measured slices are themselves predicted around
there, each left out in turn. A shape learned where the truth is known turns them into a
half-width (`napari_d2r.metrics.IntervalShape`); the stack's own left-out slices give its scale.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from torch import Tensor

from napari_d2r.inference._judge import predict_left_out
from napari_d2r.inference._predictors import (
    AxialPredictor,
    GapRequest,
    Halo,
    LateralPredictor,
    log2_of,
)
from napari_d2r.jobs import CancelToken
from napari_d2r.metrics import IntervalShape, interval_scale

__all__ = ["IntervalPredictor", "calibrate", "interval_features"]

# In pixels: blur before the gradient; edges of the squares over which squares are averaged.
_BLUR, _FINE, _MIDDLE, _WIDE = 1.0, 3, 7, 25
LINEAR_FEATURES = frozenset({"depth", "distance", "gap", "gradient", "difference"})
FEATURES = LINEAR_FEATURES | {"disagreement", "disagreement around", "left-out error"}

Features = dict[str, NDArray[np.float32]]


class IntervalPredictor:
    """Half-widths instead of intensities, so that the sliding window carries them along."""

    def __init__(self, predictor: AxialPredictor, shape: IntervalShape, scale: float = 1) -> None:
        self.predictor, self.shape, self.scale = predictor, shape, scale
        self._names = frozenset(shape.curves)

    @property
    def halo(self) -> Halo:
        """What the predictor needs, for a slice left out too, and half the widest square."""
        own = self.predictor.halo
        if self._names <= LINEAR_FEATURES:
            return replace(own, lateral=own.lateral + _MIDDLE // 2 + 1)
        return replace(own, slices=2 * own.slices + 1, lateral=own.lateral + _WIDE // 2 + 1)

    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """(J, H, W) slices in unit intensity -> (G, D, H, W) half-widths, likewise."""
        widths = [
            self.scale * self.shape.half_width(features)
            for _, features in interval_features(self.predictor, slab, request, self._names, cancel)
        ]
        return torch.from_numpy(np.stack(widths)).to(slab.device)


def interval_features(
    predictor: AxialPredictor,
    slab: Tensor,
    request: GapRequest,
    names: Collection[str] = FEATURES,
    cancel: CancelToken | None = None,
) -> Iterator[tuple[NDArray[np.float32], Features]]:
    """Gap by gap, what is predicted (D, H, W) and what is seen there, by name.

    Parameters
    ----------
    slab, request
        As for a predictor.
    names
        Which features; those in ``LINEAR_FEATURES`` need no second opinion.

    Yields
    ------
    prediction, features
        Features have three axes each, of length 1 where they do not change along one.
    """
    gap, is_linear = 2**request.log2_gap, set(names) <= LINEAR_FEATURES
    if is_linear:
        predicted, apart = predictor.predict(slab, request, cancel).float().cpu().numpy(), None
    else:
        predicted, apart = _two_opinions(predictor, slab, request, cancel)
    slices = slab.float().cpu().numpy()
    slopes = [
        np.gradient(gaussian_filter(slices, (0, _BLUR, _BLUR), truncate=3), axis=axis)
        for axis in (1, 2)
    ]
    left_out = None if is_linear else _left_out_error(predictor, slab, gap, cancel)
    for offset, depths in enumerate(request.depths.float().cpu().numpy()):
        k = request.first + offset
        d = depths[:, None, None]
        y, x = ((1 - d) * slope[k] + d * slope[k + 1] for slope in slopes)
        seen: Features = {
            "depth": np.minimum(d, 1 - d),
            "distance": gap * np.minimum(d, 1 - d),
            "gap": np.full((1, 1, 1), gap, np.float32),
            "gradient": np.hypot(y, x),
            "difference": _around((slices[k + 1] - slices[k])[None] ** 2, _MIDDLE),
        }
        if apart is not None and left_out is not None:
            seen["disagreement"] = _around(apart[offset], _FINE)
            seen["disagreement around"] = _around(apart[offset], _WIDE)
            seen["left-out error"] = _around(left_out[k : k + 2].mean(0, keepdims=True), _WIDE)
        yield predicted[offset], {name: seen[name] for name in names}


def calibrate(
    predictor: AxialPredictor,
    shape: IntervalShape,
    stack: Tensor,
    gap: float,
    sound: NDArray[np.bool_] | None = None,
    cancel: CancelToken | None = None,
) -> float:
    """The scale at which intervals hold their share of the errors of left-out slices.

    Every measured slice but the first and the last is predicted from the others, across a
    gap twice as wide, which the shape is told.

    Parameters
    ----------
    stack
        (Z, Y, X) measured slices, unit intensity; at least 3.
    sound
        (Z,), False for slices that should not be judged.
    """
    ratios = []
    for left_out, found in predict_left_out(predictor, stack, gap, cancel):
        kept = stack[left_out.start - 1 : left_out.stop + 1 : 2]
        request = GapRequest(0, torch.full((len(kept) - 1, 1), 0.5), log2_of(2 * gap))
        widths = IntervalPredictor(predictor, shape).predict(kept, request, cancel)[:, 0]
        is_sound = slice(None) if sound is None else torch.from_numpy(sound[left_out])
        ratios.append(((found - stack[left_out]).abs() / widths)[is_sound].float().cpu().numpy())
    errors = np.concatenate([part.ravel() for part in ratios])
    return interval_scale(errors, np.ones_like(errors), shape.level)


def _two_opinions(
    predictor: AxialPredictor, slab: Tensor, request: GapRequest, cancel: CancelToken | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The prediction (G, D, H, W), and the square of how far two opinions are apart."""
    if isinstance(predictor, LateralPredictor) and predictor.direction == "mean":
        xz = predictor.restore(slab.permute(1, 0, 2), request, cancel).permute(1, 2, 0, 3)
        yz = predictor.restore(slab.permute(2, 0, 1), request, cancel, upside_down=True)
        one, other = xz, yz.permute(1, 2, 3, 0)
        predicted = (one + other) / 2
    else:
        z, y, x = request.origin
        transposed = replace(request, origin=(z, x, y))
        predicted = one = predictor.predict(slab, request, cancel)
        turned = slab.transpose(1, 2).contiguous()
        other = predictor.predict(turned, transposed, cancel).transpose(2, 3)
    return predicted.float().cpu().numpy(), ((one - other) ** 2).float().cpu().numpy()


def _left_out_error(
    predictor: AxialPredictor, slab: Tensor, gap: float, cancel: CancelToken | None
) -> NDArray[np.float32]:
    """(J, H, W): squared error of each slice predicted from the others.

    The outermost cannot be left out and take that of their neighbours; of two slices alone,
    either is held against their mean.
    """
    error = ((slab[:1] - slab[-1:]) / 2).square().repeat(len(slab), 1, 1)
    for left_out, found in predict_left_out(predictor, slab, gap, cancel):
        error[left_out] = (found - slab[left_out]).square()
    if len(slab) > 2:
        error[0], error[-1] = error[1], error[-2]
    return np.asarray(error.float().cpu().numpy())


def _around(squares: NDArray[np.float32], edge: int) -> NDArray[np.float32]:
    """Root of the mean of squares (D, H, W) over squares of ``edge`` pixels."""
    mean = uniform_filter(squares, (0, edge, edge), mode="nearest")
    root: NDArray[np.float32] = np.sqrt(np.maximum(mean, 0))
    return root
