"""Shards computed by real worker processes: the same bytes, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from napari_d2r.errors import D2RError, InputError
from napari_d2r.io import OmeZarrOutput, open_volume, save_tiff
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
from napari_d2r.stages.super_resolve import beside, resolve_super_resolve, run_super_resolve
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
    """A stack on disk, since workers read it themselves; its result has two coarser levels."""
    values = np.random.default_rng(0).integers(0, 255, (5, 64, 520)).astype(np.uint8)
    path = tmp_path_factory.mktemp("cluster") / "stack.tif"
    size = VoxelSize(40, 10, 10)
    return save_tiff(path, values, shape=values.shape, dtype=values.dtype, voxel_size=size)


@pytest.fixture(scope="module")
def alone(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of it."""
    path = tmp_path_factory.mktemp("alone") / "out.ome.zarr"
    list(stream(job(), file, path))
    return levels_of(path)


def levels_of(path: Path) -> dict[str, bytes]:
    """The files of all levels; how they were made stands in the group beside them."""
    files = [file for level in "012" for file in (path / level).rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


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
    file: Path, alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask

    from napari_d2r.stages import _cluster

    silent = 20
    monkeypatch.setattr(_cluster, "_SILENT_S", silent)
    # A busy machine starves workers, which are given up then as if they were stopped.
    patient = dask.config.set({"distributed.scheduler.allowed-failures": 100})
    path, written, victims, counts = tmp_path / "out.ome.zarr", 0, [], []
    with patient:
        for event in stream(job(workers=4), file, path):
            counts += [event.count] if isinstance(event, Workers) else []
            written += isinstance(event, BlockWritten)
            if isinstance(event, BlockWritten) and written in (2, 4):
                victims.append(one_but(victims))
                victims[-1].send_signal(signal.SIGKILL if written == 2 else signal.SIGSTOP)
                signalled = time.monotonic()
    assert time.monotonic() - signalled < 2 * silent + 300
    assert event.outcome is Outcome.COMPLETED
    assert len(victims) == 2
    assert 1 <= max(counts) <= 4  # on a busy machine the last may come too late
    assert len(counts) > 1  # of one that was killed, until it is begun again
    assert levels_of(path) == alone
    assert [p.name for p in tmp_path.iterdir()] == ["out.ome.zarr"]
    for victim in victims:
        if victim.is_running():
            victim.kill()


def test_workers_write_the_pyramid_and_one_process_goes_on_with_it(
    file: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    """A worker is killed in it, and then the run is cancelled."""
    path, cancel, told = tmp_path / "out.ome.zarr", CancelToken(), []

    def by_workers_only(*_: object) -> None:
        raise AssertionError("the process that was asked computes no shard")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmeZarrOutput, "coarsened", by_workers_only)
        for event in stream(job(workers=2), file, path, cancel):
            if isinstance(event, Progress) and event.unit == "parts":
                told.append(event)
                if event.done == 2:
                    workers()[0].kill()
                if event.done == 6:  # five of the first coarser level, and one of the second
                    cancel.cancel()
    assert event.outcome is Outcome.CANCELLED
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 6, 8)
    assert not path.exists()
    events = list(stream(job(), file, path, resume=True))
    assert not any(isinstance(event, BlockWritten) for event in events)
    parts = [
        event.done for event in events if isinstance(event, Progress) and event.unit == "parts"
    ]
    assert parts == [6, 7, 8]
    assert levels_of(path) == alone


