"""Every shard of a store that is not done yet, computed here or elsewhere, listed as it is put."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from numpy.typing import NDArray

from napari_d2r.inference import Box, Interrupted, begin_shard, fill_in_parts
from napari_d2r.io import OmeZarrOutput, Shard
from napari_d2r.jobs import BlockWritten, CancelToken, Event, Outcome, Progress, Warned, Workers
from napari_d2r.stages._ahead import made_ahead
from napari_d2r.stages._beats import CountingToken
from napari_d2r.stages._super_resolve_plan import SuperResolvePlan

__all__ = ["Compute", "Put", "compute_here", "fill_shards"]

# Shards as they are put into the store: the bytes of each, and whether memory was short. Where
# other processes put them, also how many there are, whenever that changes.
Put = tuple[Shard, int, bool]
Compute = Callable[[Iterator[Shard], CancelToken], Generator[Put | Workers, None, None]]


def compute_here(
    plan: SuperResolvePlan, output: OmeZarrOutput, *, half_widths: bool = False
) -> Compute:
    """In this process, one after the other; the last is written while the next is computed."""
    begin = partial(begin_shard, half_widths=True) if half_widths else begin_shard
    fitting: int | None = None  # lateral edge above which memory has run out

    def compute(shards: Iterator[Shard], stop: CancelToken) -> Generator[Put, None, None]:
        def part(box: Box) -> Callable[[], NDArray[Any]]:
            return begin(
                plan.volume,
                plan.grid,
                box,
                plan.predictor,
                plan.intensity,
                plan.gap,
                plan.device,
                stop,
            )

        def fill(shard: Shard) -> tuple[Callable[[], NDArray[Any]], bool]:
            nonlocal fitting
            arrived, fitting = fill_in_parts(part, Box(shard.start, shard.stop), fitting)
            return arrived, fitting is not None

        with closing(made_ahead(shards, fill, stop)) as filled:
            for shard, (arrived, is_cramped) in filled:
                yield shard, output.put(shard, arrived()), is_cramped

    return compute


def fill_shards(
    output: OmeZarrOutput,
    compute: Compute,
    cancel: CancelToken | None,
    *,
    ends: float = math.inf,
    first: tuple[float, float, float] | None = None,
    is_shown: bool = True,
) -> Generator[Event, None, tuple[Outcome, int]]:
    """Write every shard that is not done yet; returns how it ended and the voxels written.

    None is begun once `time.perf_counter` is past ``ends``. Those closest to ``first`` (z, y, x
    in output voxels) come first. What is not shown is told as parts, without its blocks.
    """
    stop = CountingToken(cancel)

    def in_time(shards: list[Shard]) -> Iterator[Shard]:
        for shard in shards:
            if time.perf_counter() > ends:
                return
            yield shard

    shards, finished = output.shards(), output.done
    waiting = [shard for shard in shards if shard.index not in finished]
    if first is not None:
        waiting.sort(key=lambda shard: _distance(shard, first))
    started, num_written, count, was_cramped = time.perf_counter(), 0, 0, False
    unit = "shards" if is_shown else "parts"
    yield Progress(len(finished), len(shards), unit)
    with closing(compute(in_time(waiting), stop)) as computed:
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
                eta = (time.perf_counter() - started) / count * (len(waiting) - count)
                yield Progress(len(finished) + count, len(shards), unit, eta_s=eta)
                if cancel:
                    return Outcome.CANCELLED, num_written
        except Interrupted:
            return Outcome.CANCELLED, num_written
    if count == len(waiting):
        return Outcome.COMPLETED, num_written
    return Outcome.CANCELLED if cancel else Outcome.OUT_OF_TIME, num_written


def _distance(shard: Shard, point: tuple[float, float, float]) -> float:
    """Squared distance in voxels from a point to a shard; 0 inside."""
    axes = zip(point, shard.start, shard.stop, strict=True)
    return sum(max(start - at, at - stop, 0.0) ** 2 for at, start, stop in axes)
