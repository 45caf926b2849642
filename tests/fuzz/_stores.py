"""Stores that are folders: the metadata that a header of ours is read from; voxels are valid."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from napari_d2r.io import export_stream, forget, interrupted_shard, verify_store
from napari_d2r.volumes import Volume
from tests.fuzz._target import VALUES, VOXEL, Target, begun, looked_at
from tests.fuzz._values import SPLIT


def _feed_zarr(blob: bytes, folder: Path) -> None:
    """The metadata of the group and of up to two arrays; the voxels of the first are valid."""
    group, *arrays = blob.split(SPLIT)
    store = folder / "x.zarr"
    shutil.rmtree(store, ignore_errors=True)
    chunk = store / "0" / "c" / "0" / "0" / "0"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(VALUES.tobytes())
    if group:
        (store / "zarr.json").write_bytes(group)
    for name, array in zip("01", arrays, strict=False):
        (store / name).mkdir(exist_ok=True)
        (store / name / "zarr.json").write_bytes(array)
    try:
        looked_at(store)
    finally:
        looked_at(store / "0")


def _zarrs(folder: Path) -> list[bytes]:
    path = _published(folder)
    group = json.loads((path / "zarr.json").read_text("utf-8"))
    array = json.loads((path / "0" / "zarr.json").read_text("utf-8"))
    array["codecs"] = [{"name": "bytes"}]
    coarse = {**array, "shape": [3, 3, 4]}
    levels = group["attributes"]["ome"]["multiscales"][0]["datasets"]
    alone = [json.dumps(group), json.dumps(array)]
    levels.append({**levels[0], "path": "1"})
    texts = (alone, [json.dumps(group), json.dumps(array), json.dumps(coarse)])
    return [SPLIT.join(text.encode() for text in each) for each in texts]


def _feed_zarr2(blob: bytes, folder: Path) -> None:
    """The attributes of a group of format 2 and the metadata of its array."""
    group, _, array = blob.partition(SPLIT)
    store = folder / "x2.zarr"
    (store / "0").mkdir(parents=True, exist_ok=True)
    (store / "0" / "0.0.0").write_bytes(VALUES.tobytes())
    (store / ".zgroup").write_text('{"zarr_format": 2}', "utf-8")
    (store / ".zattrs").write_bytes(group)
    (store / "0" / ".zarray").write_bytes(array)
    looked_at(store)


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
    return [SPLIT.join((found[0].encode(), text)), SPLIT.join((found[3].encode(), text))]


def _feed_precomputed(blob: bytes, folder: Path) -> None:
    """The file ``info`` of a Neuroglancer volume; its one chunk is valid."""
    volume = folder / "precomputed"
    if not volume.exists():
        _export_precomputed(volume)
    (volume / "info").write_bytes(blob)
    looked_at(volume)


def _precomputeds(folder: Path) -> list[bytes]:
    _export_precomputed(folder / "seed")
    return [(folder / "seed" / "info").read_bytes()]


def _export_precomputed(target: Path) -> None:
    for _ in export_stream(Volume(VALUES, VOXEL), target, "precomputed"):
        pass


def _feed_n5(blob: bytes, folder: Path) -> None:
    """Attributes of a group of N5 and of up to three datasets, whose blocks are not there."""
    group, *datasets = blob.split(SPLIT)
    store = folder / "x.n5"
    shutil.rmtree(store, ignore_errors=True)
    for name, attributes in zip(("s0", "s1", "other"), datasets, strict=False):
        (store / name).mkdir(parents=True)
        (store / name / "attributes.json").write_bytes(attributes)
    if group:
        store.mkdir(exist_ok=True)
        (store / "attributes.json").write_bytes(group)
    looked_at(store)


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
        SPLIT.join((json.dumps(group).encode(), json.dumps({**dataset, **own}).encode()))
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
    group, _, array = blob.partition(SPLIT)
    (store / "zarr.json").write_bytes(group)
    (store / "0" / "zarr.json").write_bytes(array)
    for _ in verify_store(store):
        pass


def _results(folder: Path) -> list[bytes]:
    path = _published(folder)
    return [SPLIT.join((path / name).read_bytes() for name in ("zarr.json", "0/zarr.json"))]


def _feed_unfinished(blob: bytes, folder: Path) -> None:
    """A result that waits to be gone on with: its journal, and the metadata of its level."""
    path, (journal, _, array) = folder / "half.ome.zarr", blob.partition(SPLIT)
    if not (folder / "sound").exists():
        output = begun(path)
        output.write(output.shards()[0], VALUES)
        output.release()
        output.partial_path.rename(folder / "sound")
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder / "sound", partial)
    (partial / "0" / "zarr.json").write_bytes(array)
    path.with_name(f"{path.name}.partial.jsonl").write_bytes(journal)
    interrupted_shard(path)
    damaged = [found for *_, found in verify_store(path) if found is not None]
    forget(path, damaged)
    output = begun(path, resume=True)
    output.release()
    assert output.done <= {shard.index for shard in output.shards()}


def _unfinished(folder: Path) -> list[bytes]:
    output = begun(folder / "seed.ome.zarr")
    header = (folder / "seed.ome.zarr.partial.jsonl").read_bytes()
    (shard,) = output.shards()
    output.write(shard, VALUES)
    listed = (folder / "seed.ome.zarr.partial.jsonl").read_bytes()
    array = (output.partial_path / "0" / "zarr.json").read_bytes()
    output.release()
    return [SPLIT.join((journal, array)) for journal in (header, listed)]


def _published(folder: Path) -> Path:
    output = begun(folder / "out.ome.zarr")
    (shard,) = output.shards()
    output.write(shard, VALUES)
    return output.publish({})


STORES: Mapping[str, Target] = {
    "zarr": Target(_feed_zarr, _zarrs),
    "zarr2": Target(_feed_zarr2, _zarr2s),
    "precomputed": Target(_feed_precomputed, _precomputeds),
    "n5": Target(_feed_n5, _n5s),
    "result": Target(_feed_result, _results),
    "unfinished": Target(_feed_unfinished, _unfinished),
}
