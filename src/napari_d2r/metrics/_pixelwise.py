"""PSNR, SSIM and MS-SSIM, slice by slice, in the three planes of a volume."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from napari_d2r.errors import InputError
from napari_d2r.metrics._multiscale import SMALLEST_EDGE, multiscale_ssim
from napari_d2r.metrics._windows import Moments
from napari_d2r.volumes import AxialGrid

Plane = Literal["XY", "XZ", "YZ"]
PLANES: tuple[Plane, ...] = get_args(Plane)
# The axis that a slice of each plane is taken across, in a (Z, Y, X) array.
ACROSS: dict[Plane, int] = {"XY": 0, "XZ": 1, "YZ": 2}
# Edge of the Gaussian SSIM window (sigma 1.5, cut at 3.5 sigma): a slice must hold one.
_SSIM_WINDOW = 11
_ssim: Callable[..., float] = structural_similarity  # scikit-image ships no types for it


@dataclass(frozen=True, slots=True)
class PlaneScores:
    """How well the slices of one plane agree with the reference.

    Parameters
    ----------
    plane
        XY (lateral), XZ or YZ (axial).
    psnr_db
        Mean over slices of the PSNR of each slice; identical slices, whose PSNR is
        infinite, are left out. Infinite only when every slice is identical.
    ssim
        Mean over slices of the SSIM with a uniform 7 x 7 window (scikit-image's default).
    ssim_gaussian
        The same with the Gaussian window of Wang et al. (2004), sigma 1.5.
    ms_ssim
        Mean over slices of the multi-scale SSIM; None for slices below 176 x 176 pixels.
    num_slices
        Slices compared.
    num_identical
        Those among them that equal the reference exactly.
    """

    plane: Plane
    psnr_db: float
    ssim: float
    ssim_gaussian: float
    ms_ssim: float | None
    num_slices: int
    num_identical: int


def peak_signal_noise_ratio(
    image_true: NDArray[Any], image_test: NDArray[Any], *, data_range: float
) -> float:
    """PSNR in decibels: ``10 log10(data_range**2 / mean squared error)``.

    Parameters
    ----------
    image_true, image_test
        Arrays of one shape, any number of axes, any real dtype.
    data_range
        Grey levels between black and white; demanded, because a dtype does not tell.

    Returns
    -------
    float
        Infinite for identical arrays.

    Raises
    ------
    InputError
        When the shapes differ or ``data_range`` is not positive.
    """
    _require_comparable(image_true, image_test, data_range)
    error = float(np.mean(np.square(image_true.astype(np.float64) - image_test)))
    return 10 * math.log10(data_range**2 / error) if error > 0 else math.inf


def score_planes(
    reference: NDArray[Any], test: NDArray[Any], *, factor: int, data_range: float
) -> tuple[PlaneScores, ...]:
    """Score XY, XZ and YZ; see `score_plane`."""
    return tuple(
        score_plane(reference, test, plane, factor=factor, data_range=data_range)
        for plane in PLANES
    )


def score_plane(
    reference: NDArray[Any],
    test: NDArray[Any],
    plane: Plane,
    *,
    factor: int,
    data_range: float,
    are_copied: bool = True,
) -> PlaneScores:
    """Compare two volumes slice by slice in one plane.

    With the slices ``reference[::factor]`` measured, n of them, the first
    ``(n - 1) * factor + 1`` slices of both volumes are compared: further ones lie beyond
    the last measured slice. XY counts inserted slices only, since measured ones are
    copies; XZ and YZ count every row.

    Parameters
    ----------
    reference
        (Z, Y, X), the truth.
    test
        (Z', Y, X) on the same grid, at least as long as what is compared.
    plane
        The plane whose slices are scored.
    factor
        Every ``factor``-th slice of the reference was measured.
    data_range
        Grey levels between black and white.
    are_copied
        Whether measured slices are copies; otherwise all slices of all planes count.

    Raises
    ------
    InputError
        When the volumes do not fit each other or are narrower than the SSIM window.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", IEEE Trans. Image Process. 13 (2004).
    """
    num_compared = len(reference)
    if are_copied:
        num_compared = AxialGrid((num_compared - 1) // factor + 1, factor).num_output
    if len(test) < num_compared:
        raise InputError(
            f"Volumes of shape {reference.shape} and {test.shape} cannot be compared at factor "
            f"{factor}: the second needs at least {num_compared} slices."
        )
    true, tested = reference[:num_compared], test[:num_compared]
    _require_comparable(true, tested, data_range)
    if min(true.shape) < _SSIM_WINDOW:
        raise InputError(
            f"A volume of shape {true.shape} is too small to score: SSIM needs at least "
            f"{_SSIM_WINDOW} voxels along each axis."
        )
    across = ACROSS[plane]
    true, tested = np.moveaxis(true, across, 0), np.moveaxis(tested, across, 0)
    is_all = plane != "XY" or not are_copied
    chosen = [k for k in range(len(true)) if is_all or k % factor != 0]

    psnr, ssim, gaussian, multiscale = [], [], [], []
    has_scales = min(true.shape[1:]) >= SMALLEST_EDGE
    for k in chosen:
        # float64 once: scikit-image would otherwise convert for each window.
        a, b = true[k].astype(np.float64), tested[k].astype(np.float64)
        psnr.append(peak_signal_noise_ratio(a, b, data_range=data_range))
        ssim.append(_ssim(a, b, data_range=data_range))
        moments = Moments.of(a, b)
        gaussian.append(moments.ssim(data_range))
        if has_scales:
            multiscale.append(multiscale_ssim(a, b, data_range=data_range, finest=moments))
    finite = [value for value in psnr if math.isfinite(value)]
    return PlaneScores(
        plane=plane,
        psnr_db=float(np.mean(finite)) if finite else math.inf,
        ssim=float(np.mean(ssim)),
        ssim_gaussian=float(np.mean(gaussian)),
        ms_ssim=float(np.mean(multiscale)) if has_scales else None,
        num_slices=len(chosen),
        num_identical=len(psnr) - len(finite),
    )


def _require_comparable(a: NDArray[Any], b: NDArray[Any], data_range: float) -> None:
    if a.shape != b.shape:
        raise InputError(f"Shapes differ: {a.shape} and {b.shape}; compare volumes of one grid.")
    if not data_range > 0:
        raise InputError(f"The data range must be a positive number, not {data_range:g}.")
