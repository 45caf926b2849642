"""One restored XZ or YZ slice, fast enough to follow the cursor."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.inference._predictors import GapRequest, LateralPredictor, log2_of
from napari_d2r.inference._window import depth_table, grown
from napari_d2r.jobs import CancelToken
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume, require_finite


def predict_slice(
    volume: Volume,
    grid: AxialGrid,
    predictor: LateralPredictor,
    orientation: Literal["XZ", "YZ"],
    index: int,
    *,
    intensity: IntensityRange,
    gap: float,
    columns: slice = slice(None),
    rows: slice = slice(None),
    device: torch.device | None = None,
    cancel: CancelToken | None = None,
) -> NDArray[Any]:
    """Restore a single XZ or YZ slice, from the measured rows of that slice alone.

    This is one of the two directions that the final result averages: XZ slices as they
    stand, YZ slices upside down, each exactly as `LateralPredictor` restores them. It is
    close to the result, and a little rougher.

    Parameters
    ----------
    orientation, index
        ``XZ`` and y, or ``YZ`` and x, in pixels.
    columns
        Range along the slice, in pixels: x of an XZ slice, y of a YZ slice.
    rows
        Range along Z, in output slices of ``grid``.
    gap
        Lateral voxels from measured slice to measured slice.

    Returns
    -------
    ndarray
        (rows, columns) in the dtype of the volume; measured rows bit for bit, unless the grid
        says that they are blurred.

    Raises
    ------
    InputError
        Where the slice or the ranges lie outside the volume, or voxels are not finite.
    Interrupted
        When ``cancel`` is set.
    """
    is_xz = orientation == "XZ"
    across, along = volume.shape[1:] if is_xz else volume.shape[:0:-1]
    z, w = range(grid.num_output)[rows], range(along)[columns]
    if not 0 <= index < across or not z or not w:
        raise InputError(
            f"There is no {orientation} slice {index} with these ranges in {volume.name}."
        )

    def read(measured: slice, part: slice) -> NDArray[Any]:
        """(J, W) stored values of this slice."""
        at = slice(index, index + 1)
        if is_xz:
            return volume.read(measured, at, part)[:, 0]
        return volume.read(measured, part, at)[:, :, 0]

    positions = grid.positions(z.start, z.stop)
    nearest = np.rint(positions).astype(int)
    is_measured = grid.is_copied(positions)
    kept = slice(nearest.min(), nearest.max() + 1)
    output: NDArray[Any] = read(kept, slice(w.start, w.stop))[nearest - kept.start]
    if is_measured.all():
        return output

    gaps = grid.gaps(positions[~is_measured])
    first, last = int(gaps.min()), int(gaps.max())
    tile = grown(slice(w.start, w.stop), along, predictor.halo)
    top = max(0, first - predictor.halo.slices)
    bottom = min(volume.shape[0], last + 2 + predictor.halo.slices)
    stored = read(slice(top, bottom), tile)
    require_finite(stored, volume.name)
    unit = torch.from_numpy(intensity.to_unit(stored)).to(device or torch.device("cpu"))

    # Whole gaps, so that all of them want the same depths, which is faster.
    begin = grid.index(first)
    end = grid.num_output if last == volume.shape[0] - 2 else grid.index(last + 1)
    all_positions = grid.positions(begin, end)
    between = ~grid.is_copied(all_positions)
    all_gaps = grid.gaps(all_positions[between])
    depths, row, column = depth_table(all_positions[between], all_gaps, first, last)
    widths = grid.widths(gap, top, bottom)
    request = GapRequest(first - top, torch.from_numpy(depths), log2_of(gap), widths=widths)
    restored = predictor.restore(unit[None], request, cancel, upside_down=not is_xz)[0]
    wanted = np.isin(np.flatnonzero(between) + begin, np.flatnonzero(~is_measured) + z.start)
    inner = slice(w.start - tile.start, w.stop - tile.start)
    found = restored[row[wanted], column[wanted]][:, inner].float().cpu().numpy()
    output[~is_measured] = intensity.from_unit(found, volume.dtype)
    return output
