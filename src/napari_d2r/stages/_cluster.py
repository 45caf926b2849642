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
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dask
import torch
from distributed import Client, Future, KilledWorker, LocalCluster
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from napari_d2r.errors import D2RError, InputError
from napari_d2r.inference import Interrupted
from napari_d2r.io import Shard
from napari_d2r.jobs import CancelToken, ClusterSettings, Workers, parse_yaml, read_yaml
from napari_d2r.stages._fill import Put
from napari_d2r.stages._shard_task import ShardTask, compute_shard

__all__ = ["computed_by", "connected"]

_AHEAD = 2  # tasks per thread of a worker: one in the making, one waiting there
_LOOK_S = 0.2  # between two looks at the cancel token
_TRIES = 3  # of a shard whose worker met a fault of a file system, which may pass
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
        options = parse_yaml(read_yaml(site), site.name) or {}
    except (OSError, InputError) as error:
        raise _bad_site(str(site), error) from error
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise _bad_site(str(site), "it must be a list of names with values, such as queue: gpu")
    return options


def _bad_site(where: str, reason: object) -> InputError:
    return InputError(
        f"SLURM cannot be used as {where} says: {' '.join(str(reason).split()).rstrip('.')}."
    )


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
        raises is raised here; shards of workers that were lost are computed again, and twice more
        those where a file system failed.
    """
    flying: dict[Future, Shard] = {}
    tries: Counter[Shard] = Counter()
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

    def send(shard: Shard) -> None:
        future = client.submit(compute_shard, task, shard, sources(shard), pure=False)
        flying[future] = shard
        client.loop.add_callback(land, future)

    def launch() -> None:
        while _num_pending(flying) < _AHEAD * max(1, sum(threads.values())):
            shard = next(shards, None)
            if shard is None:
                return
            send(shard)

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
            shard = flying.pop(future)
            tries[shard] += 1
            if _may_pass(outcome) and tries[shard] < _TRIES:
                send(shard)
                continue
            yield (shard, *_result(outcome))
            del tries[shard]
            count()
            launch()
    finally:
        for future in flying:
            future.cancel()


def _num_pending(flying: Iterable[Future]) -> int:
    return sum(future.status == "pending" for future in flying)


def _may_pass(outcome: _Outcome) -> bool:
    """A file system of a network comes back; a full disk does not, and is a `DiskFullError`."""
    return isinstance(outcome, OSError) and not isinstance(outcome, CommClosedError)


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
