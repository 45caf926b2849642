"""MS-SSIM: structural similarity from fine to coarse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.metrics._windows import RADIUS, Moments

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, fine to coarse; sum 1
SMALLEST_EDGE = (2 * RADIUS + 1) * 2 ** (len(_WEIGHTS) - 1)
"""Pixels along the shorter edge: the coarsest scale must hold one window."""


def multiscale_ssim(
    image_true: NDArray[Any],
    image_test: NDArray[Any],
    *,
    data_range: float,
    finest: Moments | None = None,
) -> float:
    r"""MS-SSIM of two images: :math:`l_5^{w_5} \prod_{j=1}^{5} cs_j^{w_j}`.

    cs_j is the mean contrast and structure term of SSIM at scale j (Gaussian window, sigma 1.5,
    11 x 11 pixels), l_5 cs_5 the mean SSIM at the coarsest. Each scale is the last one averaged
    over 2 x 2 pixels; an odd row or column is dropped. A negative term counts as 0.

    Parameters
    ----------
    image_true, image_test
        (Y, X), one shape, at least 176 x 176 pixels.
    data_range
        Grey levels between black and white.
    finest
        Local moments of the two images as they stand, where they are known already.

    Returns
    -------
    float
        0 to 1; 1 for identical images.

    Raises
    ------
    InputError
        When shapes differ or an edge is shorter than 176 pixels.

    References
    ----------
    Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment",
    Asilomar Conference on Signals, Systems and Computers (2003).
    """
    if image_true.shape != image_test.shape or min(image_true.shape) < SMALLEST_EDGE:
        raise InputError(
            f"MS-SSIM compares images of one shape with at least {SMALLEST_EDGE} pixels along each "
            f"edge; these have {image_true.shape} and {image_test.shape}."
        )
    a, b = image_true.astype(np.float64), image_test.astype(np.float64)
    moments = finest or Moments.of(a, b)
    similarity = 1.0
    for weight in _WEIGHTS[:-1]:
        similarity *= _weighted(moments.structure(data_range).mean(), weight)
        a, b = _halved(a), _halved(b)
        moments = Moments.of(a, b)
    return similarity * _weighted(moments.ssim(data_range), _WEIGHTS[-1])


def _weighted(term: float, weight: float) -> float:
    return float(np.maximum(term, 0) ** weight)


def _halved(image: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = (length // 2 * 2 for length in image.shape)
    even = image[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2)
    return np.asarray(even.mean(axis=(1, 3)))
