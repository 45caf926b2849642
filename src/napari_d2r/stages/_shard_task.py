"""What a worker does: one shard of a plan, computed where the plan is not known.

A task travels with every shard, so it is small: neither voxels nor weights are in it. A worker
reads both from the shared file system, and keeps the model for the shards that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from distributed import get_client, get_worker
from distributed.comm import get_address_host
from numpy.typing import NDArray

from napari_d2r.checkpoints import Model, load_model
from napari_d2r.errors import InputError
from napari_d2r.inference import AxialPredictor, Box, begin_shard, fill_in_parts
from napari_d2r.io import OmeZarrOutput, Shard, SharedOutput
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.stages._device import kind_of, resolve_device
from napari_d2r.stages._engine import TORCH, is_plain, resolve_engine
from napari_d2r.stages._guard import with_fallback
from napari_d2r.stages._half_widths import HalfWidths
from napari_d2r.stages._super_resolve_plan import SuperResolvePlan, predictor_of_job
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume

__all__ = ["ShardTask", "compute_shard", "require_readable"]


def require_readable(volume: Volume) -> None:
    """Refuse voxels that are in the memory of this process only.

    Raises
    ------
    InputError
        For those.
    """
    if isinstance(volume.data, np.ndarray):
        raise InputError(
            f"{volume.name} is in memory, where other processes cannot read it; save it as "
            "OME-Zarr or TIFF first."
        )


@dataclass(frozen=True, slots=True, eq=False)
class ShardTask:
    """What a worker must know to compute any shard of a plan; small, and free of voxels."""

    job: SuperResolveJob
    volume: Volume
    model: Path | None
    weights: str
    engine: str
    device: str
    intensity: IntensityRange
    grid: AxialGrid
    gap: float
    damaged: tuple[int, ...]
    output: SharedOutput
    half_widths: HalfWidths | None
    key: str

    @classmethod
    def of(
        cls,
        plan: SuperResolvePlan,
        damaged: tuple[int, ...],
        output: OmeZarrOutput,
        half_widths: HalfWidths | None = None,
    ) -> ShardTask:
        """The task of a plan that fills ``output``."""
        model, refiner = plan.model, plan.refiner
        found: dict[str, object] = {}
        if refiner is not None:
            found["refine_with"] = refiner.path.resolve()
        if is_plain(plan.engine):
            found["engine"] = TORCH
        return cls(
            plan.job.model_copy(update=found),
            plan.volume,
            None if model is None else model.path.resolve(),
            "" if model is None else model.card.weights_sha256,
            plan.engine,
            kind_of(plan.job, plan.device),
            plan.intensity,
            plan.grid,
            plan.gap,
            damaged,
            output.shared,
            half_widths,
            f"{output.identity} {kind_of(plan.job, plan.device)} {half_widths is not None}",
        )


_ready: dict[str, tuple[AxialPredictor, torch.device]] = {}
_getting_ready = Lock()


def compute_shard(task: ShardTask, shard: Shard, sources: Mapping[Shard, int]) -> tuple[int, bool]:
    """Compute a shard and put it into the store: the length of its file, and whether memory ended.

    One of a coarser level is made of ``sources``. The model is loaded once and kept for the shards
    that follow.
    """
    if shard.level > 0:
        return task.output.put(shard, task.output.coarsened(shard, sources)), False
    with _getting_ready:
        if task.key not in _ready:
            _ready.clear()
            _ready[task.key] = _engine_of(task)
    predictor, device = _ready[task.key]

    def part(box: Box) -> Callable[[], NDArray[Any]]:
        return begin_shard(
            task.volume,
            task.grid,
            box,
            predictor,
            task.intensity,
            task.gap,
            device,
            half_widths=task.half_widths is not None,
        )

    arrived, edge = fill_in_parts(part, Box(shard.start, shard.stop))
    return task.output.put(shard, arrived()), edge is not None


def _engine_of(task: ShardTask) -> tuple[AxialPredictor, torch.device]:
    """What the process that was asked uses too; equal names of engines compute equal bytes.

    Raises
    ------
    InputError
        Where this machine has another model under that name, or cannot run the same engine.
    """
    device = _own_device(resolve_device(task.device))
    model: Model | None = None if task.model is None else load_model(task.model, device)
    if model is not None and model.card.weights_sha256 != task.weights:
        raise InputError(f"{task.model} was changed during the run; repeat it with --overwrite.")
    predictor = predictor_of_job(task.job, model)
    if model is not None:
        predictor, engine, _ = resolve_engine(
            task.job.engine,
            model,
            predictor,
            task.volume,
            task.intensity,
            task.gap,
            compiles=task.job.compile,
        )
        if engine != task.engine:
            raise InputError(
                f"A worker would compute by {engine}, and not by {task.engine} as planned; pass "
                "--engine torch, which all have."
            )
    if task.half_widths is not None:
        return task.half_widths.of(predictor), device
    return with_fallback(predictor, task.damaged), device


def _own_device(device: torch.device) -> torch.device:
    """One GPU per worker of a machine, of those that CUDA_VISIBLE_DEVICES leaves it."""
    if device.type != "cuda":
        return device
    return torch.device("cuda", _number_here() % torch.cuda.device_count())


def _number_here() -> int:
    """Of this worker: its name if that is a number, or its place among those of its machine."""
    worker = get_worker()
    if isinstance(worker.name, int):
        return worker.name
    machine = get_address_host(worker.address)
    addresses = sorted(a for a in get_client().nthreads() if get_address_host(a) == machine)
    return addresses.index(worker.address)
