r"""MicroSSIM: SSIM that does not ask for the right offset and scale of grey values.

A result may stand at another background and another scale than the reference, both of which a
person removes by the contrast slider. Both volumes lose their background b, the 3rd percentile,
and the result is multiplied by the one factor that serves its volume best:

.. math::

    \alpha^* = \arg\max_\alpha \; \mathrm{mean} \;
    \frac{2 \alpha \mu_x \mu_y + C_1}{\mu_x^2 + \alpha^2 \mu_y^2 + C_1} \cdot
    \frac{2 \alpha \sigma_{xy} + C_2}{\sigma_x^2 + \alpha^2 \sigma_y^2 + C_2}

Ashesh, Deschamps, Jug, "MicroSSIM: improved structural similarity for comparing microscopy data",
ECCV workshop on BioImage Computing (2024), arXiv 2408.08747. Here one data range serves all
slices, and the window is the Gaussian one throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from napari_d2r.errors import InputError
from napari_d2r.metrics._windows import RADIUS, Moments

_BACKGROUND_PERCENTILE = 3.0
_MOST_WINDOWS = 2_000_000  # more tell nothing new: neighbouring windows overlap
_LARGEST_SCALE = 10.0


@dataclass(frozen=True, slots=True)
class MicroSSIM:
    """The similarity, and the factor by which the tested volume was multiplied."""

    similarity: float
    scale: float


def micro_ssim(reference: NDArray[Any], test: NDArray[Any], *, data_range: float) -> MicroSSIM:
    """MicroSSIM of two stacks of slices, one offset and one scale for all of them.

    Parameters
    ----------
    reference, test
        (N, Y, X), one shape, at least 11 x 11 pixels.
    data_range
        Grey levels between black and white.

    Returns
    -------
    MicroSSIM
        Similarity up to 1, the mean over at most two million windows on an even grid; scale
        between 0.1 and 10.

    Raises
    ------
    InputError
        When shapes differ or slices are smaller than a window.
    """
    if reference.shape != test.shape or min(reference.shape[1:]) <= 2 * RADIUS:
        raise InputError(
            f"MicroSSIM compares stacks of one shape with slices of at least 11 x 11 pixels; these "
            f"have {reference.shape} and {test.shape}."
        )
    backgrounds = [float(np.percentile(v, _BACKGROUND_PERCENTILE)) for v in (reference, test)]
    step = max(1, math.ceil(math.sqrt(reference.size / _MOST_WINDOWS)))
    found = []
    for pair in zip(reference, test, strict=True):
        a, b = (
            plane.astype(np.float64) - level for plane, level in zip(pair, backgrounds, strict=True)
        )
        moments = Moments.of(a, b)
        found.append([getattr(moments, f.name)[::step, ::step].ravel() for f in fields(moments)])
    moments = Moments(*(np.concatenate(values) for values in zip(*found, strict=True)))

    def similarity(log_scale: float) -> float:
        scale = math.exp(log_scale)
        scaled = Moments(
            moments.mean_a,
            moments.mean_b * scale,
            moments.variance_a,
            moments.variance_b * scale**2,
            moments.covariance * scale,
        )
        return scaled.ssim(data_range)

    limit = math.log(_LARGEST_SCALE)
    best = minimize_scalar(
        lambda log_scale: -similarity(log_scale),
        bounds=(-limit, limit),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return MicroSSIM(-float(best.fun), math.exp(float(best.x)))
