"""What a worker does with the task that it is sent, and what becomes of what it raises."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from napari_d2r.errors import D2RError, DamagedError, DiskFullError, InputError, NotFiniteError
from napari_d2r.inference import Interrupted
from napari_d2r.io import OmeZarrOutput, Shard, create_output, open_volume, save_tiff
from napari_d2r.jobs import CancelToken, ClusterSettings, SuperResolveJob
from napari_d2r.stages.super_resolve import SuperResolvePlan, resolve_super_resolve
from napari_d2r.volumes import VoxelSize

pytest.importorskip("distributed")
from napari_d2r.stages import _cluster, _shard_task
from napari_d2r.stages._cluster import computed_by, connected
from napari_d2r.stages._shard_task import ShardTask, compute_shard

pytestmark = [
    # dask opens sockets and files that it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(1, 255, (5, 32, 100)).astype(np.uint8)
    size = VoxelSize(40, 10, 10)
    return save_tiff(
        tmp_path / "stack.tif", values, shape=values.shape, dtype=values.dtype, voxel_size=size
    )


def planned(file: Path, **fields: Any) -> SuperResolvePlan:
    asked = {"shard": 32, "engine": "torch", "device": "cpu"} | fields
    job = SuperResolveJob(**asked)
    return resolve_super_resolve(job, open_volume(file), file.with_name("out.ome.zarr"))


def begun(plan: SuperResolvePlan, identity: str = "one") -> OmeZarrOutput:
    return create_output(
        plan.output,
        shape=plan.output_shape,
        dtype=plan.volume.dtype,
        voxel_size=plan.voxel_size,
        identity=identity,
        shard=plan.shard.shape,
        overwrite=True,
    )


def sent(plan: SuperResolvePlan, output: OmeZarrOutput) -> ShardTask:
    """The task as it arrives at a worker."""
    task: ShardTask = pickle.loads(pickle.dumps(ShardTask.of(plan, (), output)))
    return task


def test_a_worker_loads_the_model_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, load = [], _shard_task.load_model

    def counting(folder: Path, device: torch.device) -> Any:
        loaded.append(folder)
        return load(folder, device)

    monkeypatch.setattr(_shard_task, "load_model", counting)
    monkeypatch.setattr(_shard_task, "_ready", {})
    plan = planned(file)
    output = begun(plan)
    task = sent(plan, output)
    first, second = output.shards()
    assert compute_shard(task, first, {})[0] > 0
    assert compute_shard(task, second, {})[0] > 0
    assert len(loaded) == 1
    compute_shard(replace(task, key="of another run"), first, {})
    assert len(loaded) == 2
    output.release()


def test_a_worker_that_finds_another_model_says_so(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shard_task, "_ready", {})
    plan = planned(file)
    output = begun(plan)
    task = replace(sent(plan, output), weights="of before")
    with pytest.raises(InputError, match="was changed during the run; repeat it with --overwrite"):
        compute_shard(task, output.shards()[0], {})
    output.release()


def test_a_full_disk_is_told_by_a_worker_as_it_is_here(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(file, method="linear")
    output = begun(plan)
    task = sent(plan, output)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("napari_d2r.io._shards.sync_file", full)
    with pytest.raises(
        DiskFullError, match=r"while writing out\.ome\.zarr; finished shards are"
    ) as told:
        compute_shard(task, output.shards()[0], {})
    assert pickle.loads(pickle.dumps(told.value)).exit_code == 4
    output.release()


def test_a_late_worker_of_an_older_run_writes_nothing(file: Path) -> None:
    plan = planned(file, method="cubic")
    older = begun(plan)
    task = sent(plan, older)
    older.release()
    newer = begun(planned(file, method="linear"), identity="another")
    shard, _ = newer.shards()
    newer.write(shard, np.full(shard.shape, 7, np.uint8))
    with pytest.raises(InputError, match="was begun anew or ended by another program"):
        compute_shard(task, shard, {})
    assert (newer.array[box_of(shard)] == 7).all()
    assert sorted(one.name for one in file.parent.glob("*writing*")) == []
    with pytest.raises(DamagedError, match=r"1 shards of out\.ome\.zarr\.partial are missing or"):
        newer.publish({})
    newer.release()


def box_of(shard: Shard) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(shard.start, shard.stop, strict=True))


# Devices ----------------------------------------------------------------------------------------

ELSEWHERE = ClusterSettings(scheduler="tcp://node:8786")


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("without_gpu")
def test_a_login_node_plans_for_gpus_that_only_workers_have(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shard_task, "_ready", {})
    plan = planned(file, engine="auto", device="cuda", cluster=ELSEWHERE)
    assert (plan.device.type, plan.engine) == ("cpu", "torch")
    assert "on cuda" in plan.lines()[2]
    output = begun(plan)
    task = sent(plan, output)
    with pytest.raises(InputError, match="has no cuda device"):  # a worker without one
        compute_shard(task, output.shards()[0], {})
    on_processors = sent(planned(file, engine="auto", cluster=ELSEWHERE), output)
    assert task.job.engine == "torch"  # what a GPU would be faster by is not asked for there
    assert (task.device, on_processors.device) == ("cuda", "cpu")
    assert task.key != on_processors.key
    output.release()


@pytest.mark.usefixtures("without_gpu")
def test_what_cannot_be_planned_for_workers_is_said_before_the_queue(file: Path) -> None:
    with pytest.raises(InputError, match="this machine has no cuda device; pass --engine torch"):
        planned(file, engine="half", device="cuda", cluster=ELSEWHERE)
    with pytest.raises(InputError, match="This machine has no cuda device"):
        planned(file, device="cuda", cluster=ClusterSettings(workers=2))
    asked = planned(file, device="auto", cluster=ELSEWHERE)
    assert any("pass --device cuda" in one for one in asked.warnings)
    alone = planned(file, device="auto", cluster=ClusterSettings(workers=2))
    assert not any("--device cuda" in one for one in alone.warnings)


def test_every_worker_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [f"tcp://10.0.0.1:{port}" for port in (4003, 4001, 4002)]
    threads = dict.fromkeys([*here, "tcp://10.0.0.2:4000"], 1)
    monkeypatch.setattr(
        _shard_task, "get_client", lambda: SimpleNamespace(nthreads=lambda: threads)
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def gpu_of(address: str, name: object) -> int | None:
        worker = SimpleNamespace(address=address, name=name)
        monkeypatch.setattr(_shard_task, "get_worker", lambda: worker)
        return _shard_task._own_device(torch.device("cuda")).index

    assert [gpu_of(address, address) for address in sorted(here)] == [0, 1, 0]
    assert gpu_of("tcp://10.0.0.2:4000", "SLURMCluster-1") == 0
    assert gpu_of(here[0], 1) == 1  # processes of our own are numbered, also when begun again


# Real workers -----------------------------------------------------------------------------------


def shards(count: int) -> Iterator[Shard]:
    return (Shard(number, (0, 0, 0), (1, 1, 1)) for number in range(count))


@pytest.mark.slow
def test_which_shards_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    attempts = tmp_path / "attempts"

    def run(client: Any, compute: Any) -> None:
        monkeypatch.setattr(_cluster, "compute_shard", compute)
        list(computed_by(client, None, lambda _: {}, shards(1), CancelToken()))  # type: ignore[arg-type]

    def fails(*_: object) -> None:
        with attempts.open("a") as told:
            told.write("once ")
        raise NotFiniteError("computed values that are not numbers")

    def dies(*_: object) -> None:
        with attempts.open("a") as told:
            told.write("killed ")
        os._exit(1)

    def is_out_of_reach(*_: object) -> tuple[int, bool]:
        with attempts.open("a") as told:
            told.write("unreachable ")
        if attempts.read_text().count("unreachable") not in passes_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return 1, False

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        connected(ClusterSettings(workers=1)) as client,
    ):
        with pytest.raises(NotFiniteError, match="are not numbers"):
            run(client, fails)
        with pytest.raises(D2RError, match="ended its worker again and again"):
            run(client, dies)
        passes_at = (3,)
        run(client, is_out_of_reach)
        passes_at = ()
        with pytest.raises(OSError, match="Input/output error"):
            run(client, is_out_of_reach)
    assert attempts.read_text() == "once killed killed " + 6 * "unreachable "


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals need POSIX")
def test_a_stopped_worker_that_holds_a_finished_shard_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_cluster, "_SILENT_S", 300)  # it is not given up while this test runs
    monkeypatch.setattr(_cluster, "compute_shard", lambda *_: (1, False))

    def stop_when_asked(dask_worker: Any) -> int:
        dask_worker.handlers["get_data"] = lambda *_, **__: os.kill(os.getpid(), signal.SIGSTOP)
        return os.getpid()

    with connected(ClusterSettings(workers=2)) as client:
        client.wait_for_workers(2, timeout=120)
        [victim] = client.run(stop_when_asked, workers=[min(client.nthreads())]).values()
        cancel = CancelToken()
        computed = computed_by(client, None, lambda _: {}, shards(200), cancel)  # type: ignore[arg-type]
        finished, began = 0, time.monotonic()
        try:
            while finished < 50:
                finished += isinstance(next(computed), tuple)
            assert time.monotonic() - began < 240
            cancel.cancel()
            asked = time.monotonic()
            with pytest.raises(Interrupted):
                list(computed)
            assert time.monotonic() - asked < 60
        finally:
            computed.close()
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
