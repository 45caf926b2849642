"""Power spectra of the slices of a volume: is what is seen from the side as fine as from above."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_d2r.metrics._pixelwise import ACROSS, PLANES, Plane
from napari_d2r.volumes import VoxelSize

_MOST_SLICES = 64


@dataclass(frozen=True, slots=True, eq=False)
class PlaneSpectra:
    """Mean power by spatial frequency, of the slices of each plane.

    Parameters
    ----------
    frequency_per_nm
        (S,) centres of the rings in 1/nm, without 0.
    power
        By plane: (S,) mean squared amplitude per pixel and ring, in grey levels squared.
    """

    frequency_per_nm: NDArray[np.float64]
    power: dict[Plane, NDArray[np.float64]]

    def detail(self, reference: PlaneSpectra, above_per_nm: float) -> float:
        """Fine detail seen from the side, over that of the reference seen from above.

        The power of XZ and YZ over the reference's in XY, at frequencies above
        ``above_per_nm``, as a geometric mean over the rings. 1 is as much as in XY, less is
        blur, more is invented. NaN where no ring lies above.
        """
        fine = self.frequency_per_nm > above_per_nm
        axial = (self.power["XZ"] + self.power["YZ"]) / 2
        ratio = axial[fine] / reference.power["XY"][fine]
        return float(np.exp(np.log(np.maximum(ratio, 1e-12)).mean())) if fine.any() else math.nan


def plane_spectra(volume: NDArray[Any], voxel_size: VoxelSize) -> PlaneSpectra:
    """Radial power spectra of XY, XZ and YZ slices.

    At most 64 slices per plane, evenly spread, each less its mean and under a Hann window. Rings
    are one inverse of the shortest edge wide, and end at the Nyquist frequency of the coarsest
    axis, so that all planes share them.

    Parameters
    ----------
    volume
        (Z, Y, X), any real dtype.
    voxel_size
        Edges of a voxel.
    """
    edges = [length * size for length, size in zip(volume.shape, voxel_size, strict=True)]
    width = 1 / min(edges)
    count = int(0.5 / max(voxel_size) / width + 1e-9)
    power = {plane: _power(volume, voxel_size, plane, width, count) for plane in PLANES}
    return PlaneSpectra(np.arange(1, count + 1) * width, power)


def _power(
    volume: NDArray[Any], voxel_size: VoxelSize, plane: Plane, width: float, count: int
) -> NDArray[np.float64]:
    across = ACROSS[plane]
    slices = np.moveaxis(volume, across, 0)
    rows, columns = (size for axis, size in enumerate(voxel_size) if axis != across)
    shape = slices.shape[1:]
    window = np.hanning(shape[0])[:, None] * np.hanning(shape[1])
    fy, fx = fft.fftfreq(shape[0], rows), fft.rfftfreq(shape[1], columns)
    radius = np.sqrt(np.square(fy)[:, None] + np.square(fx)) / width
    ring = np.minimum(np.rint(radius).astype(int), count + 1).ravel()
    held = np.maximum(np.bincount(ring, minlength=count + 2), 1)
    total = np.zeros(count + 2)
    picks = np.unique(np.linspace(0, len(slices) - 1, _MOST_SLICES).round().astype(int))
    for k in picks:
        values = slices[k].astype(np.float64)
        amplitude = fft.rfft2((values - values.mean()) * window)
        total += np.bincount(ring, np.square(np.abs(amplitude)).ravel(), minlength=count + 2)
    scale = len(picks) * np.square(window).sum()
    return np.asarray((total / held / scale)[1 : count + 1])
