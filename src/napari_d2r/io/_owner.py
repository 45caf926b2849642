"""Which process fills a store: a small file beside it, so that no other touches it."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import psutil

from napari_d2r.errors import InputError

__all__ = ["is_filled_elsewhere", "leave", "refuse_if_filled_elsewhere", "take"]


def take(path: Path) -> None:
    """Say that this process fills the store ``path`` from now on."""
    about = [platform.node(), os.getpid(), psutil.Process().create_time()]
    _file(path).write_text(json.dumps(about), encoding="utf-8")


def leave(path: Path) -> None:
    """Say that this process fills it no more."""
    owner = _owner(path)
    if owner is not None and owner[1] == os.getpid():
        _file(path).unlink(missing_ok=True)


def is_filled_elsewhere(path: Path) -> bool:
    """Whether another living process of this machine fills the store ``path``.

    A process that crashed leaves its file behind; a later one with the same number began at
    another time.
    """
    owner = _owner(path)
    if owner is None or owner[:2] == (platform.node(), os.getpid()):
        return False
    machine, pid, began = owner
    try:
        return machine == platform.node() and abs(psutil.Process(pid).create_time() - began) < 1
    except psutil.Error:  # it is gone, or none of ours
        return False


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


def _owner(path: Path) -> tuple[str, int, float] | None:
    try:
        machine, pid, began = json.loads(_file(path).read_text(encoding="utf-8"))
        return str(machine), int(pid), float(began)
    except (FileNotFoundError, ValueError, TypeError):  # none, or torn by a crash
        return None


def _file(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial.pid")
