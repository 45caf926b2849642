"""Which slices a result has: evenly spaced ones, from slices that may stand unevenly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from napari_d2r.checkpoints import Model
from napari_d2r.errors import InputError
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.models import UNEVEN
from napari_d2r.volumes import (
    MAX_FACTOR,
    AxialGrid,
    Degradation,
    Volume,
    VoxelSize,
    axial_positions,
    resolve_factor,
    uneven_grid,
)

__all__ = ["output_grid", "require_uneven", "resolve_spacing", "too_wide"]

_WHOLE = 0.5  # lateral voxels: a gap that rounds into what was practised has been
_UNIT_WRONG = 1.2  # times that a table and a voxel size may differ before it is told


def resolve_spacing(job: SuperResolveJob, volume: Volume) -> tuple[Volume, float, list[str]]:
    """The volume with the mean distance of its slices, the factor, and what there is to tell.

    Raises
    ------
    InputError
        When a table of positions does not fit the stack, when there is nothing to do, or when
        the factor is out of range.
    """
    if job.z_positions is not None:
        return _spaced_by(job.z_positions, job.factor, volume)
    factor = resolve_factor(volume.voxel_size, job.factor)
    if not job.keep_measured or factor == round(factor):
        return volume, factor, []
    rounded = float(max(2, round(factor)))
    told = (
        f"The factor {factor:g} is rounded to {rounded:g} to keep every measured slice; "
        f"voxels will be {volume.voxel_size.z / rounded:g} nm along Z."
    )
    return volume, rounded, [told]


def _spaced_by(
    table: Sequence[float], factor: float | None, volume: Volume
) -> tuple[Volume, float, list[str]]:
    mean = float(axial_positions(table, volume.shape[0])[-1]) / (volume.shape[0] - 1)
    stated = volume.voxel_size
    size = VoxelSize(mean, stated.y, stated.x)
    resolve_factor(size, factor)
    times = max(mean / stated.z, stated.z / mean)
    told = [
        f"The table puts slices {mean:g} nm apart in the mean, the voxel size {stated.z:g} nm; the "
        "table counts, so check its unit."
    ]
    # The factor is not rounded: over hundreds of slices a thousandth adds up to a slice.
    return (
        replace(volume, voxel_size=size),
        factor or size.anisotropy,
        told if times > _UNIT_WRONG else [],
    )


def output_grid(
    job: SuperResolveJob, volume: Volume, factor: float, how: Degradation, model: Model | None
) -> tuple[AxialGrid, list[str]]:
    """Where the slices of a result stand, and what there is to tell of it.

    Raises
    ------
    InputError
        Where measured slices are all to be kept, and do not fall on the grid.
    """
    if job.z_positions is not None:
        grid = uneven_grid(axial_positions(job.z_positions, volume.shape[0]), factor)
        return grid, list(_of_uneven(grid, job, volume, model))
    grid = how.grid(volume.shape[0], factor)
    if model is None:  # an interpolation restores nothing
        grid = replace(grid, copies_measured=True)
    if not grid.copies_measured:
        return grid, [
            f"This model restores slices that are {how}, so the measured ones are restored too "
            "and none is copied; take another model if yours are point samples."
        ]
    if not grid.is_integer and grid.offset == 0:
        return grid, [
            f"The factor {factor:g} is not whole: output slices stand every "
            f"{volume.voxel_size.z / factor:g} nm and measured slices are kept where they fall "
            "on that grid; --keep-measured keeps them all."
        ]
    return grid, []


def require_uneven(job: SuperResolveJob, how: Degradation, model: Model | None) -> None:
    """Refuse a table of positions where a method cannot be told of single gaps.

    Raises
    ------
    InputError
        With the methods that can.
    """
    if job.z_positions is None:
        return
    if job.uncertainty:
        raise InputError(
            "Half-widths cannot be told where slices stand at uneven distances; leave uncertainty "
            "out, or the table of positions."
        )
    is_served = model is None or model.card.architecture in UNEVEN
    if job.refine_with is not None or not how.is_sampling or not is_served:
        raise InputError(
            "This method takes slices at even distances only; with a table of positions take the "
            f"bundled model, one trained with the network {', '.join(sorted(UNEVEN))} on slices "
            "that are point samples, or an interpolation."
        )


def too_wide(grid: AxialGrid, gap: float) -> tuple[int, ...]:
    """Gaps wider than any that a network is asked to fill; k lies between slices k and k + 1."""
    widths = np.array(grid.widths(gap) or ())
    return tuple(np.flatnonzero(widths > MAX_FACTOR).tolist())


def _of_uneven(
    grid: AxialGrid, job: SuperResolveJob, volume: Volume, model: Model | None
) -> Iterator[str]:
    mean, gap = volume.voxel_size.z, volume.voxel_size.anisotropy
    apart, widths = np.array(grid.widths(mean)), np.array(grid.widths(gap))
    if job.keep_measured and not grid.is_integer:
        raise InputError(
            f"Only {grid.num_copied} of {grid.num_slices} measured slices fall on output slices "
            f"{mean / grid.factor:g} nm apart, and no factor moves the others there; leave "
            "keep_measured out."
        )
    yield (
        f"Slices stand {apart.min():g} to {apart.max():g} nm apart, as the table says; "
        f"{grid.num_copied} of {grid.num_slices} fall on the output grid and return unchanged, the "
        "others count where they stand."
    )
    if model is None:
        return
    if wide := too_wide(grid, gap):
        yield (
            f"{len(wide)} of the gaps are wider than {MAX_FACTOR:g} pixels (the first after slice "
            f"{wide[0]}), which no network has practised"
            + ("; the result is linear interpolation there." if job.fall_back else ".")
        )
    low, high = model.card.gap_range
    unknown = widths[(widths > high + _WHOLE) & (widths <= MAX_FACTOR)]
    if len(unknown):
        yield (
            f"{len(unknown)} of the gaps are up to {unknown.max():g} pixels wide, but the model "
            f"has practised {low:g} to {high:g}."
        )
