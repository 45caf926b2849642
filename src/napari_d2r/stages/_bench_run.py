"""The whole of super-resolution for a bench: on the device alone, into the store, and all of it."""

from __future__ import annotations

import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_d2r.inference import (
    CHUNK,
    GapRequest,
    choose_shard,
    log2_of,
    synchronize,
    to_stored,
)
from napari_d2r.io import create_output
from napari_d2r.jobs import BlockWritten, Device, StageStarted, SuperResolveJob
from napari_d2r.samples import make_phantom
from napari_d2r.stages._bench_report import WholeRun
from napari_d2r.stages.super_resolve import (
    SuperResolvePlan,
    resolve_super_resolve,
    run_super_resolve,
)
from napari_d2r.volumes import Volume, VoxelSize

__all__ = ["whole_run"]

_LARGE = (2048, 2048, 2048)  # for which the halo factor is told
_SEED = 0


def whole_run(device: Device, shape: tuple[int, int, int], gap: int) -> WholeRun:
    """`super-resolve` with the default model of a phantom of which every ``gap``-th slice is kept.

    ``shape`` is that of the result.
    """
    volume = Volume(make_phantom(shape, seed=_SEED)[::gap], VoxelSize(10 * gap, 10, 10), "phantom")
    with tempfile.TemporaryDirectory() as folder:
        plan = resolve_super_resolve(
            SuperResolveJob(device=device), volume, Path(folder) / "a.ome.zarr"
        )
        device_s = min(_on_the_device(plan) for _ in range(2))
        began = shards_begin = time.perf_counter()
        for event in run_super_resolve(plan):
            if isinstance(event, StageStarted) and event.title == "super-resolve":
                shards_begin = time.perf_counter()
            elif isinstance(event, BlockWritten):
                store_s = time.perf_counter() - shards_begin
        seconds = time.perf_counter() - began
        writer = writer_rate(Path(folder) / "b.ome.zarr")
    alone = plan.shard.voxels_per_s / plan.shard.efficiency
    large = choose_shard(_LARGE, gap, plan.predictor.halo, alone, plan.job.shard_seconds)
    return WholeRun(
        shape=plan.output_shape,
        shard=large.shape,
        engine=plan.engine,
        halo_factor=1 / large.efficiency,
        device_s=device_s,
        store_s=store_s,
        seconds=seconds,
        writer_voxels_per_s=writer,
    )


@torch.inference_mode()
def _on_the_device(plan: SuperResolvePlan) -> float:
    """Seconds to predict and round all shards from slices that are there, and leave them there."""
    volume, halo, grid = plan.volume, plan.predictor.halo, plan.grid
    slices = torch.from_numpy(plan.intensity.to_unit(volume.read())).to(plan.device)
    inner = round(grid.factor) - 1
    depths = torch.arange(1, inner + 1) / (inner + 1)
    num_gaps = max(1, plan.shard.shape[0] // round(grid.factor))
    synchronize(plan.device)
    began = time.perf_counter()
    _, height, width = volume.shape
    _, rows, columns = plan.shard.shape
    for first, top, left in product(
        range(0, volume.shape[0] - 1, num_gaps), range(0, height, rows), range(0, width, columns)
    ):
        last = min(first + num_gaps, volume.shape[0] - 1)
        z, y, x = (max(0, a - h) for a, h in zip((first, top, left), _reach(plan), strict=True))
        y, x = y - y % halo.stride, x - x % halo.stride
        slab = slices[
            z : last + 1 + halo.slices,
            y : top + rows + halo.lateral,
            x : left + columns + halo.lateral,
        ]
        request = GapRequest(
            first - z, depths.expand(last - first, -1), log2_of(plan.gap), (z, y, x)
        )
        filled = plan.predictor.predict(slab, request)
        kept = filled[..., top - y :, left - x :][..., :rows, :columns]
        to_stored(kept, plan.intensity, volume.dtype)
    synchronize(plan.device)
    return time.perf_counter() - began


def _reach(plan: SuperResolvePlan) -> tuple[int, int, int]:
    halo = plan.predictor.halo
    return halo.slices, halo.lateral, halo.lateral


def writer_rate(path: Path) -> float:
    """Voxels per second into a shard of OME-Zarr; noise, which compresses least."""
    values: NDArray[np.uint8] = np.random.default_rng(_SEED).integers(
        0, 255, (2 * CHUNK, 4 * CHUNK, 4 * CHUNK), dtype=np.uint8
    )
    output = create_output(
        path,
        shape=values.shape,
        dtype=values.dtype,
        voxel_size=VoxelSize(10, 10, 10),
        identity="bench",
        shard=values.shape,
    )
    try:
        began = time.perf_counter()
        output.write(output.shards()[0], values)
        return values.size / (time.perf_counter() - began)
    finally:
        output.release()
