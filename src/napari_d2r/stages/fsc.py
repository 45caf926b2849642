"""Fourier shell correlation of two volumes, ``napari-d2r fsc a.tif b.tif``, or within one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.jobs import (
    CancelToken,
    Event,
    Finished,
    Outcome,
    Progress,
    StageStarted,
    Started,
    Warned,
)
from napari_d2r.metrics import Steps, one_volume_curve_steps, resolution_curve_steps
from napari_d2r.stages._common_grid import (
    CommonGrid,
    Placed,
    common_grid,
    read_linear_on,
    read_on,
)
from napari_d2r.stages._comparison import (
    Stopped,
    comparison_box,
    load_box,
    require_content,
    require_same_voxel_size,
    told,
)
from napari_d2r.stages._fsc_report import DIRECTIONS, FSCReport
from napari_d2r.volumes import Volume, centred_box

__all__ = [
    "DIRECTIONS",
    "FSCReport",
    "Placed",
    "fsc",
    "fsc_placed_stream",
    "fsc_stream",
    "one_volume_stream",
]

_OF_ONE_VOLUME = (
    "One volume is correlated with itself: this tells detail from noise in a measured volume. "
    "Interpolated and predicted voxels agree with each other, right or wrong; of these it says "
    "nothing."
)


def fsc_stream(
    first: Volume,
    second: Volume,
    *,
    max_edge: int | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """Correlate two volumes of one shape; ends in ``Finished(result=FSCReport)``.

    ``max_edge`` is as for `fsc_placed_stream`; volumes of more than 2**28 voxels are
    compared in a central cube anyway.

    Raises
    ------
    InputError
        When shapes or voxel sizes differ, or a volume is constant or not finite.
    """
    for volume in (first, second):
        volume.require_single_channel()
    if first.shape != second.shape:
        raise InputError(
            f"Shapes differ: {first.name} has {first.shape}, {second.name} has {second.shape}; "
            "crop both to the same box first."
        )
    require_same_voxel_size(first, second)
    # Files say little about where they stand: voxel 0 of one is voxel 0 of the other.
    second = replace(second, voxel_size=first.voxel_size)
    box = comparison_box(first.shape)
    z, y, x = (part.stop - part.start for part in box)
    edges = zip(box, first.voxel_size, strict=True)
    oz, oy, ox = (part.start * edge for part, edge in edges)
    grid = CommonGrid((oz, oy, ox), first.voxel_size, (z, y, x))
    grid = grid if max_edge is None else grid.central(max_edge)
    is_large = max_edge is None and grid.shape != first.shape
    pair = Placed(first), Placed(second)
    yield from _measure(*pair, None, grid, first.shape, cancel, is_large=is_large)


def fsc_placed_stream(
    first: Placed,
    second: Placed,
    *,
    source: Placed | None = None,
    max_edge: int | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[Event]:
    """Correlate two volumes where both have voxels; ends in ``Finished(result=FSCReport)``.

    Parameters
    ----------
    first, second
        A result and what it is compared with; the curve is the same the other way round.
    source
        The stack that ``first`` was made from: its aligned linear interpolation is
        correlated with ``second`` over the same voxels.
    max_edge
        Compare at most the middle so many voxels along each axis.

    Raises
    ------
    InputError
        When the volumes have no voxels in common places, or one is constant or not finite.
    """
    for placed in (first, second) if source is None else (first, second, source):
        placed.volume.require_single_channel()
    shared = common_grid(first, second)
    if source is not None:
        shared = shared.within(source)
    grid = shared if max_edge is None else shared.central(max_edge)
    yield from _measure(first, second, source, grid, shared.shape, cancel)


def fsc(first: Volume, second: Volume) -> FSCReport:
    """Correlate two volumes and return the report; see `fsc_stream`."""
    *_, last = fsc_stream(first, second)
    assert isinstance(last, Finished) and isinstance(last.result, FSCReport)
    return last.result


def one_volume_stream(
    volume: Volume, *, max_edge: int | None = None, cancel: CancelToken | None = None
) -> Iterator[Event]:
    """Correlate the voxels of one volume with each other; ends in ``Finished(result=FSCReport)``.

    For measured volumes: see `napari_d2r.metrics.one_volume_curve_steps`. ``max_edge`` is as for
    `fsc_placed_stream`; of more than 2**28 voxels a central cube is taken anyway.

    Raises
    ------
    InputError
        When the volume is constant, not finite or has fewer than 8 voxels along an axis.
    """
    volume.require_single_channel()
    if max_edge is None:
        z, y, x = comparison_box(volume.shape)
    else:
        z, y, x = centred_box(volume.shape, (max_edge,) * 3)
    yield Started("fsc")
    yield Warned(_OF_ONE_VOLUME)
    yield StageStarted("Correlating")
    values = load_box(volume, (z, y, x))
    try:
        steps = one_volume_curve_steps(values, volume.voxel_size)
        curves = yield from told(steps, 0, 1, cancel)
    except Stopped:
        yield Finished(Outcome.CANCELLED)
        return
    yield Progress(1, 1, "steps")
    report = FSCReport(
        first=volume.name,
        second="",
        voxel_size=volume.voxel_size,
        start=(z.start, y.start, x.start),
        shape=(values.shape[0], values.shape[1], values.shape[2]),
        curves=curves,
        is_whole=values.shape == volume.shape,
    )
    yield Finished(Outcome.COMPLETED, report)


def _measure(
    first: Placed,
    second: Placed,
    source: Placed | None,
    grid: CommonGrid,
    shared: tuple[int, int, int],
    cancel: CancelToken | None,
    *,
    is_large: bool = False,
) -> Iterator[Event]:
    # Reading counts one step per volume, correlating two per pair.
    total = 4 if source is None else 7
    yield Started("fsc")
    if is_large:
        yield Warned(f"The volumes are large: a central box of {grid.shape} voxels is compared.")
    yield StageStarted("Correlating")
    try:
        a = yield from _loaded(read_on(grid, first), first, 0, total, cancel)
        b = yield from _loaded(read_on(grid, second), second, 1, total, cancel)
        steps = resolution_curve_steps(a, b, grid.voxel_size)
        curves = yield from told(steps, 2, total, cancel)
        del a
        linear = None
        if source is not None:
            steps_of_source = read_linear_on(grid, source)
            a = yield from _loaded(steps_of_source, source, 4, total, cancel)
            steps = resolution_curve_steps(a, b, grid.voxel_size)
            linear = yield from told(steps, 5, total, cancel)
    except Stopped:
        yield Finished(Outcome.CANCELLED)
        return
    yield Progress(total, total, "steps")
    report = FSCReport(
        first=first.volume.name,
        second=second.volume.name,
        voxel_size=grid.voxel_size,
        start=_start(grid, first),
        shape=grid.shape,
        curves=curves,
        source="" if source is None else source.volume.name,
        linear=linear,
        is_whole=grid.shape == shared,
    )
    yield Finished(Outcome.COMPLETED, report)


def _loaded(
    steps: Steps[NDArray[Any]],
    placed: Placed,
    first: float,
    total: float,
    cancel: CancelToken | None,
) -> Generator[Event, None, NDArray[Any]]:
    values = yield from told(steps, first, total, cancel)
    require_content(values, placed.volume.name)
    return values


def _start(grid: CommonGrid, placed: Placed) -> tuple[int, int, int]:
    """Where the compared box begins, in voxels of a volume."""
    pairs = zip(grid.origin, placed.origin, placed.volume.voxel_size, strict=True)
    z, y, x = (round((at - zero) / edge) for at, zero, edge in pairs)
    return z, y, x
