"""Files made to do harm: refused in words by a process that hardly notices, and nothing runs."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
import stat
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from tests.fuzz._models import model_folder

VALUES = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
_EDGE = 20_000  # of a slice that unpacks to 400 MB
# A second on a quiet machine; a busy one needs more of its processor for the same.
_MOST_S, _MOST_BYTES = 4.0, 300 * 2**20

# Opens what its arguments name, after a look at sound files, and tells what became of each.
CHILD = """
import json, resource, sys, time, warnings
from pathlib import Path
from napari_d2r.checkpoints import import_model, load_model
from napari_d2r.errors import D2RError
from napari_d2r.io import open_volume
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.volumes import VoxelSize

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

def look(path):
    if path.suffix == ".yaml":
        SuperResolveJob.from_yaml(path.read_text("utf-8"))
    elif (path / "card.json").exists():
        load_model(path)
    elif path.suffix in (".zip", ".pth"):
        import_model(path)
    else:
        volume = open_volume(path, voxel_size=VoxelSize(40, 10, 10))
        volume.read(slice(0, 1), slice(0, 64), slice(0, 64))

warnings.simplefilter("ignore")
sound, hostile = json.loads(sys.argv[1])
for name in sound:
    look(Path(name))
before, told = peak(), {}
for name in hostile:
    began = time.process_time()
    try:
        look(Path(name))
        error = ["taken", ""]
    except D2RError as caught:
        error = ["refused", str(caught)]
    except BaseException as caught:
        error = [type(caught).__name__, str(caught)]
    told[Path(name).name] = [*error, time.process_time() - began, peak() - before]
