"""What the manifest promises napari besides widgets: readers, writers and samples.

Importing this loads neither napari nor Qt. All lengths handed to napari are in nm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import D2RError, InputError
from napari_d2r.inspection import Inspection, inspect_names, inspect_stream
from napari_d2r.io import (
    PROVENANCE,
    Source,
    channels_last,
    check_room,
    create_output,
    is_slice_folder,
    length_in_nm,
    ome_zarr_num_bytes,
    open_source,
    pick_axes,
    save_tiff,
    slice_paths,
)
from napari_d2r.jobs import Finished, Progress, Provenance
from napari_d2r.samples import FIB25_LICENCE, fib25_stream, phantom_sample
from napari_d2r.volumes import SUPPORTED_DTYPES, ArrayLike, IntensityRange, Volume, VoxelSize

__all__ = ["fib25", "get_reader", "phantom", "write_ome_zarr", "write_tiff"]

LayerData = tuple[Any, dict[str, Any], str]

METADATA = PROVENANCE  # in layer.metadata it has the same name as in files
_UNITS = ("nm", "nm", "nm")
_AXES = ("z", "y", "x")
_MAX_CHANNELS = 8  # as many layers; more are spectra, and not for us
_SHARD, _CHUNK = 256, 64
_SLAB_BYTES = 2**28
_ONE = VoxelSize(1, 1, 1)


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Find the reader of a volume; None for what napari reads better (2D, colour, time).

    A damaged or contradictory file gets a reader that says so, in a sentence.
    """
    if not isinstance(path, str):
        return None
    try:
        source = open_source(path)
    except InputError:
        return None if is_slice_folder(path) and not _has_slices(path) else _refuse
    return _read if _is_ours(source) else None


def _is_ours(source: Source) -> bool:
    length = dict(zip(source.axes, source.data.shape, strict=True))
    is_colour = source.axes.endswith("C") and length["C"] in (3, 4)
    return (
        "?" not in source.axes
        and length.get("Z", 1) > 1
        and length.get("T", 1) == 1
        and length.get("C", 1) <= _MAX_CHANNELS
        and not is_colour
        and np.dtype(source.data.dtype).name in SUPPORTED_DTYPES
    )


def _has_slices(path: str) -> bool:
    suffixes = {file.suffix.lower() for file in Path(path).iterdir()}
    return bool(suffixes & {".tif", ".tiff", ".png"})


def _refuse(path: str) -> list[LayerData]:
    """Say why a file cannot be opened; of a folder, everything that is wrong with it."""
    if not is_slice_folder(path):
        open_source(path)
    findings = _inspected(path).findings
    sentences = "\n".join(f"- {finding}" for finding in findings)
    raise InputError(f"{Path(path).name} cannot be opened as a stack.\n{sentences}")


def _inspected(path: str) -> Inspection:
    found = _drained(inspect_stream(path), "Looking through the slices")
    assert isinstance(found, Inspection)
    return found


def _read(path: str) -> list[LayerData]:
    source = open_source(path)
    for sentence in _warnings(path, source):
        _notify("show_warning", sentence)
    made = Provenance.found_in(source.provenance)
    num_channels = dict(zip(source.axes, source.data.shape, strict=True)).get("C", 1)
    if made is not None and made.is_rgb and num_channels == 3:
        return [_layer(path, source, "all", num_channels)]
    return [_layer(path, source, channel, num_channels) for channel in range(num_channels)]


def _warnings(path: str, source: Source) -> Iterator[str]:
    """What the headers and file names show; pixels are looked at on demand."""
    if is_slice_folder(path):
        names = [file.name for file in slice_paths(Path(path))]
        yield from (str(finding) for finding in inspect_names(names))
    yield from source.notes
    unknown = [letter for letter, edge in zip("ZYX", source.edges, strict=True) if edge is None]
    if unknown:
        words = " and ".join(filter(None, [", ".join(unknown[:-1]), unknown[-1]]))
        yield (
            f"{source.name} does not state its voxel size along {words}, so the "
            "layer is in pixels; enter the voxel size in the Super-resolve widget."
        )


