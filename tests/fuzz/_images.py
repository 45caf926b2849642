"""Image files: whole, or the part of them that a header of ours is read from."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import tifffile
from PIL import Image

from napari_d2r.io import export_stream, open_volume, probe, verify_store
from napari_d2r.volumes import Volume
from tests.fuzz._target import VALUES, VOXEL, Target, begun

_SPLIT = b"\n=====\n"


def _read(path: Path | str) -> None:
    """As much as a look at a file takes."""
    probe(path)
    volume = open_volume(path, voxel_size=VOXEL, channel=None)
    volume.read(slice(0, 1), slice(0, 64), slice(0, 64))


def _file(suffix: str) -> Callable[[bytes, Path], None]:
    def feed(blob: bytes, folder: Path) -> None:
        path = folder / f"x{suffix}"
        path.write_bytes(blob)
        _read(path)

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
    _read(path)


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


def _feed_hdf5(blob: bytes, folder: Path) -> None:
    """What is read of a dataset besides its voxels: its name and its attributes.

    Not the file itself, which the HDF5 library parses.
    """
    name, _, rest = blob.partition(b"\n")
    size, _, resolution = rest.partition(b"\n")
    path = folder / "x.h5"
    with h5py.File(path, "w") as file:
        node = file.create_dataset("volume", data=VALUES, chunks=(1, 6, 7))
        node.attrs["element_size_um"] = _attribute(size)
        node.attrs["resolution"] = _attribute(resolution)
    _read(path)
    _read(f"{path}:/{name.decode('utf-8', errors='replace')}")


def _attribute(blob: bytes) -> object:
    """Numbers where the bytes spell some, else a text."""
    text = blob.decode("utf-8", errors="replace").replace("\0", " ")
    try:
        return np.array([float(part) for part in text.split(",")])
    except ValueError:
        return text


def _hdf5s(folder: Path) -> list[bytes]:
    return [b"volume\n0.04,0.01,0.01\n4.0", b"volume\n0.04,0.01\nnm"]


def _feed_png(blob: bytes, folder: Path) -> None:
    """One slice of a folder of two."""
    slices = folder / "slices"
    slices.mkdir(exist_ok=True)
    Image.fromarray(VALUES[0]).save(slices / "a.png")
    (slices / "b.png").write_bytes(blob)
    _read(slices)


def _pngs(folder: Path) -> list[bytes]:
    found = []
    for mode in ("L", "I;16", "RGB", "P"):
        stream = io.BytesIO()
        values = VALUES[0].astype("u2") if mode == "I;16" else VALUES[0]
        image = Image.fromarray(values)
        (image if mode == "I;16" else image.convert(mode)).save(stream, "PNG")
        found.append(stream.getvalue())
    return found[:1]  # the others are no slice of a grey stack


def _feed_names(blob: bytes, folder: Path) -> None:
    """Names of slices, a line each."""
    slices = folder / "named"
    slices.mkdir(exist_ok=True)
    for left in slices.iterdir():
        left.unlink()
    stream = io.BytesIO()
    Image.fromarray(VALUES[0]).save(stream, "PNG")
    for line in blob.splitlines()[:20]:
        name = line.decode("utf-8", errors="replace")[:60].replace("/", "_").replace("\0", "_")
        if name.strip(". "):
            (slices / name).write_bytes(stream.getvalue())
    _read(slices)


def _names(folder: Path) -> list[bytes]:
    return [
        b"slice1.png\nslice2.png\nslice10.png",
        b"z001_t0.png\nz002_t0.png",
        b"a.tif.png\n.x.png\nb.png",
    ]


def _feed_zarr(blob: bytes, folder: Path) -> None:
    """The metadata of the group and of its array; the voxels are valid."""
    group, _, array = blob.partition(_SPLIT)
    store = folder / "x.zarr"
    chunk = store / "0" / "c" / "0" / "0" / "0"
    chunk.parent.mkdir(parents=True, exist_ok=True)
    chunk.write_bytes(VALUES.tobytes())
    (store / "zarr.json").write_bytes(group)
    (store / "0" / "zarr.json").write_bytes(array)
    _read(store)
    _read(store / "0")


def _zarrs(folder: Path) -> list[bytes]:
    path = _published(folder)
    array = json.loads((path / "0" / "zarr.json").read_text("utf-8"))
    array["codecs"] = [{"name": "bytes"}]
    return [_SPLIT.join(((path / "zarr.json").read_bytes(), json.dumps(array).encode()))]


def _feed_zarr2(blob: bytes, folder: Path) -> None:
    """The attributes of a group of format 2 and the metadata of its array."""
    group, _, array = blob.partition(_SPLIT)
    store = folder / "x2.zarr"
    (store / "0").mkdir(parents=True, exist_ok=True)
    (store / "0" / "0.0.0").write_bytes(VALUES.tobytes())
    (store / ".zgroup").write_text('{"zarr_format": 2}', "utf-8")
    (store / ".zattrs").write_bytes(group)
    (store / "0" / ".zarray").write_bytes(array)
    _read(store)


def _zarr2s(folder: Path) -> list[bytes]:
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = {"type": "scale", "scale": [0.04, 0.01, 0.01]}
    moved = {"type": "translation", "translation": [1, 1, 1]}
    level = {"path": "0", "coordinateTransformations": [scale, moved]}
    image = {"axes": axes, "datasets": [level], "coordinateTransformations": [scale]}
    array = {
        "zarr_format": 2,
        "shape": VALUES.shape,
        "chunks": VALUES.shape,
        "dtype": "|u1",
        "compressor": None,
        "filters": None,
        "fill_value": 0,
        "order": "C",
    }
    found = [json.dumps({"multiscales": [image]}), '{"plate": {}}', '{"labels": []}', "{}"]
    text = json.dumps(array).encode()
    return [_SPLIT.join((found[0].encode(), text)), _SPLIT.join((found[3].encode(), text))]


def _feed_precomputed(blob: bytes, folder: Path) -> None:
    """The file ``info`` of a Neuroglancer volume; its one chunk is valid."""
    volume = folder / "precomputed"
    if not volume.exists():
        _export_precomputed(volume)
    (volume / "info").write_bytes(blob)
    _read(volume)


def _precomputeds(folder: Path) -> list[bytes]:
    _export_precomputed(folder / "seed")
    return [(folder / "seed" / "info").read_bytes()]


def _export_precomputed(target: Path) -> None:
    for _ in export_stream(Volume(VALUES, VOXEL), target, "precomputed"):
        pass


def _feed_n5(blob: bytes, folder: Path) -> None:
    """Attributes of a group of N5 and of its dataset, whose blocks are not there."""
    group, _, dataset = blob.partition(_SPLIT)
    store = folder / "x.n5"
    (store / "s0").mkdir(parents=True, exist_ok=True)
    (store / "attributes.json").write_bytes(group)
    (store / "s0" / "attributes.json").write_bytes(dataset)
    _read(store)


def _n5s(folder: Path) -> list[bytes]:
    dataset: dict[str, object] = {
        "dataType": "uint8",
        "dimensions": VALUES.shape[::-1],
        "blockSize": VALUES.shape[::-1],
        "compression": {"type": "raw"},
    }
    finest = {"resolution": [10, 10, 0.04], "units": ["nm", "nm", "um"]}
    placed = {
        "axes": ["x", "y", "z"],
        "scale": [1, 1, 4],
        "translate": [0, 0, 8],
        "units": ["nm"] * 3,
    }
    whole = {"pixelResolution": {"dimensions": [1, 1, 4], "unit": "nm"}}
    return [
        _SPLIT.join((json.dumps(group).encode(), json.dumps({**dataset, **own}).encode()))
        for group, own in (
            (finest, {"downsamplingFactors": [2, 2, 1]}),
            (whole, {}),
            ({}, {"transform": placed}),
        )
    ]


def _feed_result(blob: bytes, folder: Path) -> None:
    """A result that somebody asks to be verified: metadata of the group and of its level."""
    store = folder / "out.ome.zarr"
    if not store.exists():
        _published(folder)
    group, _, array = blob.partition(_SPLIT)
    (store / "zarr.json").write_bytes(group)
    (store / "0" / "zarr.json").write_bytes(array)
    for _ in verify_store(store):
        pass


def _results(folder: Path) -> list[bytes]:
    path = _published(folder)
    return [_SPLIT.join((path / name).read_bytes() for name in ("zarr.json", "0/zarr.json"))]


def _published(folder: Path) -> Path:
    output = begun(folder / "out.ome.zarr")
    (shard,) = output.shards()
    output.write(shard, VALUES)
    return output.publish({})


IMAGES: Mapping[str, Target] = {
    "tiff": Target(_file(".tif"), _tiffs),
    "description": Target(_feed_description, _descriptions),
    "mrc": Target(_file(".mrc"), _mrcs),
    "mrc-gz": Target(_file(".mrc.gz"), _packed_mrcs),
    "npy": Target(_file(".npy"), _npys),
    "hdf5": Target(_feed_hdf5, _hdf5s),
    "png": Target(_feed_png, _pngs),
    "names": Target(_feed_names, _names),
    "zarr": Target(_feed_zarr, _zarrs),
    "zarr2": Target(_feed_zarr2, _zarr2s),
    "precomputed": Target(_feed_precomputed, _precomputeds),
    "n5": Target(_feed_n5, _n5s),
    "result": Target(_feed_result, _results),
}
