r"""Fourier shell correlation: up to which frequency two volumes agree.

.. math::

    FSC(q) = \frac{\mathrm{Re} \sum_{k \in q} A_k \bar B_k}
                  {\sqrt{\sum |A_k|^2 \sum |B_k|^2}}

over hard shells q of the 3D spectrum (Harauz and van Heel 1986). A shell mixes directions:
for a stack that is poor along Z, the cones around Z and around the XY plane tell more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_d2r.errors import InputError
from napari_d2r.volumes import VoxelSize

Window = Literal["hann"]
CONE_HALF_ANGLE = 30.0
# Up to here double precision fits in memory; beyond, complex64 costs less than 1e-3.
_DOUBLE_PRECISION_VOXELS = 300**3
_MIN_EDGE = 4


@dataclass(frozen=True, slots=True)
class Cone:
    """Frequencies within ``half_angle`` degrees of the Z axis or of the XY plane."""

    around: Literal["z", "xy"]
    half_angle: float = CONE_HALF_ANGLE

    def __post_init__(self) -> None:
        if not 0 < self.half_angle <= 90:
            raise InputError(
                f"The half angle of a cone lies between 0 and 90 degrees, not {self.half_angle:g}."
            )

    def holds(self, axial: float, radius: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which frequencies lie inside, from their z component and their length."""
        angle = math.radians(self.half_angle)
        if self.around == "z":
            return np.asarray(abs(axial) >= radius * math.cos(angle))
        return np.asarray(abs(axial) <= radius * math.sin(angle))


@dataclass(frozen=True, slots=True, eq=False)
class FSCCurve:
    """Correlation over spatial frequency.

    Parameters
    ----------
    frequency_per_nm
        (S,) centres of the shells, in 1/nm; the first is 0.
    correlation
        (S,) in [-1, 1]. Shell 0 holds the mean, which is removed: 1 by definition.
    num_voxels
        (S,) voxels of the full spectrum in each shell.
    """

    frequency_per_nm: NDArray[np.float64]
    correlation: NDArray[np.float64]
    num_voxels: NDArray[np.int64]

    def resolution_at(self, threshold: float) -> float | None:
        """Period in nm at which the curve first falls below a threshold.

        The frequency is interpolated linearly between the two shells around the
        crossing. None when the curve stays above up to the Nyquist frequency.
        """
        below = np.flatnonzero(self.correlation[1:] < threshold)
        if not len(below):
            return None
        after = int(below[0]) + 1
        (c0, c1), (f0, f1) = (
            values[after - 1 : after + 1] for values in (self.correlation, self.frequency_per_nm)
        )
        return float(1 / (f0 + (c0 - threshold) / (c0 - c1) * (f1 - f0)))

    def resolution_text(self, threshold: float) -> str:
        """The crossing in words: ``62.4 nm`` or ``not crossed``."""
        resolution = self.resolution_at(threshold)
        return "not crossed" if resolution is None else f"{resolution:.1f} nm"


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
    multiples, and reach to the Nyquist frequency of the coarsest axis; shells without a
    voxel, in a narrow cone, are left out. For a cube of cubic voxels this is one shell
    per voxel of radius.

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
    _require_one_shape(a, b)
    return _shells(_spectrum(a, window), _spectrum(b, window), a.shape, voxel_size, cone)


def resolution_curves(a: NDArray[Any], b: NDArray[Any], voxel_size: VoxelSize) -> ResolutionCurves:
    """All four curves from two pairs of transforms; see `fourier_shell_correlation`."""
    _require_one_shape(a, b)
    pair = _spectrum(a, None), _spectrum(b, None)
    plain, cone_z, cone_xy = (
        _shells(*pair, a.shape, voxel_size, cone) for cone in (None, Cone("z"), Cone("xy"))
    )
    pair = _spectrum(a, "hann"), _spectrum(b, "hann")
    return ResolutionCurves(plain, _shells(*pair, a.shape, voxel_size, None), cone_z, cone_xy)