def _layer(
    path: str, source: Source, channel: int | Literal["all"], num_channels: int
) -> LayerData:
    """One channel, or ``all`` three as the colours of one layer."""
    levels = [
        pick_axes(replace(source, data=data), channel=channel if num_channels > 1 else None)
        for data in (source.data, *source.coarser)
    ]
    is_rgb = channel == "all"
    is_alone = is_rgb or num_channels == 1
    name = _stem(path) if is_alone else f"{_stem(path)} [channel {channel}]"
    facts = _origin_of(path, source, levels[0])
    z, y, x = source.edges
    placed: dict[str, Any] = {}
    if z is not None and y is not None and x is not None:
        placed = _placed(VoxelSize(z, y, x)) | {"translate": source.origin}
    about = {"name": name, "metadata": {METADATA: facts}, "axis_labels": _AXES} | placed
    about |= _contrast(levels[-1], name)
    if is_rgb:
        about |= {"rgb": True}
        levels = [channels_last(level, name) for level in levels]
    if len(levels) > 1:
        return levels, about | {"multiscale": True}, "image"
    return levels[0], about, "image"


def _origin_of(path: str, source: Source, data: ArrayLike) -> dict[str, Any]:
    """How a result was made; of others, and of what was cut or rescaled since, the file."""
    made, edges = Provenance.found_in(source.provenance), source.edges
    if (
        made is None
        or made.shape != tuple(data.shape[-3:])
        or None in edges
        or not np.allclose(np.array(edges, float), made.voxel_size_nm, rtol=1e-3)
    ):
        return {"source": str(path), "voxel_size_nm": list(edges)}
    return made.model_dump(mode="json") | {"path": str(path)}


def _stem(path: str) -> str:
    name = Path(path).name
    return name.removesuffix(Path(name).suffix).removesuffix(".ome")


def _placed(voxel_size: VoxelSize) -> dict[str, Any]:
    return {"scale": tuple(voxel_size), "units": _UNITS, "axis_labels": _AXES}


def _contrast(data: ArrayLike, name: str) -> dict[str, Any]:
    """Percentiles of a few slices; napari's own choice where those say nothing."""
    try:
        found = IntensityRange.of(Volume(data, _ONE, name), max_slices=5)
    except InputError:  # constant, or with voxels that are not finite
        return {}
    return {"contrast_limits": (found.low, found.high)}


def write_ome_zarr(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save an image layer as OME-Zarr 0.5 with its voxel size and place; replaces a store.

    Raises
    ------
    D2RError
        If the layer is no volume, is in pixels, or does not fit on the disk.
    """
    with _Spoken():
        volume, origin = _volume(data, meta)
        check_room(path, ome_zarr_num_bytes(volume.shape, volume.dtype))
        output = create_output(
            path,
            shape=volume.shape,
            dtype=volume.dtype,
            voxel_size=volume.voxel_size,
            identity="a napari layer",
            shard=(_SHARD, _SHARD, _SHARD),
            chunk=_CHUNK,
            origin=origin,
            overwrite=True,
        )
        for shard in _tracked(output.shards(), f"Saving {volume.name}"):
            z, y, x = (slice(a, b) for a, b in zip(shard.start, shard.stop, strict=True))
            output.write(shard, volume.read(z, y, x))
        return [str(output.publish(_provenance(meta)))]


def write_tiff(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save an image layer as TIFF with its voxel size; replaces a file.

    Raises
    ------
    D2RError
        If the layer is no volume, is in pixels, or does not fit on the disk.
    """
    with _Spoken():
        volume, _ = _volume(data, meta)
        slices = _tracked(_slices(volume), f"Saving {volume.name}", volume.shape[0])
        written = save_tiff(
            path,
            slices,
            shape=volume.shape,
            dtype=volume.dtype,
            voxel_size=volume.voxel_size,
            provenance=_provenance(meta),
            overwrite=True,
        )
        return [str(written)]


class _Spoken:
    """Turns InputError into an error that napari shows: it drops every ValueError here."""

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InputError):
            raise D2RError(str(error)) from error


