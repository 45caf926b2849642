"""Whole stores: what stands in the way, and names that are given and taken in one step."""

from __future__ import annotations

import shutil
from pathlib import Path

from napari_d2r.errors import InputError
from napari_d2r.io._disk import sync_folder
from napari_d2r.io._shards import aside_of, sweep

__all__ = ["delete_replaced", "delete_store", "move_into_place", "refuse_existing"]


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that is there, or that is no store.

    Raises
    ------
    InputError
        Where it would be lost unasked, or is not ours to replace.
    """
    if not path.exists():
        return
    if not overwrite:
        raise InputError(
            f"{path} exists already; choose another name or replace it with --overwrite."
        )
    if not _is_store(path):
        raise InputError(f"{path} is not an OME-Zarr store, so --overwrite leaves it alone.")


def delete_store(path: Path) -> None:
    """Remove what an interrupted run left, and nothing that is not a store.

    It loses its name in one step, so that nobody finds half of it under that name.
    """
    if not _is_store(path) and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} is in the way and is not a store of ours; move it elsewhere.")
    aside = aside_of(path)
    path.rename(aside)
    shutil.rmtree(aside)


def move_into_place(partial: Path, final: Path) -> None:
    """Rename; an older store is set aside first, so that one of both always stands."""
    if final.exists():
        delete_replaced(final)
        final.rename(_replaced(final))
    partial.rename(final)
    sync_folder(final.parent)
    delete_replaced(final)


def delete_replaced(final: Path) -> None:
    """Remove the older store that another one has replaced, if it is still there."""
    aside = _replaced(final)
    sweep(aside)
    if aside.exists():
        delete_store(aside)


def _replaced(final: Path) -> Path:
    return final.with_name(f"{final.name}.replaced")


def _is_store(path: Path) -> bool:
    return path.is_dir() and any(
        (path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray")
    )
