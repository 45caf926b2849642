"""What a run will need is known before it begins: memory, disk, files, time."""

from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_d2r.errors import InputError
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume, VoxelSize

pytestmark = pytest.mark.usefixtures("known_rate")
STACK = Volume(
    np.random.default_rng(0).integers(1, 255, (40, 40, 300), np.uint8), VoxelSize(40, 10, 10)
)
JOB = SuperResolveJob(method="linear", device="cpu", shard=64)


def test_a_plan_counts_files_and_says_so(tmp_path: Path) -> None:
    plan = resolve_super_resolve(JOB, STACK, tmp_path / "out.ome.zarr")
    for _ in run_super_resolve(plan):
        made = sum(1 for _ in tmp_path.rglob("*"))
        assert made <= plan.num_files
    assert plan.num_files < 2 * made  # all 15 shards of level 0 and 6 of level 1
    assert f"{plan.num_files} files" in plan.lines()[-1]
    for word in ("memory about", "disk at most", "time about"):
        assert word in plan.lines()[-1]


@pytest.mark.skipif(not hasattr(os, "statvfs"), reason="Windows does not count files")
def test_a_disk_without_room_for_the_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = namedtuple("disk", "f_files f_favail f_blocks f_bfree f_bavail f_frsize")
    monkeypatch.setattr(os, "statvfs", lambda _: disk(1000, 20, *[2**30] * 4))
    with pytest.raises(InputError, match="but the disk has room for 20 more"):
        resolve_super_resolve(JOB, STACK, tmp_path / "out.ome.zarr")
    assert list(tmp_path.iterdir()) == []


def test_little_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = namedtuple("memory", "available")
    plan = resolve_super_resolve(JOB, STACK, tmp_path / "out.ome.zarr")
    assert not [warning for warning in plan.warnings if "of memory are needed" in warning]
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(10**6))
    plan = resolve_super_resolve(JOB, STACK, tmp_path / "out.ome.zarr")
    assert [warning for warning in plan.warnings if "0.0 GB are free" in warning]
