"""Single-file arrays: HDF5, MRC, npy; and paths that lead nowhere."""

from __future__ import annotations

import bz2
import gzip
import pickle
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume, probe
from napari_d2r.volumes import VoxelSize

DATA = np.random.default_rng(0).integers(-100, 100, (6, 10, 12)).astype(np.int16)
ANY = VoxelSize(8, 8, 8)


# --- HDF5 ---------------------------------------------------------------------------------


def hdf5(path: Path, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def test_the_only_volume_of_a_file_is_taken(tmp_path):
    path = hdf5(tmp_path / "a.h5", raw=DATA, mean=np.zeros((10, 12)), scalar=1.0)
    volume = open_volume(path, voxel_size=ANY)
    np.testing.assert_array_equal(volume.read(slice(1, 6, 2)), DATA[1:6:2])
    again = pickle.loads(pickle.dumps(volume.data))
    np.testing.assert_array_equal(again[3], DATA[3])
    assert volume.name == "a.h5:/raw"
    assert volume.source == path
    path.unlink()  # nothing holds it open
    with pytest.raises(InputError, match="damaged or gone"):
        volume.read()


def test_a_dataset_in_a_group_with_an_absolute_path(tmp_path):
    path = hdf5(tmp_path / "a.hdf5", **{"volumes/raw": DATA, "volumes/labels": DATA})
    volume = open_volume(f"{path}:/volumes/raw", voxel_size=ANY)
    np.testing.assert_array_equal(volume.read(), DATA)
    with pytest.raises(InputError, match=r"no dataset /volumes/row; it holds /volumes/labels"):
        open_volume(f"{path}:/volumes/row", voxel_size=ANY)


def test_resolution_without_unit_is_pointed_out_but_not_used(tmp_path):
    path = hdf5(tmp_path / "a.h5", raw=DATA)
    with h5py.File(path, "r+") as file:
        file["raw"].attrs["resolution"] = (40, 4, 4)
    with pytest.raises(InputError, match=r"a\.h5:/raw has no voxel size; pass --voxel-size"):
        open_volume(path)
    assert any("resolution ([40  4  4]) has no unit" in note for note in probe(path).notes)


def test_hdf5_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="no dataset with three axes"):
        open_volume(hdf5(tmp_path / "a.h5", flat=np.zeros((4, 4))))
    with pytest.raises(InputError, match="single 2D image"):
        open_volume(f"{tmp_path / 'a.h5'}:/flat", voxel_size=ANY)
    with pytest.raises(InputError, match="holds complex128 values"):
        open_volume(hdf5(tmp_path / "c.h5", raw=DATA.astype(complex)), voxel_size=ANY)
    (tmp_path / "b.h5").write_bytes(b"\x89HDF\r\n\x1a\n torn")
    with pytest.raises(InputError, match=r"b\.h5 is not a readable HDF5 file"):
        open_volume(tmp_path / "b.h5")


@pytest.mark.parametrize("name", ["link", "group/inner", "soft", "raw", "virtual"])
def test_voxels_in_other_files_are_not_looked_for(tmp_path, name):
    other = hdf5(tmp_path / "other.h5", raw=DATA)
    (tmp_path / "other.raw").write_bytes(DATA.tobytes())
    layout = h5py.VirtualLayout(DATA.shape, DATA.dtype)
    layout[:] = h5py.VirtualSource(other, "raw", DATA.shape)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["link"] = h5py.ExternalLink(other, "raw")
        file["group"] = h5py.ExternalLink(other, "/")
        file["soft"] = h5py.SoftLink("/link")
        file.create_dataset("raw", DATA.shape, DATA.dtype, external=tmp_path / "other.raw")
        file.create_virtual_dataset("virtual", layout)
    other.unlink()  # nothing asks whether it is there
    (tmp_path / "other.raw").unlink()
    with pytest.raises(InputError, match="lies in another file, which is not opened"):
        open_volume(f"{path}:/{name}", voxel_size=ANY)
    with pytest.raises(InputError, match="no dataset with three axes Z, Y, X of its own"):
        open_volume(path, voxel_size=ANY)


def test_links_within_a_file_are_followed(tmp_path):
    path = hdf5(tmp_path / "a.h5", **{"volumes/raw": DATA})
    with h5py.File(path, "r+") as file:
        file["latest"] = h5py.SoftLink("volumes")
        file["circle"] = h5py.SoftLink("/circle")
    volume = open_volume(f"{path}:/latest//raw", voxel_size=ANY)
    np.testing.assert_array_equal(volume.read(), DATA)
    with pytest.raises(InputError, match="by too many links"):
        open_volume(f"{path}:/circle", voxel_size=ANY)
    for name in ("volumes/none", "volumes/raw/inner"):
        with pytest.raises(InputError, match=f"no dataset /{name}"):
            open_volume(f"{path}:/{name}", voxel_size=ANY)


