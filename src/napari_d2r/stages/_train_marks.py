"""By what a resumed training knows its own work: a hash of its input and settings, and its job."""

from __future__ import annotations

import errno
import hashlib
import shutil

import numpy as np
from numpy.typing import NDArray

from napari_d2r.checkpoints import load_card
from napari_d2r.errors import InputError
from napari_d2r.stages._train_plan import JOB, WORK, TrainPlan, unwritable

__all__ = ["begin_work", "identity_of"]

_MARK = "identity"


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


def begin_work(plan: TrainPlan, identity: str, *, resume: bool) -> None:
    """Leave the marks that a resumed run looks for; the first write to the folder.

    Raises
    ------
    InputError
        Where the work there is of another run, or the folder cannot be written.
    """
    work = plan.folder / WORK
    mark = work / _MARK
    if not resume and work.exists():
        shutil.rmtree(work)
    if mark.exists() and mark.read_text("utf-8") != identity:
        raise InputError(
            f"{plan.folder} was begun with another input or other settings; repeat those, or "
            "start anew with --overwrite."
        )
    try:
        work.mkdir(parents=True, exist_ok=True)
        mark.write_text(identity, "utf-8")
        (work / JOB).write_text(plan.job.to_yaml(), "utf-8")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(unwritable(plan.folder)) from error
