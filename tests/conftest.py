"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_d2r.io import save_volume
from napari_d2r.jobs import TrainJob
from napari_d2r.samples import phantom_sample
from napari_d2r.volumes import Volume

REPOSITORY = Path(__file__).resolve().parents[1]
TOP, LEFT, RIGHT, BAR = 8, 12, 5, 30
"""Rows and columns of black border, and rows of data bar, around every slice."""
MakeFolder = Callable[[Path, Iterable[NDArray[np.uint8]]], Path]


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
        save_volume(volume, path)
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


def framed(plane: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """A slice as some microscopes export it: black borders, and a data bar with a counter."""
    image = np.pad(plane, ((TOP, 0), (LEFT, RIGHT)))
    bar = Image.new("L", (image.shape[1], BAR), 20)
    pen = ImageDraw.Draw(bar)
    pen.text((4, 8), "HV 2.0 kV  WD 5 mm", fill=240)
    pen.text((image.shape[1] - 30, 8), f"{number:04d}", fill=240)
    return np.vstack([image, np.asarray(bar)])


@pytest.fixture(scope="session")
def make_nasty_folder() -> MakeFolder:
    """Write slices framed, as ``slice_0001.tif`` and so on, with every trap.

    There are a data bar and black borders. Slice 6 is missing, slice 12 shows the image of
    slice 11, slice 18 is 16-bit, and pixels measure 8 nm along y and 7.5 nm along x.
    """

    def make(folder: Path, planes: Iterable[NDArray[np.uint8]]) -> Path:
        folder.mkdir(parents=True)
        before = None
        for number, plane in enumerate(planes, start=1):
            shown = before if number == 12 and before is not None else plane
            values: NDArray[np.generic] = framed(shown, number)
            if number == 18:
                values = values.astype(np.uint16) * 257
            if number != 6:
                tifffile.imwrite(
                    folder / f"slice_{number:04d}.tif",
                    values,
                    resolution=(1e7 / 7.5, 1e7 / 8),
                    resolutionunit="CENTIMETER",
                    metadata=None,
                )
            before = plane
        return folder

    return make
