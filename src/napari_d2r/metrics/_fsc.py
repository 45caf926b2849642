r"""Fourier shell correlation: up to which frequency two volumes agree.

.. math::

    FSC(q) = \frac{\mathrm{Re} \sum_{k \in q} A_k \bar B_k}
                  {\sqrt{\sum |A_k|^2 \sum |B_k|^2}}

over hard shells q of the 3D spectrum (Harauz and van Heel 1986). A shell mixes directions:
for a stack that is poor along Z, the cones around Z and around the XY plane tell more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.metrics._curve import FSCCurve
from napari_d2r.metrics._shells import (
    Cone,
    Shells,
    Steps,
    Window,
    finished,
    part,
    shift_back,
    spectrum,
)
from napari_d2r.volumes import VoxelSize

_MIN_EDGE = 4


@dataclass(frozen=True, slots=True, eq=False)
class ResolutionCurves:
    """The four curves that stand in every report.

    Parameters
    ----------
    plain
        All directions, no window: the headline.
    hann
        All directions after a separable Hann window, which hides the volume's faces.
    cone_z, cone_xy
        Within 30 degrees of the Z axis and of the XY plane, no window.
    """

    plain: FSCCurve
    hann: FSCCurve
    cone_z: FSCCurve
    cone_xy: FSCCurve


def fourier_shell_correlation(
    a: NDArray[Any],
    b: NDArray[Any],
    voxel_size: VoxelSize,
    *,
    window: Window | None = None,
    cone: Cone | None = None,
) -> FSCCurve:
    """Correlate two volumes shell by shell.

    Shells are one inverse edge (of the shortest edge, in nm) wide, centred on its
    multiples, and reach to the Nyquist frequency of the coarsest axis, in a cone of the
    coarsest axis that it is around; shells without a voxel, in a narrow cone, are left
    out. For a cube of cubic voxels this is one shell per voxel of radius.

    Parameters
    ----------
    a, b
        (Z, Y, X), one shape, any real dtype.
    voxel_size
        Edges of a voxel; they may differ between axes.
    window
        None, or ``hann`` to taper towards the faces after the mean is removed.
    cone
        None for all directions.

    Raises
    ------
    InputError
        When the shapes differ or an axis has fewer than 4 voxels.

    References
    ----------
    Harauz, van Heel, "Exact filters for general geometry three dimensional
    reconstruction", Optik 73 (1986).
    """
    _require_shapes(a, b)
    shells = Shells.of(a.shape, voxel_size, cone)
    return finished(shells.correlate(finished(spectrum(a, window)), finished(spectrum(b, window))))


def fourier_ring_correlation(
    a: NDArray[Any], b: NDArray[Any], pixel_size: tuple[float, float]
) -> FSCCurve:
    """Correlate pairs of slices ring by ring, and average over the pairs.

    Every slice is tapered by a Hann window, so that its borders count for nothing.

    Parameters
    ----------
    a, b
        (N, Y, X), one shape, any real dtype.
    pixel_size
        Edges of a pixel (y, x) in nm.

    Returns
    -------
    FSCCurve
        The mean of the N curves; ``num_voxels`` counts the pixels of all N spectra.

    Raises
    ------
    InputError
        When the shapes differ or slices have fewer than 4 pixels along an edge.
    """
    return finished(ring_correlation_steps(a, b, pixel_size))


def ring_correlation_steps(
    a: NDArray[Any], b: NDArray[Any], pixel_size: tuple[float, float]
) -> Steps[FSCCurve]:
    """`fourier_ring_correlation`, one pair at a time."""
    _require_shapes(a, b, num_axes=2)
    rings = Shells.of((1, *a.shape[1:]), VoxelSize(1, *pixel_size), None)
    curves = []
    for done, pair in enumerate(zip(a, b, strict=True)):
        spectra = (finished(spectrum(plane[None], "hann")) for plane in pair)
        curves.append(finished(rings.correlate(*spectra)))
        yield done / len(a)
    first = curves[0]
    return FSCCurve(
        first.frequency_per_nm,
        np.mean([curve.correlation for curve in curves], axis=0),
        first.num_voxels * len(curves),
    )


def resolution_curves(a: NDArray[Any], b: NDArray[Any], voxel_size: VoxelSize) -> ResolutionCurves:
    """All four curves from two pairs of transforms; see `fourier_shell_correlation`."""
    return finished(resolution_curve_steps(a, b, voxel_size))


def resolution_curve_steps(
    a: NDArray[Any],
    b: NDArray[Any],
    voxel_size: VoxelSize,
    *,
    b_stands_at: tuple[float, float] = (0.0, 0.0),
) -> Steps[ResolutionCurves]:
    """`resolution_curves`, a fraction of a second at a time.

    ``b_stands_at`` is how far the voxels of ``b`` lie from those of ``a`` along y and x, in voxels.
    """
    _require_shapes(a, b)
    whole, along_z, in_xy = (
        Shells.of(a.shape, voxel_size, cone) for cone in (None, Cone("z"), Cone("xy"))
    )
    pair = (yield from part(0, spectrum(a, None))), (yield from part(1, spectrum(b, None)))
    shift_back(pair[1], b.shape, b_stands_at)
    plain = yield from part(2, whole.correlate(*pair))
    cone_z = yield from part(3, along_z.correlate(*pair))
    cone_xy = yield from part(4, in_xy.correlate(*pair))
    del pair  # before the next two are made: memory
    pair = (yield from part(5, spectrum(a, "hann"))), (yield from part(6, spectrum(b, "hann")))
    shift_back(pair[1], b.shape, b_stands_at)
    hann = yield from part(7, whole.correlate(*pair))
    return ResolutionCurves(plain, hann, cone_z, cone_xy)


def _require_shapes(a: NDArray[Any], b: NDArray[Any], num_axes: int = 3) -> None:
    if a.shape != b.shape:
        raise InputError(
            f"FSC compares volumes of one shape; these have {a.shape} and {b.shape}. "
            "Crop both to the same box first."
        )
    if a.ndim != 3 or min(a.shape[-num_axes:]) < _MIN_EDGE:
        number = {2: "two", 3: "three"}[num_axes]
        raise InputError(
            f"This correlation needs {number} axes of at least {_MIN_EDGE} voxels; the volumes "
            f"have {a.shape}."
        )
