"""How busy 64 workers are kept by a 10 TB job: a simulation with recorded times of shards.

python benchmarks/cluster_efficiency.py [STACK]

First a run in this process records how long shards take to be computed and to be written, those of
coarser levels too; then a simulation, event by event, draws from these times, level by level. What
it assumes stands in `Cluster`, and docs/cluster.md explains it. STACK is an image file; without
one, a phantom. Prints a table.
"""

import heapq
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from _common import print_table

from napari_d2r.io import OmeZarrOutput, create_output, open_volume
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.samples import phantom_sample
from napari_d2r.stages import _fill
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume, VoxelSize

JOB_BYTES, SHARD_BYTES = 10e12, 2**24  # a shard is the largest that a plan chooses
WHOLE = 256  # the edge of such a shard
EDGE = 128  # of the shards that are recorded; eight make one of the job
COARSER = 8  # shards of a level make one of the next


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
    """Seconds of shards of `EDGE`, of coarser ones of `WHOLE`, and the mean length of a file."""

    compute: np.ndarray
    write: np.ndarray
    coarsen: np.ndarray
    write_coarser: np.ndarray
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
            _fill.fill_in_parts, OmeZarrOutput.put = fill_in_parts, put
            values = open_volume(plan.output).read()[:WHOLE, :WHOLE, :WHOLE]
            coarser = recorded_coarser(values, Path(folder) / "coarser.ome.zarr")
    finally:
        _fill.fill_in_parts, OmeZarrOutput.put = fill_in_parts, put
    return Recorded(np.array(computed), np.array(written), *coarser, float(np.mean(sizes)))


def recorded_coarser(values: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds to make a shard of a coarser level of eight others, and to write it; five times."""
    cube = np.pad(values, [(0, WHOLE - length) for length in values.shape], "wrap")
    output = create_output(
        path,
        shape=(2 * WHOLE,) * 3,
        dtype=cube.dtype,
        voxel_size=VoxelSize(10, 10, 10),
        identity="",
        shard=(WHOLE,) * 3,
    )
    for shard in output.shards():
        output.write(shard, cube)
    ((shard,),) = output.coarser_shards()
    made, written = [], []
    for _ in range(5):
        began = time.perf_counter()
        mean = output.coarsened(shard)
        made.append(time.perf_counter() - began)
        output.put(shard, mean)
        written.append(time.perf_counter() - began - made[-1])
    output.discard()
    return np.array(made), np.array(written)


@dataclass
class Level:
    """The shards of a level: seconds of each, and the bytes that go through the file system."""

    compute: np.ndarray
    write: np.ndarray
    bytes_each: float
    waiting: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = list(range(len(self.compute)))


def levels(times: Recorded, cluster: Cluster, rng: np.random.Generator) -> list[Level]:
    """The level that is computed, and those that are made of the one before."""
    parts, count = SHARD_BYTES // EDGE**3, int(JOB_BYTES / SHARD_BYTES)
    stored = parts * times.stored_bytes
    compute = rng.choice(times.compute, (count, parts)).sum(1)
    found = [Level(compute, rng.choice(times.write, (count, parts)).sum(1), stored)]
    while count > 1:
        count = -(-count // COARSER)
        made, written = rng.choice(times.coarsen, count), rng.choice(times.write_coarser, count)
        found.append(Level(made, written, (COARSER + 1) * stored))
    for level in found:
        level.compute[rng.random(len(level.compute)) < cluster.slow_share] *= cluster.slow_factor
    return found


def played(times: Recorded, cluster: Cluster, seed: int = 0) -> tuple[float, float, int]:
    """Share of all workers' time that went into shards that count; hours; shards begun again.

    From the moment the first worker is asked for to the end of the last shard. A worker holds one
    shard in the making and one that waits, so that the next one is handed out while it computes. No
    shard of a level is begun before those of the level before are all done.
    """
    rng = np.random.default_rng(seed)
    useful = handed_out = stored = ended = 0.0
    num_lost = 0
    joins = rng.uniform(0, cluster.begin_within, cluster.workers) + cluster.warm_up
    dies = joins + rng.exponential(cluster.mean_life, cluster.workers)
    arrived = joins.copy()  # when the next shard of each worker is in its hands
    free = [(moment, worker) for worker, moment in enumerate(joins)]
    for level in levels(times, cluster, rng):
        events = [(max(moment, ended), worker) for moment, worker in free]
        heapq.heapify(events)
        free, making = [], {}  # by worker: its shard, and when that began
        while events:
            moment, worker = heapq.heappop(events)
            if worker not in making:
                if not level.waiting:
                    free.append((moment, worker))
                    continue
                begins = max(moment, arrived[worker])
                making[worker] = (level.waiting.pop(), begins)
                handed_out = max(handed_out, begins) + cluster.hand_out
                arrived[worker] = handed_out
                heapq.heappush(events, (begins + level.compute[making[worker][0]], worker))
                continue
            shard, begins = making.pop(worker)
            write = level.write[shard]
            stored = max(stored, moment) + level.bytes_each / cluster.bandwidth
            ends = max(moment + write, stored)
            if ends > dies[worker]:
                num_lost += 1
                level.waiting.append(shard)
                if free:
                    idle, other = free.pop()
                    heapq.heappush(events, (max(idle, dies[worker]), other))
                ends = arrived[worker] = dies[worker] + cluster.replaced_after + cluster.warm_up
                dies[worker] = ends + rng.exponential(cluster.mean_life)
            else:
                useful += moment + write - begins
                ended = max(ended, ends)
            heapq.heappush(events, (ends, worker))
    return useful / (cluster.workers * ended), ended / 3600, num_lost


def main(stack: Volume) -> None:
    times, usual = recorded(stack), Cluster()
    print(
        f"{len(times.compute)} shards of {EDGE} voxels: compute {times.compute.mean():.2f} s "
        f"({times.compute.min():.2f} to {times.compute.max():.2f}), write {times.write.mean():.3f} "
        f"s, {times.stored_bytes / 1e6:.2f} MB each\nof a coarser level, {WHOLE} voxels: make "
        f"{times.coarsen.mean():.2f} s, write {times.write_coarser.mean():.2f} s"
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
