"""Spectra, and their correlation shell by shell; a plane at a time, so that it can be stopped."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_d2r.errors import InputError
from napari_d2r.metrics._curve import FSCCurve
from napari_d2r.volumes import VoxelSize

Window = Literal["hann"]
CONE_HALF_ANGLE = 30.0
# Up to here double precision fits in memory; beyond, complex64 costs less than 1e-3.
_DOUBLE_PRECISION_VOXELS = 300**3
_ROWS_AT_ONCE = 16
_Result = TypeVar("_Result")
# Work that can be watched and stopped: yields how much is done, in [0, 1], returns its result.
Steps = Generator[float, None, _Result]


def finished(steps: Steps[_Result]) -> _Result:
    """Take all steps and return what they lead to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result


def part(index: int, steps: Steps[_Result], count: int = 8) -> Steps[_Result]:
    """Steps that are part ``index`` of ``count`` equal ones."""
    while True:
        try:
            done = next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result
        yield (index + done) / count


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

    def coarsest_edge(self, voxel_size: VoxelSize) -> float:
        """The voxel edge whose Nyquist frequency ends the curve."""
        return voxel_size.z if self.around == "z" else max(voxel_size.y, voxel_size.x)


def spectrum(volume: NDArray[Any], window: Window | None) -> Steps[NDArray[Any]]:
    """(Z, Y, X // 2 + 1) half spectrum of the volume less its mean, plane by plane."""
    dtype = np.dtype(np.float64 if volume.size <= _DOUBLE_PRECISION_VOXELS else np.float32)
    mean = volume.mean(dtype=np.float64)
    tapers = [np.hanning(length) if window else np.ones(length) for length in volume.shape]
    lateral = (tapers[1][:, None] * tapers[2]).astype(dtype)
    num_planes, num_rows, num_columns = volume.shape
    shape = num_planes, num_rows, num_columns // 2 + 1
    half = np.empty(shape, np.result_type(dtype, np.complex64))
    for k, plane in enumerate(volume):
        values = (plane.astype(dtype) - dtype.type(mean)) * lateral * dtype.type(tapers[0][k])
        half[k] = fft.rfft2(values, overwrite_x=True)
        yield k / num_planes / 2
    for row in range(0, num_rows, _ROWS_AT_ONCE):
        rows = slice(row, row + _ROWS_AT_ONCE)
        half[:, rows] = fft.fft(half[:, rows], axis=0, overwrite_x=True)
        yield 0.5 + row / num_rows / 2
    return half


def shift_back(half: NDArray[Any], shape: tuple[int, ...], by: tuple[float, float]) -> None:
    """Move a volume of ``shape``, whose half spectrum this is, back ``by`` (y, x) voxels, in place.

    Voxels that lie s further along an axis give a spectrum with the factor exp(2 pi i k s) at k
    cycles per voxel, which is taken away.
    """
    if any(by):
        turns = fft.fftfreq(shape[1])[:, None] * by[0] + fft.rfftfreq(shape[2]) * by[1]
        half *= np.exp(-2j * np.pi * turns).astype(half.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Shells:
    """Shells of the half spectrum of ``shape``: ``width`` in 1/nm, ``count`` of them.

    ``to_shells`` turns frequencies along each axis, in cycles per field, into shell widths,
    so that a shell is a rounded radius.
    """

    shape: tuple[int, ...]
    to_shells: tuple[float, ...]
    width: float
    count: int
    cone: Cone | None

    @classmethod
    def of(cls, shape: tuple[int, ...], voxel_size: VoxelSize, cone: Cone | None) -> Shells:
        """Shells of a volume, or the rings of one plane where there is but one."""
        edges = [length * size for length, size in zip(shape, voxel_size, strict=True)]
        shortest = min(edges if shape[0] > 1 else edges[1:])
        if shape[0] == 1:
            coarsest = max(voxel_size.y, voxel_size.x)
        else:
            coarsest = cone.coarsest_edge(voxel_size) if cone else max(voxel_size)
        count = math.floor(0.5 / coarsest * shortest + 1e-9) + 1
        return cls(shape, tuple(shortest / edge for edge in edges), 1 / shortest, count, cone)

    def correlate(self, a: NDArray[Any], b: NDArray[Any]) -> Steps[FSCCurve]:
        """The curve of two half spectra, one plane at a time: memory."""
        z, y, x = self.shape
        qz = fft.fftfreq(z, 1 / z) * self.to_shells[0]
        qy = fft.fftfreq(y, 1 / y) * self.to_shells[1]
        qx = fft.rfftfreq(x, 1 / x) * self.to_shells[2]
        lateral = np.square(qy)[:, None] + np.square(qx)
        # Each voxel of the half spectrum stands for itself and for its mirror image, except
        # on the plane x = 0 and, for an even length, on the Nyquist plane: their own.
        twice = np.full(len(qx), 2.0)
        twice[0] = 1
        if x % 2 == 0:
            twice[-1] = 1
        multiplicity = np.broadcast_to(twice, lateral.shape)

        num = self.count
        cross, power_a, power_b, count = np.zeros((4, num + 1))
        for k, (axial, plane_a, plane_b) in enumerate(zip(qz, a, b, strict=True)):
            radius = np.sqrt(axial**2 + lateral)
            shell = np.minimum(np.floor(radius + 0.5).astype(np.intp), num)
            if self.cone is not None:
                shell[~self.cone.holds(axial, radius)] = num
            weighted = (
                plane_a.real * plane_b.real + plane_a.imag * plane_b.imag,
                np.square(plane_a.real) + np.square(plane_a.imag),
                np.square(plane_b.real) + np.square(plane_b.imag),
                np.ones_like(lateral),
            )
            for total, values in zip((cross, power_a, power_b, count), weighted, strict=True):
                total += np.bincount(
                    shell.ravel(), (values * multiplicity).ravel(), minlength=num + 1
                )
            yield k / z

        held = count[:num] > 0
        held[0] = True
        power = np.sqrt(power_a * power_b)[:num]
        # A shell in which either volume is empty has nothing in common with the other.
        correlation = np.divide(cross[:num], power, out=np.zeros(num), where=power > 0)
        correlation[0] = 1
        return FSCCurve(
            np.arange(num, dtype=np.float64)[held] * self.width,
            correlation[held],
            np.rint(count[:num]).astype(np.int64)[held],
        )
