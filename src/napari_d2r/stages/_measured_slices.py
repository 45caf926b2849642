"""The slices that would be measured of a reference: what every baseline is made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.stages._comparison import Box
from napari_d2r.volumes import Degradation, Volume, weighted_mean

__all__ = ["measured_slices"]


def measured_slices(
    reference: Volume, degradation: Degradation, factor: int, box: Box
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Measured slices around a box, and where in them the slices of the box stand.

    Parameters
    ----------
    box
        Of the result, whose slice 0 is slice ``degradation.first(factor)`` of the reference.

    Returns
    -------
    ndarray
        (J, Y, X) simulated slices, in the dtype of the reference.
    ndarray
        (Z,) positions among them, for `interpolate_axial`.
    """
    z, y, x = box
    windows = degradation.windows(reference.shape[0], factor)
    positions = degradation.grid(len(windows), factor).positions(z.start, z.stop)
    first, last = math.floor(positions[0]), math.ceil(positions[-1])
    measured = [
        weighted_mean(reference.read(part, y, x), weights)
        for part, weights in windows[first : last + 1]
    ]
    return np.stack(measured), positions - first
