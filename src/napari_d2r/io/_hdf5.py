"""HDF5 datasets, opened anew for every read: h5py handles survive neither fork nor pickle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from napari_d2r.errors import InputError
from napari_d2r.io._lazy import MAX_UNIT_BYTES, READ_ERRORS, Box, LazyArray, refuse_bomb
from napari_d2r.io._provenance import PROVENANCE, provenance_in_text
from napari_d2r.io._source import UNKNOWN_EDGES, Edges, Origin, Source, label_axes

__all__ = ["ORIGIN_UM", "SIZE_UM", "read_hdf5"]

SIZE_UM, ORIGIN_UM = "element_size_um", "origin_um"
_MOST_LINKS = 64  # on the way to a dataset


class Hdf5Array(LazyArray):
    """One dataset of a file."""

    def __init__(self, path: Path, dataset: str, shape: tuple[int, ...], dtype: Any) -> None:
        super().__init__(shape, dtype, f"{path.name}:{dataset}")
        self._path, self._dataset = path, dataset

    def _read(self, box: Box) -> Any:
        with _open(self._path) as file:
            return file[self._dataset][box]


def read_hdf5(path: Path, dataset: str | None = None) -> Source:
    """Open ``dataset``, or the only one with three axes or more.

    The attribute ``element_size_um`` (z, y, x in µm) is the voxel size. ``resolution``,
    which has no agreed unit, is only pointed out. ``origin_um`` and ``napari_d2r``, which
    our exports have, say where the volume stands and how it was made.

    Raises
    ------
    InputError
        If the file is not HDF5, or the dataset is missing, not named where there are
        several, lies in another file, or is not an array of numbers.
    """
    try:
        with _open(path) as file:
            chosen = dataset.strip("/") if dataset else _only_dataset(path, file)
            node = file.get(_within(path, file, chosen))
            if not isinstance(node, h5py.Dataset):
                raise InputError(
                    f"{path.name} has no dataset /{chosen}; it holds {_listing(_candidates(file))}."
                )
            return _source(path, f"/{chosen}", node)
    except InputError:
        raise
    except READ_ERRORS as error:
        raise InputError(f"{path.name} is not a readable HDF5 file ({error}).") from error


def _open(path: Path) -> h5py.File:
    # Read-only media and many network disks refuse the lock that HDF5 asks for by default.
    return h5py.File(path, "r", locking="best-effort")


def _within(path: Path, file: h5py.File, name: str) -> str:
    """Where a name leads by links within the file; one that leaves it is never followed."""
    at, parts = "", _parts(name)
    for _ in range(_MOST_LINKS):
        if not parts:
            return at
        step = f"{at}/{parts.pop(0)}"
        try:
            kind = file.id.links.get_info(step.encode()).type
        except (KeyError, RuntimeError):
            return step  # which is not there
        if kind == h5py.h5l.TYPE_SOFT:
            target = file.id.links.get_val(step.encode()).decode()
            at, parts = ("" if target.startswith("/") else at), _parts(target) + parts
        elif kind == h5py.h5l.TYPE_HARD:
            at = step
        else:
            raise InputError(_elsewhere(path, step))
    raise InputError(f"{path.name}:/{name} is reached by too many links; name the dataset itself.")


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _is_elsewhere(node: h5py.Dataset) -> bool:
    """Whether its voxels lie in other files; asked before its shape, which may open them."""
    layout = node.id.get_create_plist()
    return bool(layout.get_layout() == h5py.h5d.VIRTUAL or layout.get_external_count())


def _elsewhere(path: Path, dataset: str) -> str:
    return (
        f"{path.name}:{dataset} lies in another file, which is not opened; name that file, or "
        "copy the voxels into this one."
    )


def _source(path: Path, dataset: str, node: h5py.Dataset) -> Source:
    if _is_elsewhere(node):
        raise InputError(_elsewhere(path, dataset))
    if node.shape is None or not len(node.shape):
        raise InputError(f"{path.name}:{dataset} is a single value, not a volume.")
    chunk_bytes = math.prod(node.chunks or ()) * node.dtype.itemsize
    if chunk_bytes > MAX_UNIT_BYTES:
        raise InputError(f"{path.name}:{dataset} has chunks over 2 GiB; store it in smaller ones.")
    refuse_bomb(f"{path.name}:{dataset}", chunk_bytes, node.id.get_storage_size())
    shape = tuple(int(length) for length in node.shape)
    data = Hdf5Array(path, dataset, shape, node.dtype)
    notes = []
    edges = UNKNOWN_EDGES
    if SIZE_UM in node.attrs:
        edges = _edges_um(node.attrs[SIZE_UM])
        if edges == UNKNOWN_EDGES:
            notes.append(f"The attribute {SIZE_UM} is not three positive numbers and is not used.")
    if "resolution" in node.attrs:
        notes.append(
            f"The attribute resolution ({node.attrs['resolution']}) has no unit and is not used."
        )
    return Source(
        f"{path.name}:{dataset}",
        "HDF5",
        data,
        label_axes(shape),
        edges,
        tuple(notes),
        origin=_lengths_um(node.attrs.get(ORIGIN_UM)) or (0.0, 0.0, 0.0),
        provenance=provenance_in_text(node.attrs.get(PROVENANCE)),
    )


def _edges_um(value: Any) -> Edges:
    edges = _lengths_um(value)
    return edges if edges is not None and min(edges) > 0 else UNKNOWN_EDGES


def _lengths_um(value: Any) -> Origin | None:
    """Three lengths in µm, in nm; None where it is anything else."""
    try:
        z, y, x = (float(length) * 1e3 for length in np.asarray(value).ravel())
    except (TypeError, ValueError):
        return None
    return (z, y, x) if all(map(math.isfinite, (z, y, x))) else None


def _candidates(file: h5py.File) -> list[h5py.Dataset]:
    """Every dataset of the file's own with three axes or more, by name."""
    found: list[h5py.Dataset] = []

    def visit(_: str, node: Any) -> None:
        if not isinstance(node, h5py.Dataset) or _is_elsewhere(node):
            return
        if node.shape is not None and len(node.shape) >= 3:
            found.append(node)

    file.visititems(visit)
    return sorted(found, key=lambda node: str(node.name))


def _only_dataset(path: Path, file: h5py.File) -> str:
    found = _candidates(file)
    if len(found) == 1:
        return str(found[0].name).strip("/")
    if not found:
        raise InputError(f"{path.name} holds no dataset with three axes Z, Y, X of its own.")
    raise InputError(
        f"{path.name} holds {_listing(found)}; name one, such as {path.name}:{found[0].name}."
    )


def _listing(datasets: list[h5py.Dataset]) -> str:
    names = [f"{node.name} {tuple(node.shape)}" for node in datasets]
    if not names:
        return "no dataset with three axes"
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
