"""Image files, whole or the part of them that we parse."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import tifffile

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume, probe
from tests.fuzz._target import VALUES, VOXEL, Target, looked_at


def _file(suffix: str) -> Callable[[bytes, Path], None]:
    def feed(blob: bytes, folder: Path) -> None:
        path = folder / f"x{suffix}"
        path.write_bytes(blob)
        looked_at(path)

    return feed


def _tiffs(folder: Path) -> list[bytes]:
    found = []
    for number, options in enumerate(
        (
            {"imagej": True, "metadata": {"spacing": 40, "unit": "nm", "axes": "ZYX"}},
            {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 10.0}},
            {"compression": "zlib"},
            {"bigtiff": True, "tile": (16, 16)},
        )
    ):
        path = folder / f"{number}.tif"
        tifffile.imwrite(path, VALUES, photometric="minisblack", **options)
        found.append(path.read_bytes())
    return found


def _feed_description(blob: bytes, folder: Path) -> None:
    """What ImageJ, OME and tifffile write into a tag as text; the rest of the file is valid."""
    path = folder / "described.tif"
    text = blob.replace(b"\0", b" ") + b"\0"
    tifffile.imwrite(
        path,
        VALUES,
        photometric="minisblack",
        metadata=None,
        resolution=(1e6, 1e6),
        extratags=[(270, "s", len(text), text, True)],
    )
    looked_at(path)


def _descriptions(folder: Path) -> list[bytes]:
    pixels = (
        '<Pixels ID="P" DimensionOrder="XYZCT" Type="uint8" SizeX="7" SizeY="6" SizeZ="5" '
        'SizeC="1" SizeT="1" PhysicalSizeX="10" PhysicalSizeXUnit="nm" PhysicalSizeY="10" '
        'PhysicalSizeYUnit="nm" PhysicalSizeZ="40" PhysicalSizeZUnit="nm">'
        '<TiffData IFD="0" PlaneCount="5"/></Pixels>'
    )
    image = f'<Image ID="I"><Description>{{}}</Description>{pixels}</Image>'
    name = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    return [
        b"ImageJ=1.53\nimages=5\nslices=5\nunit=\\u00B5m\nspacing=0.04\nloop=false\n",
        f'<?xml version="1.0"?><OME xmlns="{name}">{image}</OME>'.encode(),
        b'{"shape": [5, 6, 7], "axes": "ZYX"}',
    ]


def _mrcs(folder: Path) -> list[bytes]:
    found = []
    for number, dtype in enumerate(("i1", "i2", "f4")):
        path = folder / f"{number}.mrc"
        with mrcfile.new(path, VALUES.astype(dtype)) as mrc:
            mrc.voxel_size = (100, 100, 400)
        found.append(path.read_bytes())
    return found


def _packed_mrcs(folder: Path) -> list[bytes]:
    with mrcfile.new(folder / "x.mrc.gz", VALUES.astype("i1"), compression="gzip") as mrc:
        mrc.voxel_size = (100, 100, 400)
    return [(folder / "x.mrc.gz").read_bytes()]


def _npys(folder: Path) -> list[bytes]:
    found = []
    for dtype in ("u1", "<f4", ">u2"):
        stream = io.BytesIO()
        np.save(stream, VALUES.astype(dtype))
        found.append(stream.getvalue())
    return found


def _feed_npy(blob: bytes, folder: Path) -> None:
    """Also with channels and times chosen, as far as there are any."""
    path = folder / "x.npy"
    path.write_bytes(blob)
    probe(path)
    for chosen in ({}, {"channel": 0}, {"channel": 9, "time": 0}, {"channel": "all", "time": 9}):
        with suppress(InputError):
            open_volume(path, voxel_size=VOXEL, **chosen)  # type: ignore[arg-type]
    looked_at(path)


def _feed_hdf5(blob: bytes, folder: Path) -> None:
    """Names, shapes, types and attributes of datasets, as JSON, and which one is asked for.

    Not the file itself, which the HDF5 library parses.
    """
    path = folder / "x.h5"
    try:
        asked, datasets = json.loads(blob)
        with h5py.File(path, "w") as file:
            for name, about in list(datasets.items())[:20]:
                options = {key: about[key] for key in ("shape", "dtype", "chunks") if key in about}
                node = file.create_dataset(str(name), **options)
                for key, value in about.get("attrs", {}).items():
                    node.attrs[key] = value
    except Exception:  # noqa: BLE001  no such file can be made
        return
    try:
        looked_at(path)
    finally:
        looked_at(f"{path}:{asked}")


def _hdf5s(folder: Path) -> list[bytes]:
    sizes = {"element_size_um": [0.04, 0.01, 0.01], "resolution": 4.0}
    volume = {"shape": VALUES.shape, "dtype": "u1", "chunks": [1, 6, 7], "attrs": sizes}
    return [json.dumps(["/volume", {"volume": volume}]).encode()]


IMAGES: Mapping[str, Target] = {
    "tiff": Target(_file(".tif"), _tiffs),
    "description": Target(_feed_description, _descriptions),
    "mrc": Target(_file(".mrc"), _mrcs),
    "mrc-gz": Target(_file(".mrc.gz"), _packed_mrcs),
    "npy": Target(_feed_npy, _npys),
    "hdf5": Target(_feed_hdf5, _hdf5s),
}