def _volume(data: Any, meta: dict[str, Any]) -> tuple[Volume, tuple[float, ...]]:
    """The finest level of a layer as a volume, and where its first voxel stands in nm."""
    name = str(meta.get("name", "The layer"))
    if meta.get("multiscale") or isinstance(data, (list, tuple)):
        data = data[0]
    if len(data.shape) != 3 or meta.get("rgb"):
        raise InputError(f"{name} is no grey volume of three axes; only those are saved here.")
    units = [length_in_nm(str(unit)) for unit in meta.get("units", ("pixel",) * 3)]
    if len(units) != 3 or None in units:
        raise InputError(
            f"{name} is in pixels, so its voxel size would be lost; enter it in the Super-resolve "
            "widget, or save with napari's own writer."
        )
    affine = np.asarray(meta.get("affine", np.eye(4)), float)
    linear = [affine[:3, :3], np.asarray(meta.get("rotate", np.eye(3)), float)]
    is_turned = any(not np.allclose(part, np.eye(3)) for part in linear)
    if is_turned or np.any(meta.get("shear", 0)) or min(meta["scale"]) <= 0:
        raise InputError(
            f"{name} is rotated, sheared, mirrored or scaled by its affine, which would be lost; "
            "reset its transform, or save with napari's own writer."
        )
    edges = [float(s) * (u or 1.0) for s, u in zip(meta["scale"], units, strict=True)]
    first = np.asarray(meta["translate"], float) + affine[:3, 3]
    origin = [float(t) * (u or 1.0) for t, u in zip(first, units, strict=True)]
    return Volume(data, VoxelSize(*edges), name), tuple(origin)


def _slices(volume: Volume) -> Iterator[NDArray[Any]]:
    """XY slices in order, read in slabs as deep as most chunks."""
    depth, height, width = volume.shape
    slab = max(1, min(_CHUNK, _SLAB_BYTES // (height * width * volume.dtype.itemsize)))
    for start in range(0, depth, slab):
        yield from volume.read(slice(start, start + slab))


def _provenance(meta: dict[str, Any]) -> dict[str, object]:
    facts = meta.get("metadata", {}).get(METADATA, {})
    plain = json.loads(json.dumps(facts, default=str))
    return {"version": version("napari-d2r"), **(plain if isinstance(plain, dict) else {})}


def phantom() -> list[LayerData]:
    """Make the phantom, and its isotropic truth as a second layer that is hidden at first."""
    measured, truth = phantom_sample()
    limits = IntensityRange.of(measured)
    return [
        (
            volume.data,
            {
                "name": name,
                "visible": visible,
                "contrast_limits": (limits.low, limits.high),
                "metadata": {METADATA: _facts(volume, f"sample: {name}")},
                **_placed(volume.voxel_size),
            },
            "image",
        )
        for volume, name, visible in (
            (truth, "Phantom (truth)", False),
            (measured, "Phantom", True),
        )
    ]


def fib25() -> list[LayerData]:
    """Every 8th slice of FIB-25, downloaded once; its licence is shown.

    Raises
    ------
    D2RError
        If it cannot be downloaded.
    """
    volume = _drained(fib25_stream(), "FIB-25: download")
    assert isinstance(volume, Volume)
    _notify("show_info", FIB25_LICENCE)
    facts = _facts(volume, "sample: FIB-25") | {"licence": FIB25_LICENCE}
    about = {"name": "FIB-25", "metadata": {METADATA: facts}} | _placed(volume.voxel_size)
    return [(volume.data, about | _contrast(volume.data, volume.name), "image")]


def _facts(volume: Volume, source: str) -> dict[str, Any]:
    return {"source": source, "voxel_size_nm": list(volume.voxel_size)}


def _tracked(items: Any, words: str, total: int | None = None) -> Iterator[Any]:
    """Pass items on under a progress bar of napari's."""
    from napari.utils import progress

    yield from progress(items, desc=words, total=total)


def _drained(events: Iterator[Progress | Finished], words: str) -> Any:
    """Run a job under a progress bar of napari's; returns its result."""
    from napari.utils import progress

    result = None
    with progress(desc=words) as bar:
        for event in events:
            if isinstance(event, Finished):
                result = event.result
            else:
                bar.total = int(event.total)
                bar.update(int(event.done) - bar.n)
    return result


def _notify(how: str, sentence: str) -> None:
    from napari.utils import notifications

    getattr(notifications, how)(sentence)
