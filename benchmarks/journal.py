"""What it costs that a run can be killed at any time: journal, checksums, fsync.

nice -n 5 python benchmarks/journal.py [RUNS]

Every 8th slice of a FIB-25 sample of 250^3, by the bundled model: in 64 shards of 64 voxels, the
smallest there are, and in shards as they are planned. A row is one run: the time within those
calls, and their share of its time. They are made while the next shard is computed, so that less
than their time is added to a run: one whose fsync does nothing follows each.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import print_table, truth_and_stack
from zarr.codecs import ZstdCodec

from napari_d2r.io import OmeZarrOutput, open_volume
from napari_d2r.io._journal import Journal
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.stages import super_resolve
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume


class Timer:
    """Adds up the seconds within a function, and how often it was called."""

    def __init__(self, owner, name: str) -> None:
        self.owner, self.name, self.real = owner, name, getattr(owner, name)
        self.seconds = self.calls = 0

    def __enter__(self):
        def timed(*args, **kwargs):
            began = time.perf_counter()
            try:
                return self.real(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began
                self.calls += 1

        setattr(self.owner, self.name, timed)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(self.owner, self.name, self.real)


def run(stack: Volume, shard: int | None) -> tuple[float, Path]:
    """Seconds of a run once it is planned, and its result."""
    output = Path(tempfile.mkdtemp(dir=ROOM)) / "out.ome.zarr"
    plan = resolve_super_resolve(SuperResolveJob(shard=shard, engine="torch"), stack, output)
    began = time.perf_counter()
    for _ in run_super_resolve(plan):
        pass
    return time.perf_counter() - began, output


def checksum_seconds(result: Path) -> float:
    """What the checksums of all chunks take: compressing with them, less without, at best."""
    values = open_volume(result).read()
    chunks = [
        np.ascontiguousarray(values[z : z + 64, y : y + 64, x : x + 64])
        for z in range(0, values.shape[0], 64)
        for y in range(0, values.shape[1], 64)
        for x in range(0, values.shape[2], 64)
    ]
    best = {}
    for has_checksum in (False, True):
        codec = ZstdCodec(level=1, checksum=has_checksum)._zstd_codec
        times = []
        for _ in range(5):
            began = time.perf_counter()
            for chunk in chunks:
                codec.encode(chunk)
            times.append(time.perf_counter() - began)
        best[has_checksum] = min(times)
    return max(0.0, best[True] - best[False])


def main(runs: int) -> None:
    _, stack = truth_and_stack("fib25/fib25_training_sample1", 8)
    rows = []
    for shard in [64] * runs + [None] * runs:
        with (
            Timer(os, "fsync") as sync,
            Timer(Journal, "add") as journal,
            Timer(super_resolve, "identity_of") as identity,
            Timer(OmeZarrOutput, "put") as put,
        ):
            seconds, result = run(stack, shard)
        checks = checksum_seconds(result)
        real, os.fsync = os.fsync, lambda handle: None
        try:
            without, _ = run(stack, shard)
        finally:
            os.fsync = real
        share = (sync.seconds + identity.seconds + checks) / seconds
        parts = (sync.seconds, journal.seconds, identity.seconds, checks)
        row = [f"{put.calls}", f"{seconds:.1f}", f"{sync.calls}"]
        row += [f"{1000 * part:.0f}" for part in parts]
        rows.append([*row, f"{100 * share:.1f} %", f"{seconds / without:.2f}"])
    header = ["shards", "run, s", "fsyncs", "their ms", "journal, with its fsync, ms"]
    header += ["hash of the input, ms", "checksums, ms", "share", "to a run without fsync"]
    print_table(header, rows)


with tempfile.TemporaryDirectory(prefix="journal-") as ROOM:
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
