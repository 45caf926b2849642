"""The sliding window: one output shard from the measured slices around it.

`fill_shard` is the unit of work. It depends on nothing but its arguments, so a local
loop, a resumed run and a worker elsewhere produce the same bytes. `begin_shard` is the same for
callers that have something else to do while a device computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_d2r.errors import NotFiniteError
from napari_d2r.inference._predictors import AxialPredictor, GapRequest, Halo, log2_of
from napari_d2r.inference._rounding import as_stored, to_stored
from napari_d2r.inference._transfer import to_device, to_host
from napari_d2r.jobs import CancelToken
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume, require_finite


@dataclass(frozen=True, slots=True)
class Box:
    """Voxels [start, stop) along z, y, x."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Edge lengths in voxels."""
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def lateral(self) -> tuple[slice, slice]:
        """The y and x slices."""
        return slice(self.start[1], self.stop[1]), slice(self.start[2], self.stop[2])


def fill_shard(
    volume: Volume,
    grid: AxialGrid,
    box: Box,
    predictor: AxialPredictor,
    intensity: IntensityRange,
    gap: float,
    device: torch.device,
    cancel: CancelToken | None = None,
    *,
    half_widths: bool = False,
) -> NDArray[Any]:
    """The output voxels of ``box``, in the volume's dtype; after its channels, if it has any.

    Measured slices are copied as stored, unless the grid says that they are blurred.
    Everything else is predicted from the slices of the gaps that the box touches, with the
    predictor's halo around them. ``gap`` is how
    many lateral voxels apart the measured slices are, or are in the mean, which networks want
    to know; the output may be sampled finer or coarser than that.

    With ``half_widths`` the predictor tells half-widths of intervals instead of intensities:
    differences of grey levels, of which measured slices have none.

    Raises
    ------
    InputError
        When the slices hold NaN or infinite voxels.
    NotFiniteError
        When what was predicted does.
    Interrupted
        When ``cancel`` is set.
    """
    return begin_shard(
        volume, grid, box, predictor, intensity, gap, device, cancel, half_widths=half_widths
    )()


@torch.inference_mode()
def begin_shard(
    volume: Volume,
    grid: AxialGrid,
    box: Box,
    predictor: AxialPredictor,
    intensity: IntensityRange,
    gap: float,
    device: torch.device,
    cancel: CancelToken | None = None,
    *,
    half_widths: bool = False,
) -> Callable[[], NDArray[Any]]:
    """As `fill_shard`; call what is returned to wait for the voxels.

    On cuda this returns while the device computes, elsewhere when it is done.
    """
    positions = grid.positions(box.start[0], box.stop[0])
    measured = grid.is_copied(positions)
    channels = () if volume.num_channels is None else (volume.num_channels,)
    output = np.zeros((*channels, *box.shape), volume.dtype)
    if not half_widths:
        for m in np.flatnonzero(measured):
            y, x = box.lateral
            j = int(positions[m])
            output[..., m, :, :] = volume.read(slice(j, j + 1), y, x)[..., 0, :, :]
    if measured.all():
        return lambda: output

    positions = positions[~measured]
    gaps = grid.gaps(positions)
    first, last = int(gaps.min()), int(gaps.max())
    tile = with_halo(box, volume.shape, predictor.halo)
    slab_start = max(0, first - predictor.halo.slices)
    slab_start -= slab_start % predictor.halo.slice_stride
    slab_stop = min(volume.shape[0], last + 2 + predictor.halo.slices)
    stored = volume.read(slice(slab_start, slab_stop), *tile)
    require_finite(stored, volume.name)
    slab = to_device(torch.from_numpy(intensity.to_unit(stored)), device)

    depths, row, column = depth_table(positions, gaps, first, last)
    places = to_device(torch.from_numpy(np.stack([row, column])), device)
    origin = (slab_start, tile[0].start, tile[1].start)
    widths = grid.widths(gap, slab_start, slab_stop)
    request = GapRequest(first - slab_start, torch.from_numpy(depths), log2_of(gap), origin, widths)
    filled = predictor.predict(slab, request, cancel)
    inner = tuple(
        slice(want.start - have.start, want.stop - have.start)
        for want, have in zip(box.lateral, tile, strict=True)
    )
    at = (slice(None),) * len(channels) + (places[0], places[1])
    wanted = filled[..., inner[0], inner[1]][at]
    is_finite = to_host(torch.isfinite(wanted).all())
    grey = IntensityRange(0.0, intensity.span) if half_widths else intensity
    arrived = to_host(to_stored(wanted, grey, volume.dtype))

    def finish() -> NDArray[Any]:
        if not is_finite():
            raise NotFiniteError(
                f"The network computed values that are not numbers between slices {first} and "
                f"{last + 1} of {volume.name}; repeat with --engine torch, and if that fails too, "
                "train the model again."
            )
        output[..., ~measured, :, :] = as_stored(arrived(), volume.dtype)
        return output

    return finish


def with_halo(box: Box, shape: tuple[int, int, int], halo: Halo) -> tuple[slice, slice]:
    """Lateral slices of the box grown by the halo, clipped to the volume, on the stride."""
    y, x = box.lateral
    return grown(y, shape[1], halo), grown(x, shape[2], halo)


def grown(part: slice, length: int, halo: Halo) -> slice:
    """One lateral slice grown by the halo, clipped to ``length``, on the stride."""
    low = max(0, part.start - halo.lateral)
    return slice(low - low % halo.stride, min(length, part.stop + halo.lateral))


def depth_table(
    positions: NDArray[np.float64], gaps: NDArray[np.int_], first: int, last: int
) -> tuple[NDArray[np.float32], NDArray[np.int_], NDArray[np.int_]]:
    """Depths (G, D) of all gaps, and where in that table each position stands.

    Gaps may hold different numbers of slices; spare places repeat a depth that is wanted.
    """
    row = gaps - first
    column = np.concatenate([np.arange(n) for n in np.bincount(row) if n])
    wanted = np.round(positions - gaps, 7).astype(np.float32)  # equal depths are equal numbers
    depths = np.full((last - first + 1, int(column.max()) + 1), wanted[0])
    depths[row, column] = wanted
    return depths, row, column
