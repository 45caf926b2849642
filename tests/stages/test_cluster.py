"""Shards computed by real worker processes: the same bytes, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from napari_d2r.errors import D2RError, InputError
from napari_d2r.io import open_volume, save_tiff
from napari_d2r.jobs import (
    BlockWritten,
    CancelToken,
    ClusterSettings,
    Event,
    Outcome,
    Progress,
    SuperResolveJob,
    Workers,
)
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume, VoxelSize

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    # dask opens sockets and files that it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack on disk, since workers read it themselves."""
    values = np.random.default_rng(0).integers(0, 255, (9, 128, 160)).astype(np.uint8)
    path = tmp_path_factory.mktemp("cluster") / "stack.tif"
    size = VoxelSize(40, 10, 10)
    return save_tiff(path, values, shape=values.shape, dtype=values.dtype, voxel_size=size)


@pytest.fixture(scope="module")
def alone(file: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What one process makes of it."""
    path = tmp_path_factory.mktemp("alone") / "out.ome.zarr"
    list(stream(job(), file, path))
    return open_volume(path).read()


def job(**cluster: Any) -> SuperResolveJob:
    settings = ClusterSettings(**cluster) if cluster else None
    return SuperResolveJob(shard=32, engine="torch", device="cpu", cluster=settings)


def stream(
    asked: SuperResolveJob, file: Path, path: Path, cancel: CancelToken | None = None, **keep: bool
) -> Iterator[Event]:
    plan = resolve_super_resolve(asked, open_volume(file), path, **keep)
    yield from run_super_resolve(plan, cancel=cancel, **keep)


def workers() -> list[psutil.Process]:
    """The processes that compute; what watches over them is a part of this one."""
    children = psutil.Process().children()
    return [child for child in children if computes(child)]


def computes(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        is_dead = process.status() == psutil.STATUS_ZOMBIE
        return not is_dead and any("spawn_main" in word for word in process.cmdline())
    return False


def one_but(victims: list[psutil.Process]) -> psutil.Process:
    """A worker that was left alone so far; one that was killed may be about to begin again."""
    deadline = time.monotonic() + 60
    while not (others := [worker for worker in workers() if worker not in victims]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return others[0]


def test_workers_that_are_killed_and_stopped_change_nothing(
    file: Path, alone: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_d2r.stages import _cluster

    monkeypatch.setattr(_cluster, "_SILENT_S", 20)  # a busy machine starves workers
    path, written, victims, counts = tmp_path / "out.ome.zarr", 0, [], []
    for event in stream(job(workers=3), file, path):
        counts += [event.count] if isinstance(event, Workers) else []
        written += isinstance(event, BlockWritten)
        if isinstance(event, BlockWritten) and written in (2, 4):
            victims.append(one_but(victims))
            victims[-1].send_signal(signal.SIGKILL if written == 2 else signal.SIGSTOP)
    assert event.outcome is Outcome.COMPLETED
    assert len(victims) == 2
    assert 1 <= max(counts) <= 3  # on a busy machine the last may come too late
    assert len(counts) > 1  # of one that was killed, until it is begun again
    assert np.array_equal(open_volume(path).read(), alone)
    assert [p.name for p in tmp_path.iterdir()] == ["out.ome.zarr"]
    for victim in victims:
        if victim.is_running():
            victim.kill()


def test_a_lost_scheduler_is_said_and_resume_goes_on(
    file: Path, alone: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_d2r.stages import _cluster

    monkeypatch.setattr(_cluster, "_LOST_S", 1)
    path = tmp_path / "out.ome.zarr"
    with scheduler_and_worker(tmp_path) as (address, scheduler):
        written = 0
        with pytest.raises(D2RError, match="scheduler was lost; finished shards are kept"):
            for event in stream(job(scheduler=address), file, path):
                written += isinstance(event, BlockWritten)
                if isinstance(event, BlockWritten) and written == 2:
                    scheduler.kill()
    assert not path.exists()
    events = list(stream(job(), file, path, resume=True))  # here, without a cluster
    total = next(event.total for event in events if isinstance(event, Progress))
    assert sum(isinstance(event, BlockWritten) for event in events) <= total - written
    assert np.array_equal(open_volume(path).read(), alone)


class scheduler_and_worker:
    """A scheduler with one worker, as a person begins them in two terminals."""

    def __init__(self, folder: Path) -> None:
        self.file, self.folder = folder / "scheduler.json", folder

    def __enter__(self) -> tuple[str, subprocess.Popen[bytes]]:
        def begin(*words: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]]
            return subprocess.Popen(
                command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

        file = ("--scheduler-file", str(self.file))
        self.both = [begin("dask_scheduler", "--port", "0", "--no-dashboard", *file)]
        deadline = time.monotonic() + 60
        while not self.file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        self.both.append(begin("dask_worker", "--no-dashboard", "--no-nanny", *file))
        return yaml.safe_load(self.file.read_text())["address"], self.both[0]

    def __exit__(self, *_: object) -> None:
        for process in self.both:
            process.kill()
            process.wait()


def test_cancel_leaves_no_process_behind(file: Path, tmp_path: Path) -> None:
    cancel = CancelToken()
    for event in stream(job(workers=1), file, tmp_path / "out.ome.zarr", cancel):
        if isinstance(event, BlockWritten):
            cancel.cancel()
    assert event.outcome is Outcome.CANCELLED
    assert not workers()


def test_what_cannot_be_reached_is_said(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_d2r.stages import _cluster

    monkeypatch.setattr(_cluster, "_ANSWER_S", 1)
    path = tmp_path / "out.ome.zarr"
    in_memory = Volume(open_volume(file).read(), VoxelSize(40, 10, 10))
    plan = resolve_super_resolve(job(workers=1), in_memory, path)
    with pytest.raises(InputError, match="is in memory, where other processes cannot read it"):
        list(run_super_resolve(plan))
    for protocol in ("tcp", "tls", "ucx"):
        nobody = job(scheduler=f"{protocol}://127.0.0.1:9")
        with pytest.raises(InputError, match=rf"No dask scheduler answers at {protocol}://127\.0"):
            list(stream(nobody, file, path, overwrite=True))


def test_without_sbatch_nothing_is_submitted(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="cannot submit jobs to SLURM, because it has no sbatch"):
        list(stream(job(kind="slurm", workers=1), file, tmp_path / "out.ome.zarr"))


def test_a_cluster_that_cannot_be_closed_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_d2r.stages import _cluster

    class Unclosed:
        def close(self) -> None:
            raise AssertionError("Status.created")

    monkeypatch.setattr(_cluster, "LocalCluster", lambda **_: Unclosed())
    with (
        pytest.raises(D2RError, match="the disk is full"),
        _cluster._begun(ClusterSettings(workers=1)),
    ):
        raise D2RError("the disk is full")


def test_several_runs_share_a_machine() -> None:
    from napari_d2r.stages import _cluster

    settings = ClusterSettings(workers=1)
    with _cluster._begun(settings) as one, _cluster._begun(settings) as other:
        ports = {cluster.scheduler.http_server.port for cluster in (one, other)}
    assert len(ports) == 2
    assert 8787 not in ports  # where dask warns of whoever came first


def test_a_site_file_becomes_a_job_script(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    from napari_d2r.stages._cluster import slurm_cluster

    site = tmp_path / "site.yaml"
    site.write_text(
        "queue: gpu\ncores: 4\nprocesses: 1\nmemory: 32 GB\nwalltime: '04:00:00'\n"
        "job_extra_directives: ['--gres=gpu:1']\n"
    )
    with slurm_cluster(site) as cluster:
        script = cluster.job_script()
    assert "#SBATCH -p gpu" in script
    assert "#SBATCH --gres=gpu:1" in script
    assert "-t 04:00:00" in script
    site.write_text("quue: gpu\ncores: 1\nmemory: 1 GB\n")
    with pytest.raises(InputError, match=r"site\.yaml says: .*quue"):
        slurm_cluster(site)
    for wrong in ("processes: 0", "memory: [1]", "interface: of-nobody"):
        site.write_text(f"cores: 1\nmemory: 1 GB\n{wrong}\n")
        with pytest.raises(InputError, match=r"SLURM cannot be used as .*site\.yaml says"):
            slurm_cluster(site)
    with pytest.raises(InputError, match="missing"):
        slurm_cluster(tmp_path / "missing.yaml")


def test_the_real_slurm(file: Path, alone: np.ndarray, tmp_path: Path) -> None:
    site = os.environ.get("NAPARI_D2R_SLURM_SITE")
    if not site:
        pytest.skip("NAPARI_D2R_SLURM_SITE names no site file of a real SLURM")
    path = tmp_path / "out.ome.zarr"
    list(stream(job(kind="slurm", workers=2, site=site), file, path))
    assert np.array_equal(open_volume(path).read(), alone)
