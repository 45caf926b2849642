"""Memory while regions of a volume are super-resolved that is larger than any memory.

python benchmarks/large_volume.py PICTURE [MINUTES]

The volume has 40 GB of 16-bit voxels, which are computed when they are read and never all there.
Regions spread over it are super-resolved by the bundled model, one after the other in one process,
and its resident memory is looked at twice a second. Prints a table and draws the curve.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import psutil
from _common import print_table

import napari_d2r as d2r
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.volumes import Volume, VoxelSize, crop

REGION = (16, 256, 256)
LOOK_S = 0.5
JOB = SuperResolveJob(engine="torch", shard=128)


class Computed:
    """Bent membranes, a function of where a voxel stands."""

    shape = (1250, 4000, 4000)
    dtype = np.dtype("u2")

    def __getitem__(self, key: tuple[slice | int, ...]) -> np.ndarray:
        parts = [np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape, key, strict=True)]
        z, y, x = np.meshgrid(*(part.astype("f4") for part in parts), indexing="ij", sparse=True)
        bent = x + 9 * np.sin(y / 31) + 4 * z + 7 * np.sin(z / 5 + y / 50)
        values = np.abs(np.sin(bent / 23)) + 0.4 * np.sin(x / 11) * np.sin(y / 13) * np.sin(z / 3)
        shape = [len(p) for p, k in zip(parts, key, strict=True) if isinstance(k, slice)]
        return (20_000 * (values.clip(0, 1.2) + 0.5)).astype(self.dtype).reshape(shape)


def main(picture: Path, minutes: float) -> None:
    whole = Volume(Computed(), VoxelSize(40, 10, 10), "40 GB")
    rng, process, began = np.random.default_rng(0), psutil.Process(), time.perf_counter()
    seen: list[tuple[float, float]] = []
    marks: list[float] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(LOOK_S):
            seen.append((time.perf_counter() - began, process.memory_info().rss / 1e9))

    threading.Thread(target=look, daemon=True).start()
    num_voxels = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.perf_counter() - began < 60 * minutes:
            starts = [
                int(rng.integers(n - size)) for n, size in zip(whole.shape, REGION, strict=True)
            ]
            box = [slice(a, a + size) for a, size in zip(starts, REGION, strict=True)]
            region = crop(whole, (box[0], box[1], box[2]))
            output = Path(folder) / "out.ome.zarr"
            done = d2r.super_resolve(region, output, job=JOB, overwrite=True)
            num_voxels += done.num_written
            marks.append(time.perf_counter() - began)
            print(f"region {len(marks)} at {starts}: {seen[-1][1]:.2f} GB", file=sys.stderr)
    stop.set()
    draw(picture, seen, marks)
    settled = [memory for moment, memory in seen if moment > marks[0]]
    third = max(1, len(settled) // 3)
    rows = [
        ["regions", f"{len(marks)}"],
        ["million output voxels", f"{num_voxels / 1e6:.0f}"],
        ["minutes", f"{marks[-1] / 60:.1f}"],
        ["peak, GB", f"{max(memory for _, memory in seen):.2f}"],
        ["mean of the first third after region 1, GB", f"{np.mean(settled[:third]):.2f}"],
        ["mean of the last third, GB", f"{np.mean(settled[-third:]):.2f}"],
    ]
    print_table(["", ""], rows)


def draw(picture: Path, seen: list[tuple[float, float]], marks: list[float]) -> None:
    """Memory over time; a tick where a region ended."""
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    axes.plot(*zip(*seen, strict=True), lw=1)
    axes.plot(marks, [0] * len(marks), "|", color="black", clip_on=False, label="a region is done")
    axes.axhline(1.5, color="grey", ls="--", lw=1)
    axes.set(xlabel="seconds", ylabel="resident memory, GB", ylim=(0, 1.7))
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 5)
