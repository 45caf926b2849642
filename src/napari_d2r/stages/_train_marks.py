"""By what a resumed training knows its own work: a hash of its input and settings, and its job."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_d2r.checkpoints import load_card
from napari_d2r.errors import InputError
from napari_d2r.io import replace_file
from napari_d2r.stages._device import begun_otherwise, computed_on
from napari_d2r.stages._train_plan import JOB, WORK, TrainPlan, unwritable

__all__ = ["begin_work", "identity_of"]

_MARK, _COMPUTED_ON = "identity", "computed_on"


def identity_of(plan: TrainPlan, stored: NDArray[np.generic]) -> str:
    """A hash of the voxels and of every setting that shapes the result.

    The time budget and the device are not among them: a resumed run may have more time.
    """
    settings = plan.job.model_copy(
        update={"max_minutes": None, "clock": "wall", "device": "auto"}
    ).to_yaml()
    digest = hashlib.sha256(settings.encode())
    digest.update(f"{plan.gap} {stored.shape} {stored.dtype}".encode())
    for folder in plan.learned.values():
        digest.update(load_card(folder)[0].weights_sha256.encode())
    if plan.reference is not None:
        digest.update(np.ascontiguousarray(plan.reference.read()).tobytes())
    digest.update(np.ascontiguousarray(stored).tobytes())
    return digest.hexdigest()


def begin_work(plan: TrainPlan, identity: str, *, resume: bool, overwrite: bool) -> tuple[str, ...]:
    """Leave the marks that a resumed run looks for; the first write to the folder.

    Returns what the user should know of a resumed run.

    Raises
    ------
    InputError
        Where the work there is of another run, or the folder cannot be written.
    """
    work = plan.folder / WORK
    mark = work / _MARK
    begun = mark.read_text("utf-8") if resume and mark.exists() else None
    if begun not in (None, identity) and not overwrite:
        raise InputError(
            f"{plan.folder} was begun with another input or other settings; repeat those, or "
            "start anew with --overwrite."
        )
    try:
        work.mkdir(parents=True, exist_ok=True)
        if begun != identity:
            _clear(work)
        (work / JOB).write_text(plan.job.to_yaml(), "utf-8")
        now, began_on = computed_on(plan.device), work / _COMPUTED_ON
        if not began_on.exists():
            replace_file(began_on, now.encode())
        replace_file(mark, identity.encode())
        return begun_otherwise(began_on.read_text("utf-8", "replace"), now)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(unwritable(plan.folder)) from error


def _clear(work: Path) -> None:
    """Delete what another run left: first the mark, without which nothing there is gone on with.

    The job stays until it is written anew; by it the folder is known to be ours.
    """
    (work / _MARK).unlink(missing_ok=True)
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != JOB:
            path.unlink()
