"""What the tests of super-resolution and of training share."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from napari_d2r.jobs import Event, SuperResolveJob, TrainJob
from napari_d2r.samples import make_phantom
from napari_d2r.stages import _pseudo_hr, _super_resolve_plan
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.training import _loop
from napari_d2r.volumes import Volume, VoxelSize

ANISOTROPIC = VoxelSize(40, 10, 10)


@pytest.fixture
def known_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a test the half second that measuring the rate takes."""
    monkeypatch.setattr(_super_resolve_plan, "_known_rates", {})
    monkeypatch.setattr(_super_resolve_plan, "measure_rate", lambda *_: 3e6)


@pytest.fixture(scope="session")
def job(tiny_model: Path) -> SuperResolveJob:
    return SuperResolveJob(model=tiny_model, device="cpu")


@pytest.fixture(scope="session")
def wide() -> Volume:
    """9 x 130 x 70: six shards of 64."""
    return Volume(make_phantom((33, 130, 70))[::4], ANISOTROPIC, "wide")


@pytest.fixture(scope="session")
def sharded(job: SuperResolveJob) -> SuperResolveJob:
    return job.model_copy(update={"shard": 64})


@pytest.fixture(scope="session")
def small(stack: Volume) -> Volume:
    """5 x 32 x 32."""
    return Volume(stack.data[:5, :32, :32], ANISOTROPIC, "small")


@pytest.fixture(scope="session")
def uninterrupted(
    small: Volume, tiny_job: TrainJob, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Event]]:
    """A training that nobody interrupted: its folder, and its events but those by the clock."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loop, "REPORT_EVERY_S", math.inf)
        patch.setattr(_loop, "SAVE_EVERY_S", math.inf)
        patch.setattr(_pseudo_hr, "BEAT_S", 1e6)
        return folder, list(run_train(resolve_train(tiny_job, small, folder)))
