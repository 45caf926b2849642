"""Which processes fill or show a store: small files beside it, so that no other deletes it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import psutil

from napari_d2r.errors import InputError

__all__ = [
    "begin_showing",
    "is_filled_elsewhere",
    "is_shown_elsewhere",
    "leave",
    "refuse_if_filled_elsewhere",
    "stop_showing",
    "taken",
]


@contextmanager
def taken(path: Path) -> Iterator[None]:
    """Say that this process fills the store ``path`` from now on, or not after all if it fails."""
    _sign(_filled(path))
    try:
        yield
    except BaseException:
        leave(path)
        raise


def leave(path: Path) -> None:
    """Say that this process fills it no more."""
    owner = _owner(_filled(path))
    if owner is not None and owner[1] == os.getpid():
        _filled(path).unlink(missing_ok=True)


def is_filled_elsewhere(path: Path) -> bool:
    """Whether another living process of this machine fills the store ``path``."""
    return _is_of_another(_filled(path))


def begin_showing(path: Path) -> None:
    """Say that this process shows the store ``path`` from now on; others may, too."""
    _sign(_shown(path))


def stop_showing(path: Path) -> None:
    """Say that this process shows it no more."""
    _shown(path).unlink(missing_ok=True)


def is_shown_elsewhere(path: Path) -> bool:
    """Whether another living process of this machine shows the store ``path``."""
    return any(_is_of_another(file) for file in path.parent.glob(f"{escape(path.name)}.shown.*"))


def refuse_if_filled_elsewhere(path: Path) -> None:
    """Leave a store alone that another process fills.

    Raises
    ------
    InputError
        If there is such a process.
    """
    if is_filled_elsewhere(path):
        raise InputError(
            f"{path.name} is being filled by another program right now; wait until it has ended, "
            "or choose another name."
        )


def _sign(file: Path) -> None:
    about = [platform.node(), os.getpid(), psutil.Process().create_time()]
    file.write_text(json.dumps(about), encoding="utf-8")


def _is_of_another(file: Path) -> bool:
    """Whether another process signed it, and lives.

    A process that crashed leaves its file behind; a later one with the same number began at
    another time.
    """
    owner = _owner(file)
    if owner is None or owner[:2] == (platform.node(), os.getpid()):
        return False
    machine, pid, began = owner
    try:
        return machine == platform.node() and abs(psutil.Process(pid).create_time() - began) < 1
    except (psutil.Error, ValueError, ArithmeticError):  # it is gone, none of ours, or no number
        return False


def _owner(file: Path) -> tuple[str, int, float] | None:
    try:
        machine, pid, began = json.loads(file.read_text(encoding="utf-8"))
        return str(machine), int(pid), float(began)
    except (FileNotFoundError, ValueError, TypeError, ArithmeticError, RecursionError):  # or torn
        return None


def _filled(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial.pid")


def _shown(path: Path) -> Path:
    return path.with_name(f"{path.name}.shown.{os.getpid()}")
