"""What is fuzzed: every parser of ours, fed bytes; only an error in words may come of it."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import tifffile
import torch

from napari_d2r.checkpoints import HaloCard, ModelCard, load_model, save_model
from napari_d2r.errors import D2RError
from napari_d2r.io import create_output, open_volume
from napari_d2r.io._journal import Journal
from napari_d2r.jobs import SuperResolveJob, TrainJob
from napari_d2r.models import build_network, describe_config
from napari_d2r.volumes import VoxelSize

VOXEL = VoxelSize(40, 10, 10)
VALUES = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)


@dataclass(frozen=True)
class Target:
    """A parser: how bytes are given to it, and valid ones to begin with."""

    feed: Callable[[bytes, Path], None]
    seeds: Callable[[Path], list[bytes]]


def fed(name: str, blob: bytes, folder: Path) -> bool:
    """Feed a target, in an empty folder; whether it took the bytes.

    Whatever is not an error in words rises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            TARGETS[name].feed(blob, folder)
        except D2RError as error:
            sentence = str(error)
            assert sentence.strip() and "\n" not in sentence, sentence
            return False
    return True


def _read(path: Path) -> None:
    """As much as a look at a file takes."""
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


def _mrcs(folder: Path) -> list[bytes]:
    found = []
    for number, dtype in enumerate(("i1", "i2", "f4")):
        path = folder / f"{number}.mrc"
        with mrcfile.new(path, VALUES.astype(dtype)) as mrc:
            mrc.voxel_size = (100, 100, 400)
        found.append(path.read_bytes())
    return found


def _npys(folder: Path) -> list[bytes]:
    found = []
    for dtype in ("u1", "<f4", ">u2"):
        stream = io.BytesIO()
        np.save(stream, VALUES.astype(dtype))
        found.append(stream.getvalue())
    return found


_SPLIT = b"\n=====\n"


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


def _zarrs(folder: Path) -> list[bytes]:
    output = create_output(
        folder / "out.ome.zarr",
        shape=VALUES.shape,
        dtype="uint8",
        voxel_size=VOXEL,
        identity="",
        shard=VALUES.shape,
        chunk=8,
    )
    (shard,) = output.shards()
    output.write(shard, VALUES)
    path = output.publish({})
    array = json.loads((path / "0" / "zarr.json").read_text("utf-8"))
    array["codecs"] = [{"name": "bytes"}]
    return [_SPLIT.join(((path / "zarr.json").read_bytes(), json.dumps(array).encode()))]


_TINY = {"widths": [4, 4], "blocks": [1, 1]}


def _model_folder(folder: Path) -> Path:
    torch.manual_seed(0)
    network = build_network("lateral", _TINY)
    card = ModelCard(
        architecture="lateral",
        options=describe_config(network),
        role="prior",
        gap=8,
        gap_range=(2, 16),
        voxel_size_nm=(80, 10, 10),
        halo=HaloCard(slices=2, lateral=24),
        scores={},
        trained_on="",
        trained_by=TrainJob(),
        seconds=1,
        steps=1,
        package_version="",
    )
    save_model(folder / "model", network, card)
    return folder / "model"


def _feed_weights(blob: bytes, folder: Path) -> None:
    model = folder / "model"
    if not model.exists():
        _model_folder(folder)
    card = json.loads((model / "card.json").read_text("utf-8"))
    card["weights_sha256"] = hashlib.sha256(blob).hexdigest()  # what follows it is reached
    (model / "card.json").write_text(json.dumps(card), "utf-8")
    next(model.glob("*.safetensors")).write_bytes(blob)
    load_model(model)


def _weights(folder: Path) -> list[bytes]:
    return [next(_model_folder(folder).glob("*.safetensors")).read_bytes()]


def _feed_card(blob: bytes, folder: Path) -> None:
    model = folder / "model"
    if not model.exists():
        _model_folder(folder)
    (model / "card.json").write_bytes(blob)
    load_model(model)


def _cards(folder: Path) -> list[bytes]:
    return [(_model_folder(folder) / "card.json").read_bytes()]


def _feed_job(blob: bytes, folder: Path) -> None:
    text = blob.decode("utf-8", errors="replace")
    SuperResolveJob.from_yaml(text)


def _jobs(folder: Path) -> list[bytes]:
    return [SuperResolveJob().to_yaml().encode(), b"factor: 3\nmodel: here"]


def _feed_journal(blob: bytes, folder: Path) -> None:
    path = folder / "x.jsonl"
    path.write_bytes(blob)
    journal = Journal.open(path)
    journal.mend()
    assert Journal.open(path).sizes == journal.sizes


def _journals(folder: Path) -> list[bytes]:
    create_output(
        folder / "j.ome.zarr",
        shape=VALUES.shape,
        dtype="uint8",
        voxel_size=VOXEL,
        identity="",
        shard=VALUES.shape,
        chunk=8,
    )
    header = (folder / "j.ome.zarr.partial.jsonl").read_bytes()
    return [header, header + b'{"shard": 0, "bytes": 12}\n{"shard": 1, "by']


TARGETS: Mapping[str, Target] = {
    "tiff": Target(_file(".tif"), _tiffs),
    "mrc": Target(_file(".mrc"), _mrcs),
    "npy": Target(_file(".npy"), _npys),
    "zarr": Target(_feed_zarr, _zarrs),
    "weights": Target(_feed_weights, _weights),
    "card": Target(_feed_card, _cards),
    "job": Target(_feed_job, _jobs),
    "journal": Target(_feed_journal, _journals),
}