def test_workers_fill_the_half_widths_too(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here.ome.zarr", tmp_path / "there.ome.zarr"
    asked = {"method": "linear", "uncertainty": True}
    list(stream(job().model_copy(update=asked), file, here))
    with monkeypatch.context() as patch:
        patch.setattr("napari_d2r.stages._fill.begin_shard", None)  # of the process that was asked
        events = list(stream(job(workers=1).model_copy(update=asked), file, there))
    assert events[-1].outcome is Outcome.COMPLETED
    assert sum(isinstance(event, Workers) for event in events) >= 2  # by one cluster, asked twice
    assert levels_of(there) == levels_of(here)
    assert levels_of(beside(there)) == levels_of(beside(here))


def test_a_lost_scheduler_is_said_and_resume_goes_on(
    file: Path, alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are relative here, and the worker was begun in another folder."""
    from napari_d2r.stages import _cluster

    monkeypatch.setattr(_cluster, "_LOST_S", 1)
    monkeypatch.chdir(file.parent)
    path = tmp_path / "out.ome.zarr"
    with scheduler_and_worker(tmp_path) as (address, scheduler):
        written = 0
        with pytest.raises(D2RError, match="scheduler was lost; finished shards are kept"):
            for event in stream(job(scheduler=address), Path(file.name), path):
                written += isinstance(event, BlockWritten)
                if isinstance(event, BlockWritten) and written == 2:
                    scheduler.kill()
    assert not path.exists()
    events = list(stream(job(), file, path, resume=True))  # here, without a cluster
    assert sum(isinstance(event, BlockWritten) for event in events) <= 9 - written
    assert levels_of(path) == alone


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


@pytest.fixture
def site_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A site file where ``sbatch`` is a script of ours."""
    pytest.importorskip("dask_jobqueue")

    def make(script: str) -> Path:
        sbatch, site = tmp_path / "sbatch", tmp_path / "site.yaml"
        sbatch.write_text(f"#!/bin/sh\n{script}\n")
        sbatch.chmod(0o755)
        site.write_text("cores: 1\nmemory: 1 GB\n")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        return site

    return make


def test_what_sbatch_refuses_is_told_as_it_said_it(
    file: Path, tmp_path: Path, site_where: Callable[[str], Path]
) -> None:
    site = site_where("echo 'sbatch: error: Invalid account specified' >&2; exit 1")
    asked = job(kind="slurm", workers=2, site=site)
    with pytest.raises(InputError, match=r"SLURM refused the jobs: sbatch: error: Invalid account"):
        list(stream(asked, file, tmp_path / "out.ome.zarr"))
    assert not (tmp_path / "out.ome.zarr").exists()


def test_an_sbatch_that_hangs_is_left(
    site_where: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_d2r.stages import _cluster, _slurm

    monkeypatch.setattr(_slurm, "_ANSWER_S", 1)
    monkeypatch.setattr(_cluster, "_CLOSED_S", 1)
    asked = ClusterSettings(kind="slurm", workers=1, site=site_where("exec sleep 600"))
    try:
        with (
            pytest.raises(InputError, match="SLURM did not answer"),
            _cluster._begun(asked),
        ):
            pass
    finally:
        for child in psutil.Process().children():
            if "sleep" in child.cmdline():
                child.kill()


def test_one_job_that_slurm_takes_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue")
    from napari_d2r.stages._slurm import cluster_of, submit

    for name, says in {
        "sbatch": 'mkdir taken 2>/dev/null || { echo "QOSMaxSubmitJobLimit" >&2; exit 1; }\necho 7',
        "scancel": 'echo "$1" > cancelled',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{says}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with cluster_of({"cores": 1, "memory": "1 GB"}) as cluster:
        submit(cluster, 2)
    assert (tmp_path / "cancelled").read_text() == "7\n"


def test_a_cluster_that_cannot_be_closed_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_d2r.stages import _cluster

    class Unclosed:
        def close(self, timeout: float | None) -> None:
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


def test_the_real_slurm(file: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    site = os.environ.get("NAPARI_D2R_SLURM_SITE")
    if not site:
        pytest.skip("NAPARI_D2R_SLURM_SITE names no site file of a real SLURM")
    path = tmp_path / "out.ome.zarr"
    list(stream(job(kind="slurm", workers=2, site=site), file, path))
    assert levels_of(path) == alone
