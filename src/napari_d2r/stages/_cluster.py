"""Shards computed by other processes and machines, through dask.distributed.

The process that was asked keeps the journal and delivers the result; workers put whole shards
into the store. Neither voxels nor weights travel: a worker reads both from the shared file
system. What a shard becomes depends on the plan and its place only, so that it may be computed
twice, or by another worker after the first has died.
"""

from __future__ import annotations

import math
import os
import queue
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import dask
import numpy as np
import torch
import yaml
from distributed import Client, Future, KilledWorker, LocalCluster, get_client, get_worker
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError, get_address_host
from numpy.typing import NDArray

from napari_d2r.checkpoints import Model, load_model
from napari_d2r.errors import D2RError, InputError
from napari_d2r.inference import AxialPredictor, Box, Interrupted, begin_shard, fill_in_parts
from napari_d2r.io import OmeZarrOutput, Shard, SharedOutput
from napari_d2r.jobs import CancelToken, ClusterSettings, SuperResolveJob, Workers
from napari_d2r.stages._device import kind_of, resolve_device
from napari_d2r.stages._engine import TORCH, is_plain, resolve_engine
from napari_d2r.stages._fill import Put
from napari_d2r.stages._guard import with_fallback
from napari_d2r.stages._super_resolve_plan import SuperResolvePlan, predictor_of_job
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume

__all__ = ["ShardTask", "computed_by", "connected"]

_AHEAD = 2  # tasks per thread of a worker: one in the making, one waiting there
_LOOK_S = 0.2  # between two looks at the cancel token
_COUNT_S = 1  # between two looks at who is there, while no shard is finished
# A worker of ours that is silent for so long is given up, and its shards are computed elsewhere.
_SILENT_S = 60
_CLOSED_S = 60  # a cluster whose sbatch hangs is left
_ANSWER_S, _LOST_S = 15, 30  # until a scheduler is said not to be there, or not any more
# What dask raises for addresses that it cannot use, and for options of any kind.
_NO_ADDRESS = (ValueError, TypeError, RuntimeError, ImportError, AssertionError)
_NO_OPTION = (ValueError, TypeError, RuntimeError, ArithmeticError, AttributeError, LookupError)

# The length of the file of a shard and whether memory was short, or what its worker raised.
_Outcome = tuple[int, bool] | BaseException


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
    key: str

    @classmethod
    def of(
        cls, plan: SuperResolvePlan, damaged: tuple[int, ...], output: OmeZarrOutput
    ) -> ShardTask:
        """The task of a plan that fills ``output``.

        Raises
        ------
        InputError
            For voxels that are in the memory of this process only.
        """
        if isinstance(plan.volume.data, np.ndarray):
            raise InputError(
                f"{plan.volume.name} is in memory, where other processes cannot read it; save it "
                "as OME-Zarr or TIFF first."
            )
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
            f"{output.identity} {kind_of(plan.job, plan.device)}",
        )


@contextmanager
def connected(settings: ClusterSettings) -> Iterator[Client]:
    """A client of the scheduler that was asked for, or of one begun here and ended after.

    Raises
    ------
    InputError
        Where no scheduler answers at the address, the site file cannot be used, there is no SLURM
        to submit jobs to, or it refuses them.
    """
    if settings.scheduler is not None:
        try:
            client = Client(settings.scheduler, timeout=_ANSWER_S, set_as_default=False)
        except (*_NO_ADDRESS, OSError) as error:
            raise InputError(
                f"No dask scheduler answers at {settings.scheduler}; begin one with "
                "'dask scheduler', and name the address that it prints."
            ) from error
        with client:
            yield client
        return
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": f"{_SILENT_S} s"}),
        _begun(settings) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _begun(settings: ClusterSettings) -> Iterator[Any]:
    count = settings.workers or max(1, torch.cuda.device_count())
    cluster = _cluster_of(settings, count)
    try:
        if settings.kind == "slurm":
            from napari_d2r.stages._slurm import submit

            submit(cluster, count)
        yield cluster
    finally:
        with suppress(Exception):  # how the run ended counts, not how its cluster did
            cluster.close(timeout=_CLOSED_S if settings.kind == "slurm" else None)


def _cluster_of(settings: ClusterSettings, count: int) -> Any:
    """A cluster of our own: processes of this machine, or of SLURM without jobs yet."""
    if settings.kind == "slurm":
        if shutil.which("sbatch") is None:
            raise InputError(
                "This machine cannot submit jobs to SLURM, because it has no sbatch; run the "
                "command on a login node of the cluster."
            )
        return slurm_cluster(settings.site)
    return LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",  # a free port: several runs may share a machine
        scheduler_kwargs={"dashboard": False},
        silence_logs="CRITICAL",
        env={"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))},
    )