# --- MRC ----------------------------------------------------------------------------------


def mrc(path: Path, values=DATA, voxel_size=(4.0, 5.0, 40.0)):
    with mrcfile.new(path) as file:
        file.set_data(values)
        if voxel_size is not None:
            file.voxel_size = voxel_size  # x, y, z in angstrom
    return path


def edit(path: Path, offset: int, content: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
    return path


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32", "float16"])
@pytest.mark.parametrize("pack", [None, gzip.compress, bz2.compress])
def test_mrc_modes(tmp_path, dtype, pack):
    values = np.abs(DATA).astype(dtype)
    path = mrc(tmp_path / "a.mrc", values)
    if pack:
        packed = tmp_path / ("a.mrc.gz" if pack is gzip.compress else "a.rec.bz2")
        packed.write_bytes(pack(path.read_bytes()))
        path = packed
    volume = open_volume(path)
    assert tuple(volume.voxel_size) == pytest.approx((4, 0.5, 0.4))
    assert volume.dtype == dtype
    np.testing.assert_array_equal(volume.read(), values)


def test_mrc_bytes_are_unsigned_where_imod_says_so(tmp_path):
    values = np.full((4, 6, 7), -1, np.int8)
    path = mrc(tmp_path / "a.mrc", values)
    assert open_volume(path).read().max() == -1
    edit(path, 152, (1146047817).to_bytes(4, "little") + bytes(4))
    assert open_volume(path).read().max() == 255


def test_mrc_without_cell_asks(tmp_path):
    with pytest.raises(InputError, match="no voxel size"):
        open_volume(mrc(tmp_path / "a.mrc", voxel_size=None))


@pytest.mark.parametrize(
    ("offset", "content", "sentence"),
    [
        (8, (60).to_bytes(4, "little"), "cut short: its header promises"),
        (8, (-6).to_bytes(4, "little", signed=True), "false header"),
        (64, (2).to_bytes(4, "little"), "not a permutation of 1, 2, 3"),
        (12, (4).to_bytes(4, "little"), "mode 4, which is no grey value"),
        (12, (99).to_bytes(4, "little"), "not a readable MRC file|mode 99"),
        (208, b"JSON", "not a readable MRC file"),
        (88, (401).to_bytes(4, "little"), "stack of volumes"),
    ],
)
def test_lying_mrc_headers(tmp_path, offset, content, sentence):
    with pytest.raises(InputError, match=sentence):
        open_volume(edit(mrc(tmp_path / "a.mrc"), offset, content))


def test_mrc_torn_archive(tmp_path):
    whole = gzip.compress(mrc(tmp_path / "a.mrc").read_bytes())
    (tmp_path / "b.mrc.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"b\.mrc\.gz"):
        open_volume(tmp_path / "b.mrc.gz")


# --- npy ----------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [DATA, np.asfortranarray(DATA), DATA.astype(">f4")])
def test_npy(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    volume = open_volume(tmp_path / "a.npy", voxel_size=ANY)
    assert not isinstance(volume.data, np.ndarray)
    np.testing.assert_array_equal(volume.read(), DATA)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume.data))[2, :, 3], DATA[2, :, 3])


class _Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("bomb-went-off"),))


def test_npy_is_never_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", np.array([_Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy is not a readable \.npy file"):
        open_volume(tmp_path / "a.npy")
    assert not (tmp_path / "bomb-went-off").exists()


@pytest.mark.parametrize("content", [b"\x93NUMPY", b"PK not numpy at all"])
def test_npy_torn(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npy is not a readable"):
        open_volume(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", DATA)
    whole = (tmp_path / "b.npy").read_bytes()
    (tmp_path / "b.npy").write_bytes(whole[:-10])
    with pytest.raises(InputError, match=r"b\.npy"):
        open_volume(tmp_path / "b.npy")


def test_npy_shapes(tmp_path):
    for shape, sentence in [
        ((7,), "is no image"), ((), "is no image"), ((0, 5, 5), "is empty"),
        ((6, 5), "2D image"), ((6, 5, 3), "2D image"), ((2, 6, 5, 7), "channel axis of 2"),
    ]:  # fmt: skip
        np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
        with pytest.raises(InputError, match=sentence):
            open_volume(tmp_path / "a.npy", voxel_size=ANY)


# --- paths --------------------------------------------------------------------------------


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.tif does not exist"):
        open_volume(tmp_path / "nothing.tif")
    with pytest.raises(InputError, match=r"nothing\.h5 does not exist"):
        open_volume(f"{tmp_path}/nothing.h5:/raw")
    (tmp_path / "a.czi").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.czi is of an unknown kind; TIFF, .* can be read"):
        open_volume(tmp_path / "a.czi")
    (tmp_path / "a.tif").touch()
    with pytest.raises(InputError, match=r"a\.tif is an empty file"):
        probe(tmp_path / "a.tif")
