"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_d2r.io import save_tiff
from napari_d2r.jobs import TrainJob
from napari_d2r.samples import phantom_sample
from napari_d2r.volumes import Volume

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What tests train is not remembered among the models of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("NAPARI_D2R_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real volumes, or a skip where this machine has none.

    ``NAPARI_D2R_DATA`` names it; without that it is looked for beside the repository.
    """
    folder = Path(os.environ.get("NAPARI_D2R_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real volumes at {folder}; set NAPARI_D2R_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def phantom() -> tuple[Volume, Volume]:
    """A measured stack of 9 x 64 x 64 voxels, 40 x 10 x 10 nm, and its truth; read only."""
    volumes = phantom_sample((33, 64, 64), factor=4)
    for volume in volumes:
        volume.data.flags.writeable = False  # many tests share it
    return volumes


@pytest.fixture(scope="session")
def stack(phantom: tuple[Volume, Volume]) -> Volume:
    """The measured part of the phantom."""
    return phantom[0]


@pytest.fixture(scope="session")
def phantom_files(
    phantom: tuple[Volume, Volume], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """``stack.tif`` and ``reference.tif``: the phantom and its truth on disk, read only."""
    folder = tmp_path_factory.mktemp("phantom")
    paths = folder / "stack.tif", folder / "reference.tif"
    for path, volume in zip(paths, phantom, strict=True):
        save_tiff(
            path,
            iter(volume.read()),
            shape=volume.shape,
            dtype=volume.dtype,
            voxel_size=volume.voxel_size,
        )
    return paths


@pytest.fixture(scope="session")
def tiny_job() -> TrainJob:
    """All three stages with networks of width 8, four steps each: a second of training."""

    def learner(architecture: str) -> dict[str, object]:
        return {
            "network": {
                "architecture": architecture,
                "options": {"widths": [8, 8], "blocks": [1, 1]},
            },
            "optimizer": {"max_steps": 4, "batch": 2, "validate_every": 2},
        }

    return TrainJob.checked(
        {
            "device": "cpu",
            "max_minutes": None,
            "prior": learner("lateral") | {"columns": 16},
            "student": learner("aenet-fast") | {"crop": 16},
        }
    )


@pytest.fixture(scope="session")
def tiny_model(stack: Volume, tiny_job: TrainJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a prior and a student, to be read and never written to."""
    from napari_d2r.api import train

    folder = tmp_path_factory.mktemp("trained") / "model"
    train(stack, folder, job=tiny_job)
    return folder
