"""Room on the disk, and what has safely arrived there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_d2r.errors import DiskFullError, InputError

__all__ = [
    "check_room",
    "disk_errors",
    "named_when_whole",
    "replace_file",
    "require_free",
    "sync_file",
    "sync_folder",
    "sync_tree",
]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_GIB = 2**30


def check_room(path: str | Path, num_bytes: int, num_files: int = 1) -> None:
    """Refuse an output that cannot fit, before anything is written.

    Parameters
    ----------
    path
        Where the output will be; folders on the way may not exist yet.
    num_bytes
        Most that will be written.
    num_files
        Most files and folders that it will be.

    Raises
    ------
    InputError
        If the disk has less room, or room for fewer files, or the folder may not be written to.
        What a quota allows cannot be asked for.
    """
    path = Path(path).absolute()
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir():
        raise InputError(f"{path} cannot be written, because {folder} is a file.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder} may not be written to; choose another folder.")
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise InputError(
            f"{path.name} needs {num_bytes / _GIB:.1f} GiB, but the disk has "
            f"{free / _GIB:.1f} GiB free; free some space or choose another disk."
        )
    free_files = _free_files(folder)
    if free_files is not None and free_files < num_files:
        raise InputError(
            f"{path.name} needs {num_files:,} files, but the disk has room for {free_files:,} "
            "more; delete some, or choose another disk or larger shards."
        )


def _free_files(folder: Path) -> int | None:
    """How many more files a disk can list; None where it does not count them, as on Windows."""
    if not hasattr(os, "statvfs"):
        return None
    disk = os.statvfs(folder)
    return disk.f_favail if disk.f_files else None


@contextmanager
def disk_errors(path: Path, kept: str) -> Iterator[None]:
    """Turn a full disk or quota into one sentence; ``kept`` says what remains.

    Raises
    ------
    DiskFullError
        Instead of OSError with ENOSPC or EDQUOT. Other errors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(f"The disk is full while writing {path.name}; {kept}") from error


def require_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a name for a file that is taken.

    Raises
    ------
    InputError
        By a folder, or by a file that is not to be replaced.
    """
    if path.is_dir() or (path.exists() and not overwrite):
        raise InputError(
            f"{path} exists already; choose another name or replace it with --overwrite."
        )


@contextmanager
def named_when_whole(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A name beside ``path`` for a file or a folder, which takes the place of ``path`` at the end.

    Nothing is left of it where an error, or whoever stops listening, ends it before.

    Raises
    ------
    DiskFullError
        As `disk_errors`.
    """
    aside = path.with_name(f"{path.name}.exporting")
    _remove(aside)
    try:
        with disk_errors(path, "nothing is left of it; free some space and try again."):
            yield aside
            (sync_tree if aside.is_dir() else sync_file)(aside)
            if overwrite:
                _remove(path)
            aside.rename(path)
            sync_folder(path.parent)
    finally:
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: a crash leaves the older one, or the new one, whole."""
    scratch = path.with_name(f"{path.name}.tmp")
    with scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def sync_file(path: Path) -> None:
    """Return once the content of a file has reached the disk."""
    with path.open("rb+") as file:  # Windows syncs writable handles only
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Return once the names in a folder have reached the disk; Windows does so by itself."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """`sync_file` and `sync_folder` of all that is in a folder, and of the folder."""
    for path in folder.rglob("*"):
        (sync_folder if path.is_dir() else sync_file)(path)
    sync_folder(folder)
