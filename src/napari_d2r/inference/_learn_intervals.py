"""The shape of intervals, learned where slices were left out of an isotropic volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_d2r.checkpoints import UncertaintyCard
from napari_d2r.inference._intervals import FEATURES, LINEAR_FEATURES, interval_features
from napari_d2r.inference._predictors import (
    AxialPredictor,
    GapRequest,
    InterpolationPredictor,
    log2_of,
)
from napari_d2r.metrics import IntervalShape, fit_interval_shape

__all__ = ["Seen", "learn_uncertainty", "seen_at_gap"]

# Slices left out of a stack are predicted across a gap twice as wide, so that gaps of up
# to twice the largest factor are learned from.
_GAPS = (2, 4, 8, 16, 24)
_NUM_PER_GAP = 200_000

Seen = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]
"""Errors (D, H, W) of the slices in one gap, and the features there."""


def learn_uncertainty(
    predictor: AxialPredictor,
    volumes: Sequence[Tensor],
    learned_on: str,
    *,
    level: float = 0.9,
    gaps: Sequence[int] = _GAPS,
    seed: int = 0,
) -> UncertaintyCard:
    """Fit the shapes for a model and for linear interpolation.

    Parameters
    ----------
    predictor
        The model, which must not have learned from ``volumes``.
    volumes
        Isotropic (Z, Y, X), unit intensity; slices along Z are left out.
    gaps
        One slice in so many is kept, in turn; each counts alike.

    Raises
    ------
    InputError
        When the volumes are too small to learn from.
    """

    def shape(method: AxialPredictor, names: frozenset[str]) -> IntervalShape:
        rng, errors = np.random.default_rng(seed), []
        features: dict[str, list[NDArray[np.float32]]] = {name: [] for name in sorted(names)}
        for gap in gaps:
            seen = [one for volume in volumes for one in seen_at_gap(method, volume, gap, names)]
            share = min(1.0, _NUM_PER_GAP / sum(error.size for error, _ in seen))
            for error, found in seen:
                chosen = rng.random(error.shape) < share
                errors.append(error[chosen])
                for name, values in features.items():
                    values.append(np.broadcast_to(found[name], error.shape)[chosen])
        joined = {name: np.concatenate(values) for name, values in features.items()}
        return fit_interval_shape(joined, np.concatenate(errors), level, free={"gap"})

    return UncertaintyCard(
        model=shape(predictor, FEATURES),
        linear=shape(InterpolationPredictor("linear"), LINEAR_FEATURES),
        gaps=tuple(gaps),
        learned_on=learned_on,
    )


def seen_at_gap(
    predictor: AxialPredictor, volume: Tensor, gap: int, names: frozenset[str] = FEATURES
) -> Iterator[Seen]:
    """Keep one slice in ``gap`` of an isotropic volume; gap by gap, errors and features."""
    num_gaps = (len(volume) - 1) // gap
    kept = volume[: num_gaps * gap + 1 : gap]
    truth = volume[: num_gaps * gap].unflatten(0, (num_gaps, gap))[:, 1:].cpu().numpy()
    depths = (torch.arange(1, gap) / gap).expand(num_gaps, -1)
    request = GapRequest(0, depths, log2_of(gap))
    found = interval_features(predictor, kept, request, names)
    for true, (predicted, features) in zip(truth, found, strict=True):
        yield np.abs(predicted - true), features
