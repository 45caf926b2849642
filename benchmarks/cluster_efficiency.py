"""How busy 64 workers are kept by a 10 TB job: a simulation with recorded times of shards.

python benchmarks/cluster_efficiency.py [STACK]

First a run in this process records how long shards take to be computed and to be written; then a
simulation, event by event, draws from these times. What it assumes stands in `Cluster`, and
docs/cluster.md explains it. STACK is an image file; without one, a phantom. Prints a table.
"""

import heapq
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _common import print_table

from napari_d2r.io import OmeZarrOutput, open_volume
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.samples import phantom_sample
from napari_d2r.stages import _fill
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume

JOB_BYTES, SHARD_BYTES = 10e12, 2**24  # a shard is the largest that a plan chooses
EDGE = 128  # of the shards that are recorded; eight make one of the job


@dataclass(frozen=True)
class Cluster:
    """What is assumed; seconds, and bytes per second."""

    workers: int = 64
    begin_within: float = 60  # jobs leave the queue
    warm_up: float = 30  # import, network, kernels
    hand_out: float = 0.015  # scheduler, network and a synced line of the journal, one by one
    bandwidth: float = 1e9  # of the file system, for all workers together
    slow_share: float = 0.01  # of the shards take
    slow_factor: float = 5  # times as long
    mean_life: float = 24 * 3600  # until a worker dies, and what it computed last is lost
    replaced_after: float = 120


@dataclass(frozen=True)
class Recorded:
    """Seconds of shards, and the mean length of their files."""

    compute: np.ndarray
    write: np.ndarray
    stored_bytes: float


def recorded(stack: Volume) -> Recorded:
    """Super-resolve a stack by the bundled model, and time what a worker does for a shard."""
    computed, written, sizes = [], [], []
    put, fill_in_parts = OmeZarrOutput.put, _fill.fill_in_parts

    def timed_fill(*arguments: object) -> tuple[object, int | None]:
        began = time.perf_counter()
        arrived, edge = fill_in_parts(*arguments)
        values = arrived()
        computed.append(time.perf_counter() - began)
        return (lambda: values), edge

    def timed_put(*arguments: object) -> int:
        began = time.perf_counter()
        sizes.append(put(*arguments))
        written.append(time.perf_counter() - began)
        return sizes[-1]

    _fill.fill_in_parts, OmeZarrOutput.put = timed_fill, timed_put
    try:
        with tempfile.TemporaryDirectory() as folder:
            job = SuperResolveJob(engine="torch", shard=EDGE)
            plan = resolve_super_resolve(job, stack, Path(folder) / "out.ome.zarr")
            for _ in run_super_resolve(plan):
                pass
    finally:
        _fill.fill_in_parts, OmeZarrOutput.put = fill_in_parts, put
    return Recorded(np.array(computed), np.array(written), float(np.mean(sizes)))


def played(times: Recorded, cluster: Cluster, seed: int = 0) -> tuple[float, float, int]:
    """Share of all workers' time that went into shards that count; hours; shards begun again.

    From the moment the first worker is asked for to the end of the last shard. A worker holds one
    shard in the making and one that waits, so that the next one is handed out while it computes.
    """
    rng = np.random.default_rng(seed)
    parts = SHARD_BYTES // EDGE**3
    num_shards, num_begun, num_done = int(JOB_BYTES / SHARD_BYTES), 0, 0
    computing = rng.choice(times.compute, (num_shards, parts)).sum(1)
    computing[rng.random(num_shards) < cluster.slow_share] *= cluster.slow_factor
    writing = rng.choice(times.write, (num_shards, parts)).sum(1)
    useful = handed_out = stored = last = 0.0
    joins = rng.uniform(0, cluster.begin_within, cluster.workers) + cluster.warm_up
    dies = joins + rng.exponential(cluster.mean_life, cluster.workers)
    arrived = joins.tolist()  # when the next shard of each worker is in its hands
    computed: dict[int, tuple[float, float]] = {}  # by worker: when its shard began, its write
    events = [(joins[worker], worker) for worker in range(cluster.workers)]
    heapq.heapify(events)
    while num_done < num_shards:
        moment, worker = heapq.heappop(events)
        if worker not in computed:  # it begins a shard
            begins = max(moment, arrived[worker])
            compute, write = computing[num_begun % num_shards], writing[num_begun % num_shards]
            num_begun += 1
            handed_out = max(handed_out, begins) + cluster.hand_out
            arrived[worker] = handed_out
            computed[worker] = (begins, write)
            heapq.heappush(events, (begins + compute, worker))
            continue
        begins, write = computed.pop(worker)
        stored = max(stored, moment) + parts * times.stored_bytes / cluster.bandwidth
        ends = max(moment + write, stored)
        if ends > dies[worker]:
            ends = arrived[worker] = dies[worker] + cluster.replaced_after + cluster.warm_up
            dies[worker] = ends + rng.exponential(cluster.mean_life)
        else:
            num_done += 1
            useful += moment + write - begins
            last = max(last, ends)
        heapq.heappush(events, (ends, worker))
    return useful / (cluster.workers * last), last / 3600, num_begun - num_done


def main(stack: Volume) -> None:
    times, usual = recorded(stack), Cluster()
    print(
        f"{len(times.compute)} shards of {EDGE} voxels: compute {times.compute.mean():.2f} s "
        f"({times.compute.min():.2f} to {times.compute.max():.2f}), write {times.write.mean():.3f} "
        f"s, {times.stored_bytes / 1e6:.2f} MB each"
    )
    faster = replace(times, compute=times.compute / 30)
    cases = {
        "as assumed": (times, usual),
        "workers live 2 hours": (times, replace(usual, mean_life=7200)),
        "file system of 100 MB/s": (times, replace(usual, bandwidth=1e8)),
        "workers 30 times as fast": (faster, usual),
    }
    rows = []
    for name, (recording, cluster) in cases.items():
        busy, hours, again = played(recording, cluster)
        rows.append([name, f"{100 * busy:.1f} %", f"{hours:.1f}", str(again)])
        print(rows[-1], file=sys.stderr, flush=True)
    print_table(["", "busy", "hours", "shards begun again"], rows)


if __name__ == "__main__":
    main(open_volume(sys.argv[1]) if len(sys.argv) > 1 else phantom_sample()[0])