print(json.dumps(told))
"""


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.marker}'",)


@cache
def _zeros(num_bytes: int) -> bytes:
    """So many zeros, packed a thousand times."""
    packer = zlib.compressobj(1)
    block = bytes(2**20)
    parts = [packer.compress(block) for _ in range(num_bytes // 2**20)]
    return b"".join((*parts, packer.compress(bytes(num_bytes % 2**20)), packer.flush()))


def _circle(path: Path) -> None:
    """The second page says that the first follows."""
    tifffile.imwrite(path, VALUES, photometric="minisblack", metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as tiff:
        first, second = (page.offset for page in tiff.pages[:2])
        num_tags = len(tiff.pages[1].tags)
    blob = bytearray(path.read_bytes())
    end = second + 2 + 12 * num_tags
    blob[end : end + 4] = first.to_bytes(4, "little")
    path.write_bytes(blob)


def _laughs(path: Path) -> None:
    """An OME-TIFF whose description grows tenfold, nine times."""
    names = "abcdefghij"
    entities = ['<!ENTITY a "ha">'] + [
        f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in pairwise(names)
    ]
    text = f"<?xml version='1.0'?><!DOCTYPE OME [{''.join(entities)}]><OME>&j;</OME>"
    tifffile.imwrite(path, VALUES, photometric="minisblack", description=text, metadata=None)


def _mrc(path: Path, **header: int) -> None:
    with mrcfile.new(path, VALUES.astype("i1")) as mrc:
        for name, value in header.items():
            setattr(mrc.header, name, value)


def _mrc_gz(path: Path) -> None:
    plain = path.with_suffix("")
    _mrc(plain, nx=_EDGE, ny=_EDGE, nz=1)
    path.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()


def _zarr(path: Path, **metadata: object) -> None:
    zarr.create_array(path, data=VALUES, chunks=VALUES.shape)
    about = json.loads((path / "zarr.json").read_text("utf-8"))
    (path / "zarr.json").write_text(json.dumps(about | metadata), "utf-8")


def _grid(*edges: int) -> dict[str, object]:
    return {"name": "regular", "configuration": {"chunk_shape": edges}}


def _ome(path: Path) -> None:
    """Its level lies elsewhere."""
    zarr.create_array(path.with_name("secret.zarr"), data=VALUES)
    group = zarr.create_group(path)
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    image = {"axes": axes, "datasets": [{"path": "../secret.zarr"}]}
    group.attrs["ome"] = {"multiscales": [image]}


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        shape = (4, _EDGE, _EDGE)
        node = file.create_dataset(
            "a", shape, "u1", chunks=(1, _EDGE, _EDGE), compression="gzip", compression_opts=1
        )
        node.id.write_direct_chunk((0, 0, 0), _zeros(_EDGE**2))


def _linked(path: Path) -> None:
    """Its only volume lies in another file."""
    layout = h5py.VirtualLayout(VALUES.shape, VALUES.dtype)
    layout[:] = h5py.VirtualSource(path.with_name("sound.h5"), "a", VALUES.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("a", layout)


def _ome_elsewhere(path: Path) -> None:
    """An OME-TIFF whose second plane lies outside its folder."""
    (path.parent / "secret").mkdir()
    tifffile.imwrite(path.parent / "secret" / "b.tif", VALUES[0], metadata=None)
    names = path.name, "secret/../secret/b.tif"
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{z}"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    about = 'DimensionOrder="XYZCT" Type="uint8" SizeX="7" SizeY="6" SizeZ="2" SizeC="1" SizeT="1"'
    text = f"<OME><Image><Pixels {about}>{planes}</Pixels></Image></OME>"
    tifffile.imwrite(path, VALUES[0], photometric="minisblack", description=text, metadata=None)


def _pngs(folder: Path) -> None:
    folder.mkdir()
    for number in range(4):
        path = folder / f"{number}.png"
        Image.fromarray(VALUES[0]).save(path)
        blob = bytearray(path.read_bytes())
        blob[16:24] = _EDGE.to_bytes(4, "big") * 2
        blob[29:33] = zlib.crc32(blob[12:29]).to_bytes(4, "big")
        path.write_bytes(blob)


def _model(folder: Path, weights: bytes) -> None:
    card = model_folder(folder.parent) / "card.json"
    about = json.loads(card.read_text("utf-8"))
    about["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    folder.mkdir()
    (folder / "card.json").write_text(json.dumps(about), "utf-8")
    (folder / "weights.safetensors").write_bytes(weights)


def _zip(path: Path, name: str, content: bytes, mode: int = stat.S_IFREG) -> None:
    info = zipfile.ZipInfo(name)
    info.external_attr = (mode | 0o777) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, content)


def _pickled(path: Path) -> bytes:
    return pickle.dumps(Evil(path.parent / "marker"))


def _tiff_bomb(path: Path) -> None:
    tifffile.imwrite(
        path,
        iter([_zeros(_EDGE**2)]),
        shape=(_EDGE, _EDGE),
        dtype="u1",
        compression="zlib",
        rowsperstrip=_EDGE,
        photometric="minisblack",
    )


def _lying_npy(path: Path) -> None:
    with path.open("wb") as file:
        about = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6, 10**6)}
        np.lib.format.write_array_header_1_0(file, about)


def _lying_tiff(path: Path) -> None:
    tifffile.imwrite(path, VALUES, photometric="minisblack", metadata=None)
    blob = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        for name in ("ImageWidth", "ImageLength"):
            at = tiff.pages.first.tags[name].valueoffset
            blob[at : at + 4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(blob)


def _header(content: dict[str, object]) -> bytes:
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text


_HUGE = _header({"a": {"dtype": "F32", "shape": [25 * 10**8], "data_offsets": [0, 10**10]}})

HOSTILE: dict[str, Callable[[Path], object]] = {
    "pickle.npy": lambda path: np.save(path, np.array([Evil(path.parent / "marker")], object)),
    "bare-pickle.npy": lambda path: path.write_bytes(_pickled(path)),
    "pickle.pth": lambda path: path.write_bytes(_pickled(path)),
    "pickle-in.zip": lambda path: _zip(path, "archive/data.pkl", _pickled(path)),
    "renamed-pickle": lambda path: _model(path, _pickled(path)),
    "long-header": lambda path: _model(path, (10**10).to_bytes(8, "little") + b"{}"),
    "long-tensor": lambda path: _model(path, _HUGE),
    "slip.zip": lambda path: _zip(path, "../../card.json", b"{}"),
    "link.zip": lambda path: _zip(path, "card.json", b"/etc/passwd", stat.S_IFLNK),
    "bomb.zip": lambda path: _zip(path, "card.json", bytes(2**24)),
    "deep.zip": lambda path: _zip(path, "card.json", b"[" * 10**5),
    "circle.tif": _circle,
    "laughs.tif": _laughs,
    "bomb.tif": _tiff_bomb,
    "lying.tif": _lying_tiff,
    "lying.npy": _lying_npy,
    "lying.mrc": lambda path: _mrc(path, nx=2**30, ny=2**30, nz=2**30),
    "extended.mrc": lambda path: _mrc(path, nsymbt=2**31 - 1),
    "bomb.mrc.gz": _mrc_gz,
    "bomb.h5": _hdf5,
    "linked.h5": _linked,
    "elsewhere.ome.tif": _ome_elsewhere,
    "bomb-slices": _pngs,
    "endless.zarr": lambda path: _zarr(path, shape=[10**73, 6, 7]),
    "large-chunk.zarr": lambda path: _zarr(path, shape=[900] * 3, chunk_grid=_grid(900, 900, 900)),
    "huge-chunk.zarr": lambda path: _zarr(path, shape=[10**6] * 3, chunk_grid=_grid(*[10**6] * 3)),
    "deep.zarr": lambda path: _zarr(path) or (path / "zarr.json").write_bytes(b"[" * 10**6),
    "outside.zarr": _ome,
    "deep.yaml": lambda path: path.write_bytes(b"[" * 10**5),
    "laughs.yaml": lambda path: path.write_text(
        "a: &a [x,x]\n" + "".join(f"{b}: &{b} [*{a},*{a}]\n" for a, b in pairwise("abcdefghi"))
    ),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, float, int]]:
    """What a process says of each file that it opened, one after the other."""
    folder = tmp_path_factory.mktemp("hostile")
    sound = [folder / "sound.tif", folder / "sound.zarr", folder / "sound.mrc", folder / "sound.h5"]
    tifffile.imwrite(sound[0], VALUES, photometric="minisblack", compression="zlib")
    _zarr(sound[1])
    _mrc(sound[2])
    with h5py.File(sound[3], "w") as file:
        file["a"] = VALUES
    sound.append(model_folder(folder))
    for name, make in HOSTILE.items():
        make(folder / name)
    names = [[str(path) for path in sound], [str(folder / name) for name in HOSTILE]]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(names)],
        env={**os.environ, "NAPARI_D2R_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "marker").exists()
    answers: dict[str, tuple[str, str, float, int]] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(told: dict[str, tuple[str, str, float, int]], name: str) -> None:
    outcome, sentence, seconds, grown = told[name]
    assert outcome == "refused", (outcome, sentence)
    assert sentence.strip()
    assert "\n" not in sentence
    assert seconds < _MOST_S
    assert grown < _MOST_BYTES


def test_what_is_called_evil_is(tmp_path: Path) -> None:
    pickle.loads(_pickled(tmp_path / "x"))
    assert (tmp_path / "marker").exists()
