"""Every shard of a store that is not done yet, made here or elsewhere, listed as it is put.

A shard of level 0 is computed from the stack, one of a coarser level from the level before it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from numpy.typing import NDArray

from napari_d2r.inference import Box, Interrupted, begin_shard, fill_in_parts
from napari_d2r.io import OmeZarrOutput, Shard
from napari_d2r.jobs import BlockWritten, CancelToken, Event, Outcome, Progress, Warned, Workers
from napari_d2r.stages._ahead import made_ahead
from napari_d2r.stages._beats import CountingToken
from napari_d2r.stages._guard import with_fallback
from napari_d2r.stages._half_widths import HalfWidths
from napari_d2r.stages._super_resolve_plan import SuperResolvePlan

__all__ = ["Compute", "Put", "compute_here", "fill_shards"]

# Shards as they are put into the store: the bytes of each, and whether memory was short. Where
# other processes put them, also how many there are, whenever that changes.
Put = tuple[Shard, int, bool]
Compute = Callable[[Iterator[Shard], CancelToken], Generator[Put | Workers, None, None]]


def compute_here(
    plan: SuperResolvePlan,
    damaged: tuple[int, ...],
    output: OmeZarrOutput,
    half_widths: HalfWidths | None = None,
) -> Compute:
    """In this process, one after the other; the last is written while the next is computed."""
    predictor, begin = with_fallback(plan.predictor, damaged), begin_shard
    if half_widths is not None:
        predictor, begin = half_widths.of(plan.predictor), partial(begin_shard, half_widths=True)
    fitting: int | None = None  # lateral edge above which memory has run out

    def compute(shards: Iterator[Shard], stop: CancelToken) -> Generator[Put, None, None]:
        def part(box: Box) -> Callable[[], NDArray[Any]]:
            return begin(
                plan.volume,
                plan.grid,
                box,
                predictor,
                plan.intensity,
                plan.gap,
                plan.device,
                stop,
            )

        def fill(shard: Shard) -> tuple[Callable[[], NDArray[Any]], bool]:
            nonlocal fitting
            if shard.level > 0:
                values = output.coarsened(shard)
                return (lambda: values), False
            arrived, fitting = fill_in_parts(part, Box(shard.start, shard.stop), fitting)
            return arrived, fitting is not None

        with closing(made_ahead(shards, fill, stop)) as filled:
            for shard, (arrived, is_cramped) in filled:
                yield shard, output.put(shard, arrived()), is_cramped

    return compute


def fill_shards(
    output: OmeZarrOutput,
    passes: Sequence[list[Shard]],
    compute: Compute,
    cancel: CancelToken | None,
    *,
    ends: float = math.inf,
    first: tuple[float, float, float] | None = None,
    is_shown: bool = True,
) -> Generator[Event, None, tuple[Outcome, int]]:
    """Write every shard that is not done yet; returns how it ended and the voxels written.

    None is begun before all of the pass before are done, or once `time.perf_counter` is past
    ``ends``. Those closest to ``first`` (z, y, x in output voxels) come first. What is not shown is
    told as parts, without its blocks.
    """

    def in_time(shards: list[Shard]) -> Iterator[Shard]:
        for shard in shards:
            if time.perf_counter() > ends:
                return
            yield shard

    def in_passes() -> Generator[Put | Workers, None, None]:
        for shards in waiting:
            if cancel or time.perf_counter() > ends:
                return
            yield from compute(in_time(shards), CountingToken(cancel))

    waiting = [[shard for shard in shards if not output.is_done(shard)] for shards in passes]
    if first is not None:
        for shards in waiting:
            shards.sort(key=lambda shard: _distance(shard, first))
    total, num_waiting = sum(map(len, passes)), sum(map(len, waiting))
    started, num_written, count, was_cramped = time.perf_counter(), 0, 0, False
    unit = "shards" if is_shown else "parts"
    if total:
        yield Progress(total - num_waiting, total, unit)
    with closing(in_passes()) as computed:
        try:
            for put in computed:
                if isinstance(put, Workers):
                    yield put
                    continue
                shard, num_bytes, is_cramped = put
                count += 1
                if is_cramped and not was_cramped:
                    yield Warned(
                        "Memory ran out, so shards are now computed in smaller parts: the result "
                        "is the same, but it takes longer."
                    )
                was_cramped = was_cramped or is_cramped
                output.note(shard, num_bytes)
                num_written += math.prod(shard.shape)
                if is_shown:
                    yield BlockWritten(shard.start, shard.stop)
                eta = (time.perf_counter() - started) / count * (num_waiting - count)
                yield Progress(total - num_waiting + count, total, unit, eta_s=eta)
                if cancel:
                    return Outcome.CANCELLED, num_written
        except Interrupted:
            return Outcome.CANCELLED, num_written
    if count == num_waiting:
        return Outcome.COMPLETED, num_written
    return Outcome.CANCELLED if cancel else Outcome.OUT_OF_TIME, num_written


def _distance(shard: Shard, point: tuple[float, float, float]) -> float:
    """Squared distance in voxels from a point to a shard; 0 inside."""
    axes = zip(point, shard.start, shard.stop, strict=True)
    return sum(max(start - at, at - stop, 0.0) ** 2 for at, start, stop in axes)