def slurm_cluster(site: Path | None) -> Any:
    """Of dask-jobqueue; ``site`` holds what `dask_jobqueue.SLURMCluster` takes, as YAML.

    Raises
    ------
    InputError
        Where the file cannot be read, or names something that it does not take.
    """
    from napari_d2r.stages._slurm import cluster_of

    options = {} if site is None else site_options(site)
    try:
        return cluster_of(options)
    except _NO_OPTION as error:
        where = "~/.config/dask/jobqueue.yaml" if site is None else str(site)
        raise _bad_site(where, error) from error


def site_options(site: Path) -> dict[str, Any]:
    """What a site file says, unchecked; empty where it is.

    Raises
    ------
    InputError
        Where it cannot be read, is not YAML, or names no options.
    """
    try:
        options = yaml.safe_load(site.read_text("utf-8")) or {}
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad_site(str(site), error) from error
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise _bad_site(str(site), "it must be a list of names with values, such as queue: gpu")
    return options


def _bad_site(where: str, reason: object) -> InputError:
    return InputError(f"SLURM cannot be used as {where} says: {' '.join(str(reason).split())}.")


def computed_by(
    client: Client,
    task: ShardTask,
    sources: Callable[[Shard], Mapping[Shard, int]],
    shards: Iterator[Shard],
    stop: CancelToken,
) -> Generator[Put | Workers, None, None]:
    """Shards as they are finished: the length of the file of each, and whether memory was short.

    ``sources`` says what a shard of a coarser level is made of, as `OmeZarrOutput.sources` does.
    How many workers there are is told at first and whenever it changes.

    Raises
    ------
    Interrupted
        When ``stop`` is set; what is in the making then is left.
    D2RError
        When a shard ends its worker again and again, or the scheduler is lost. What a worker
        raises is raised here: only shards of workers that were lost are computed again.
    """
    flying: dict[Future, Shard] = {}
    landed: queue.SimpleQueue[tuple[Future, _Outcome]] = queue.SimpleQueue()
    threads: Mapping[str, int] = {}
    told, counted_at, lost_at = -1, -math.inf, math.inf

    def count() -> None:
        nonlocal threads, counted_at
        counted_at = time.monotonic()
        try:
            threads = client.nthreads(callback_timeout=_ANSWER_S)
        except OSError as error:
            raise _scheduler_lost() from error

    async def land(future: Future) -> None:
        # Beside all others: a worker that was stopped may hold what it has finished for long.
        try:
            landed.put((future, await client.gather(future, asynchronous=True)))
        except (Exception, FutureCancelledError) as error:  # noqa: BLE001  # raised by `_result`
            landed.put((future, error))

    def launch() -> None:
        while _num_pending(flying) < _AHEAD * max(1, sum(threads.values())):
            shard = next(shards, None)
            if shard is None:
                return
            future = client.submit(compute_shard, task, shard, sources(shard), pure=False)
            flying[future] = shard
            client.loop.add_callback(land, future)

    try:
        count()
        launch()
        while flying:
            if stop:
                raise Interrupted
            if told != len(threads):
                told = len(threads)
                yield Workers(told)
            try:
                future, outcome = landed.get(timeout=_LOOK_S)
            except queue.Empty:
                is_lost = client.status != "running"
                lost_at = min(lost_at, time.monotonic()) if is_lost else math.inf
                if time.monotonic() - lost_at > _LOST_S:
                    raise _scheduler_lost() from None
                if not is_lost and time.monotonic() - counted_at > _COUNT_S:
                    with suppress(D2RError):  # it may come back
                        count()
                    launch()
                continue
            yield (flying.pop(future), *_result(outcome))
            count()
            launch()
    finally:
        for future in flying:
            future.cancel()


def _num_pending(flying: Iterable[Future]) -> int:
    return sum(future.status == "pending" for future in flying)


def _result(outcome: _Outcome) -> tuple[int, bool]:
    if isinstance(outcome, KilledWorker):
        raise D2RError(
            "A shard ended its worker again and again, as a lack of memory does; go on with "
            "--resume and fewer --workers, or begin anew with --overwrite and a smaller --shard."
        ) from outcome
    if isinstance(outcome, CommClosedError | FutureCancelledError):
        raise _scheduler_lost() from outcome
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _scheduler_lost() -> D2RError:
    return D2RError(
        "The scheduler was lost; finished shards are kept: begin it again, and go on with --resume."
    )


# In a worker -----------------------------------------------------------------------------------

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
        return begin_shard(task.volume, task.grid, box, predictor, task.intensity, task.gap, device)

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
