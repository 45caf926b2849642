"""Workers as jobs of SLURM, by dask-jobqueue; what sbatch says of a job that it refuses."""

from __future__ import annotations

import time
from typing import Any

import dask
from dask_jobqueue import SLURMCluster
from dask_jobqueue.slurm import SLURMJob
from distributed.deploy.spec import ProcessInterface

from napari_d2r.errors import InputError

__all__ = ["cluster_of", "submit"]

_ANSWER_S, _LOOK_S = 120, 0.1


class _Job(SLURMJob):  # type: ignore[misc]  # dask-jobqueue has no types
    """Remembers why it was refused, where dask-jobqueue writes a traceback to a log, and waits."""

    refusal: Exception | None = None

    async def start(self) -> None:
        try:
            await super().start()
        except (RuntimeError, ValueError, OSError) as error:
            self.refusal = error
            await ProcessInterface.start(self)

    async def close(self) -> None:
        await super().close()
        await ProcessInterface.close(self)  # dask closes no cluster whose jobs are not


def cluster_of(options: dict[str, Any]) -> SLURMCluster:
    """A cluster without jobs; ``options`` are those of `SLURMCluster`.

    The page of its scheduler takes a free port, because several runs may share a machine.
    """
    site = f"jobqueue.{options.get('config_name', 'slurm')}.scheduler-options"
    asked = options.get("scheduler_options") or dask.config.get(site, {})
    scheduler = {"dashboard_address": ":0"} | asked
    return SLURMCluster(job_cls=_Job, **options | {"scheduler_options": scheduler})


def submit(cluster: SLURMCluster, count: int) -> None:
    """Submit so many jobs, and return once SLURM has taken the first of them.

    Raises
    ------
    InputError
        If it refuses all, or does not answer.
    """
    cluster.scale(jobs=count)
    ends = time.monotonic() + _ANSWER_S
    while not cluster.workers:  # they are known once sbatch has answered for all
        if time.monotonic() > ends:
            raise InputError("SLURM did not answer for two minutes; try again later.")
        time.sleep(_LOOK_S)
    refusals = [job.refusal for job in cluster.workers.values()]
    if all(refusals):
        raise InputError(f"SLURM refused the jobs: {_said(refusals[0])}.")


def _said(refusal: Exception) -> str:
    """What sbatch wrote, without what dask-jobqueue writes around it."""
    text = str(refusal).partition("stderr:\n")[2].strip() or str(refusal)
    return " ".join(text.split()).rstrip(".")
