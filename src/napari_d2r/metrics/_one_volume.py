r"""Fourier shell correlation of one measured volume with itself: its voxels, shared out in two.

Pairs of slices are averaged, and the pixels of each pair shared out like the fields of a
chessboard, four ways: even or odd row, even or odd column. Sub-volumes that lie across a diagonal
have no voxel in common, so that noise which is new in every voxel is new in each of them. There are
two diagonals; the mean of both curves counts.

Voxels of a sub-volume are twice as long along each axis, and those of its partner lie half of
one further along y and x; both are allowed for, so that the axis is in nm and needs no calibration.
Detail finer than they can hold, four voxels of the volume, counts as coarser detail: in XY, where
they stand apart, it disagrees; along Z, where they do not, it agrees.

Koho et al., "Fourier ring correlation simplifies image restoration in fluorescence microscopy",
Nat. Commun. 10, 3103 (2019), who allow for them by a calibration curve.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.metrics._curve import FSCCurve
from napari_d2r.metrics._fsc import ResolutionCurves, resolution_curve_steps
from napari_d2r.metrics._shells import Steps, part
from napari_d2r.volumes import VoxelSize

_FEWEST = 8  # voxels along an axis: four in a sub-volume
# Of sub-volumes across a diagonal: row and column of the first, and of its partner.
_DIAGONALS = (((0, 0), (1, 1)), ((0, 1), (1, 0)))


def split_like_a_chessboard(
    volume: NDArray[Any], diagonal: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two sub-volumes (Z // 2, Y // 2, X // 2) without a common voxel; ``diagonal`` 0 or 1."""
    z, y, x = (length // 2 * 2 for length in volume.shape)
    even, odd = volume[0:z:2], volume[1:z:2]
    first, second = (
        (even[:, row:y:2, column:x:2].astype(np.float32) + odd[:, row:y:2, column:x:2]) / 2
        for row, column in _DIAGONALS[diagonal]
    )
    return first, second


def one_volume_curve_steps(volume: NDArray[Any], voxel_size: VoxelSize) -> Steps[ResolutionCurves]:
    """The four curves of a volume with itself, a fraction of a second at a time.

    Parameters
    ----------
    volume
        (Z, Y, X), any real dtype, at least 8 voxels along each axis, an odd last one left out.
    voxel_size
        Of the volume; curves end where its sub-volumes do, at periods of four voxels.

    Raises
    ------
    InputError
        When an axis has fewer than 8 voxels.
    """
    if volume.ndim != 3 or min(volume.shape) < _FEWEST:
        raise InputError(
            f"The FSC of one volume needs three axes of at least {_FEWEST} voxels; this one has "
            f"{volume.shape}."
        )
    coarse = VoxelSize(*(2 * edge for edge in voxel_size))
    found = []
    for index, ((row, column), (other_row, other_column)) in enumerate(_DIAGONALS):
        pair = split_like_a_chessboard(volume, index)
        half_a_voxel = ((other_row - row) / 2, (other_column - column) / 2)
        steps = resolution_curve_steps(*pair, coarse, b_stands_at=half_a_voxel)
        found.append((yield from part(index, steps, len(_DIAGONALS))))
    names = [field.name for field in fields(ResolutionCurves)]
    return ResolutionCurves(*(_mean(*(getattr(one, name) for one in found)) for name in names))


def _mean(first: FSCCurve, second: FSCCurve) -> FSCCurve:
    """Of two curves of different voxels, which both count."""
    return replace(
        first,
        correlation=(first.correlation + second.correlation) / 2,
        num_voxels=first.num_voxels + second.num_voxels,
    )
