"""A volume that was opened by a relative path is read from any folder, as workers do."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from napari_d2r.io import open_volume
from napari_d2r.volumes import VoxelSize

DATA = np.random.default_rng(0).integers(0, 255, (5, 8, 9)).astype(np.uint16)


def write_hdf5(name: str) -> None:
    with h5py.File(name, "w") as file:
        file["raw"] = DATA


def write_mrc(name: str) -> None:
    with mrcfile.new(name) as file:
        file.set_data(DATA)


def write_slices(name: str) -> None:
    Path(name).mkdir()
    for number, values in enumerate(DATA):
        tifffile.imwrite(f"{name}/{number}.tif", values)


def write_compressed(name: str) -> None:
    tifffile.imwrite(name, DATA, compression="zlib")


WRITERS: dict[str, Callable[[str], object]] = {
    "plain.tif": lambda name: tifffile.imwrite(name, DATA),
    "packed.tif": write_compressed,
    "slices": write_slices,
    "a.npy": lambda name: np.save(name, DATA),
    "a.mrc": write_mrc,
    "a.h5": write_hdf5,
    "a.zarr": lambda name: zarr.save_array(name, DATA),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_relative_path_is_read_from_another_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    WRITERS[name](name)
    sent = pickle.dumps(open_volume(name, voxel_size=VoxelSize(40, 10, 10)))
    monkeypatch.chdir("elsewhere")
    np.testing.assert_array_equal(pickle.loads(sent).read(), DATA)
