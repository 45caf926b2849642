"""Folders of slices, and paths: what a name and its ending lead to."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from napari_d2r.inspection import inspect_names
from napari_d2r.io._folder import natural_key, read_slice, scan_slices, slice_paths, usual_header
from tests.fuzz._target import VALUES, Target, looked_at


def _png(mode: str = "L", values: np.ndarray = VALUES[0]) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(values.astype("u2") if mode == "I;16" else values)
    (image if mode == "I;16" else image.convert(mode)).save(stream, "PNG")
    return stream.getvalue()


def _tiff(values: np.ndarray = VALUES[0], **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, photometric="minisblack", metadata=None, **options)
    return stream.getvalue()


# What is written into a file, by a word in its name; else one sound slice.
_MODES = {"rgb": "RGB", "clear": "LA", "palette": "P", "deep": "I;16", "bits": "1"}
_PNGS = {word: _png(mode) for word, mode in _MODES.items()}
_PNGS |= {"wide": _png(values=np.hstack([VALUES[0]] * 2)), "torn": _png()[:50]}
_TIFFS = {
    "stack": _tiff(VALUES),
    "torn": _tiff()[:50],
    "rgb": _tiff(np.stack([VALUES[0]] * 3, -1), planarconfig="contig"),
    "wide": _tiff(np.hstack([VALUES[0]] * 2)),
    "sized": _tiff(resolution=(1e6, 1e6), resolutionunit=3),
}


def _npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, VALUES)
    return stream.getvalue()


_NPY = _npy()


def _feed_png(blob: bytes, folder: Path) -> None:
    """One slice of a folder of two."""
    slices = folder / "slices"
    slices.mkdir(exist_ok=True)
    (slices / "a.png").write_bytes(_png())
    (slices / "b.png").write_bytes(blob)
    looked_at(slices)


def _feed_names(blob: bytes, folder: Path) -> None:
    """Names of slices, a line each."""
    slices = folder / "named"
    slices.mkdir(exist_ok=True)
    for left in slices.iterdir():
        left.unlink()
    names = []
    for line in blob.splitlines()[:20]:
        name = line.decode("utf-8", errors="replace")[:60].replace("/", "_").replace("\0", "_")
        if name.strip(". "):
            is_tiff = Path(name).suffix.lower() in (".tif", ".tiff")
            kinds = _TIFFS if is_tiff else _PNGS
            sound = _tiff() if is_tiff else _png()
            (slices / name).write_bytes(next((kinds[k] for k in kinds if k in name), sound))
            names.append(name)
    inspect_names(sorted(names, key=natural_key) or ["a"])
    usual_header(list(scan_slices(slice_paths(slices))))
    looked_at(slices)
    for path in slice_paths(slices):
        read_slice(path)


def _feed_path(blob: bytes, folder: Path) -> None:
    """A path as somebody types it; there is a file unless it begins with ``no``."""
    text = " ".join(blob.decode("utf-8", errors="replace")[:60].replace("\0", "_").split())
    if ":/" in text:
        looked_at(text)
    path = folder / (text.replace("/", "_").strip(". ") or "x")
    if not text.startswith("no"):
        path.write_bytes(b"" if text.startswith("empty") else _NPY)
    try:
        looked_at(path)
    finally:
        path.unlink(missing_ok=True)


SLICES: Mapping[str, Target] = {
    "png": Target(_feed_png, lambda folder: [_png()]),
    "names": Target(
        _feed_names,
        lambda folder: [
            b"slice1.png\nslice2.png\nslice10.png",
            b"z001_t0.png\nz002_t0.png",
            b"a.tif.png\n.x.png\nb.png",
            b"a1.tif\na2.tif\na3.tif\na5.tif\na5.TIFF\na7.tif\nnote.txt",
        ],
    ),
    "path": Target(_feed_path, lambda folder: [b"x.npy"]),
}