def _require_one_shape(a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise InputError(
            f"FSC compares volumes of one shape; these have {a.shape} and {b.shape}. "
            "Crop both to the same box first."
        )
    if a.ndim != 3 or min(a.shape) < _MIN_EDGE:
        raise InputError(
            f"FSC needs three axes of at least {_MIN_EDGE} voxels; the volumes have {a.shape}."
        )


def _spectrum(volume: NDArray[Any], window: Window | None) -> NDArray[Any]:
    """(Z, Y, X // 2 + 1) half spectrum of the volume less its mean."""
    dtype = np.dtype(np.float64 if volume.size <= _DOUBLE_PRECISION_VOXELS else np.float32)
    values: NDArray[np.floating[Any]] = volume.astype(dtype)
    np.subtract(values, values.mean(dtype=np.float64), out=values, casting="same_kind")
    if window == "hann":
        for axis, length in enumerate(values.shape):
            taper = np.hanning(length).reshape([-1 if k == axis else 1 for k in range(3)])
            np.multiply(values, taper, out=values, casting="same_kind")
    return np.asarray(fft.rfftn(values, overwrite_x=True))


def _shells(
    a: NDArray[Any],
    b: NDArray[Any],
    shape: tuple[int, ...],
    voxel_size: VoxelSize,
    cone: Cone | None,
) -> FSCCurve:
    edges = [length * size for length, size in zip(shape, voxel_size, strict=True)]
    width = 1 / min(edges)
    num_shells = math.floor(0.5 / max(voxel_size) / width + 1e-9) + 1
    # Frequencies along each axis in shell widths, so that a shell is a rounded radius.
    to_shells = [min(edges) / edge for edge in edges]
    qz = fft.fftfreq(shape[0], 1 / shape[0]) * to_shells[0]
    qy = fft.fftfreq(shape[1], 1 / shape[1]) * to_shells[1]
    qx = fft.rfftfreq(shape[2], 1 / shape[2]) * to_shells[2]
    lateral = np.square(qy)[:, None] + np.square(qx)
    # Each voxel of the half spectrum stands for itself and for its mirror image, except on
    # the plane x = 0 and, for an even length, on the Nyquist plane, which are their own.
    twice = np.full(len(qx), 2.0)
    twice[0] = 1
    if shape[2] % 2 == 0:
        twice[-1] = 1
    multiplicity = np.broadcast_to(twice, lateral.shape)

    cross, power_a, power_b, count = np.zeros((4, num_shells + 1))
    for axial, plane_a, plane_b in zip(qz, a, b, strict=True):  # one plane at a time: memory
        radius = np.sqrt(axial**2 + lateral)
        shell = np.minimum(np.floor(radius + 0.5).astype(np.intp), num_shells)
        if cone is not None:
            shell[~cone.holds(axial, radius)] = num_shells
        weighted = (
            plane_a.real * plane_b.real + plane_a.imag * plane_b.imag,
            np.square(plane_a.real) + np.square(plane_a.imag),
            np.square(plane_b.real) + np.square(plane_b.imag),
            np.ones_like(lateral),
        )
        for total, values in zip((cross, power_a, power_b, count), weighted, strict=True):
            total += np.bincount(
                shell.ravel(), (values * multiplicity).ravel(), minlength=num_shells + 1
            )

    held = count[:num_shells] > 0
    held[0] = True
    power = np.sqrt(power_a * power_b)[:num_shells]
    # A shell in which either volume is empty has nothing in common with the other.
    correlation = np.divide(cross[:num_shells], power, out=np.zeros(num_shells), where=power > 0)
    correlation[0] = 1
    return FSCCurve(
        (np.arange(num_shells) * width)[held],
        correlation[held],
        np.rint(count[:num_shells]).astype(np.int64)[held],
    )
