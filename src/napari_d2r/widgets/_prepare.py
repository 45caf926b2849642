"""The part of a training before the child process: plan, project folder, stack on disk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import D2RError, InputError
from napari_d2r.io import check_room, open_volume, pages_of, save_tiff_stream
from napari_d2r.jobs import CancelToken, Event, Finished, Outcome, Progress, TrainJob
from napari_d2r.volumes import ArrayLike, Volume, VoxelSize, crop
from napari_d2r.widgets._layers import volume_of
from napari_d2r.widgets._project import (
    Found,
    Project,
    file_name,
    look_into,
    require_writable,
    same_settings,
    save_project,
)

if TYPE_CHECKING:
    from napari_d2r.stages.train import TrainPlan

How = Literal["new", "resume", "start over"]

# The engine speaks to the command line; these are the same words for the form.
_WORDS = {
    "pass --factor R to insist, or --voxel-size Z,Y,X if these": "choose a factor to insist, or "
    "correct the voxel size if these",
    " with --factor R": " under Factor",
    "choose one with --channel N": "split it (Layers > Split RGB) and choose one channel",
    "choose another folder for the model": "choose another project folder",
    "set max_minutes, or max_steps of each stage": "give it some minutes, or the steps of each "
    "stage under Advanced",
}


@dataclass(frozen=True, slots=True, eq=False)
class TrainWish:
    """The filled form; ``problem`` says why the layer cannot be used, and spares a resume."""

    folder: Path
    layer: Any
    voxel_size: VoxelSize | None
    job: TrainJob
    preset: str
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedTraining:
    """A wish that met its stack and its folder.

    ``how`` is what Run does, None where it cannot do anything; ``note`` says why.
    """

    wish: TrainWish
    found: Found
    how: How | None = None
    lines: tuple[str, ...] = ()
    note: str = ""

    @property
    def model_folder(self) -> Path:
        """Where the model goes."""
        project = self.found.project
        folder = self.wish.folder
        return folder / (project.model if project else f"{file_name(folder.name)} model")


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """All is on disk: what the child is told."""

    project: Project
    stack: Path
    job: Path
    model: Path
    how: How


def plan_training(wish: TrainWish, cancel: CancelToken) -> Iterator[Event]:
    """Resolve a wish; in a thread, for it looks at folders and loads the engine.

    Yields
    ------
    Finished
        With a `PlannedTraining`.

    Raises
    ------
    InputError
        Where nothing can be run, in the words of the form.
    """
    found = look_into(wish.folder)
    require_writable(wish.folder)
    try:
        planned = _planned(wish, found)
    except InputError as error:
        raise InputError(in_words_of_the_form(str(error))) from error
    yield Finished(Outcome.COMPLETED, planned)


def _planned(wish: TrainWish, found: Found) -> PlannedTraining:
    from napari_d2r.stages.train import resolve_train

    bare = PlannedTraining(wish, found)
    if found.state == "unfinished":
        assert found.project is not None and found.job is not None
        if same_settings(wish.job, found.job):
            stack = _stack_of(found)
            plan = resolve_train(wish.job, stack, bare.model_folder, resume=True)
            lines = (f"An unfinished training of {found.project.facts}.", *_lines(plan))
            return replace(bare, how="resume", lines=lines)
        note = (
            f"The settings differ from those of the unfinished training of {found.project.facts} "
            "in this folder; set them back, press Start over, or choose another folder."
        )
    else:
        note = (
            "This folder holds a finished model; press Start over to replace it, or choose "
            "another folder."
        )
    if found.state == "new":
        plan = _plan_of(wish, bare.model_folder, overwrite=False)
        return replace(bare, how="new", lines=_lines(plan))
    try:
        plan = _plan_of(wish, bare.model_folder, overwrite=True)
    except InputError as error:
        raise InputError(f"{note} {error}") from error
    return replace(bare, note=note, lines=_lines(plan))


def _plan_of(wish: TrainWish, model: Path, *, overwrite: bool) -> TrainPlan:
    from napari_d2r.stages.train import resolve_train

    if wish.problem:
        raise InputError(wish.problem)
    assert wish.voxel_size is not None
    volume = volume_of(wish.layer, wish.voxel_size, in_colour=True)
    return resolve_train(wish.job, volume, model, overwrite=overwrite)


def _lines(plan: TrainPlan) -> tuple[str, ...]:
    shape = " × ".join(str(part.stop - part.start) for part in plan.box)
    colours = "" if plan.volume.num_channels is None else ", in colour"
    source = f"{shape} voxels of {plan.volume.voxel_size}{colours}"
    if (truth := plan.reference) is not None:
        shape = " × ".join(map(str, truth.shape))
        source = f"{shape} voxels of the reference {truth.name}"
    device = {"cpu": "the processor", "cuda": "the NVIDIA GPU", "mps": "the Apple GPU"}
    minutes = plan.job.max_minutes
    steps = "until the steps of each stage are done"
    return (
        f"Learns from {source}",
        f"Measured slices are {plan.gap:g} pixels apart, factor {plan.factor:g}",
        f"{f'{minutes:g} minutes' if minutes else steps} on "
        f"{device.get(plan.device.type, plan.device.type)}",
        *(f"Note: {warning}" for warning in plan.warnings),
    )


def in_words_of_the_form(sentence: str) -> str:
    """A sentence of the engine without options of the command line."""
    for words, ours in _WORDS.items():
        sentence = sentence.replace(words, ours)
    return sentence


def prepare(
    planned: PlannedTraining,
    how: How,
    placed: dict[str, Any],
    source: Path | None,
    cancel: CancelToken,
) -> Iterator[Event]:
    """Put stack, settings and job into the project folder.

    Parameters
    ----------
    placed
        Where the layer's first voxel is, as `Project.placed`.
    source
        The file that the layer came from, which is used in place where it holds the same.

    Yields
    ------
    Event
        ``Progress`` while the stack is written, then ``Finished`` with `Prepared`.
    """
    wish, project = planned.wish, planned.found.project
    try:
        if how != "resume" and not (wish.problem and project):  # else the stack is there
            project = yield from _new_project(planned, how, placed, source, cancel)
    except _Stopped:
        yield Finished(Outcome.CANCELLED)
        return
    assert project is not None
    job = save_project(wish.folder, project, wish.job)
    stack = wish.folder / project.stack
    yield Finished(Outcome.COMPLETED, Prepared(project, stack, job, planned.model_folder, how))


def _new_project(
    planned: PlannedTraining,
    how: How,
    placed: dict[str, Any],
    source: Path | None,
    cancel: CancelToken,
) -> Generator[Event, None, Project]:
    """The stack in a file; of one that is larger than the training needs, only its part."""
    wish = planned.wish
    plan = _plan_of(wish, planned.model_folder, overwrite=how == "start over")
    volume, digest = plan.volume, ""
    if source is not None and is_same(volume, source):
        stack = source.absolute()
    else:
        z, y, x = plan.box
        volume = crop(volume, (z, y, x))
        starts = [part.start for part in plan.box]
        moved = np.array(placed["translate"]) + np.array(placed["scale"]) * starts
        placed = placed | {"translate": moved.tolist()}
        stack = Path(f"{file_name(volume.name)}.tif")
        before = planned.found.project.digest if planned.found.project else ""
        digest = yield from _write_stack(volume, wish.folder / stack, before, cancel)
    return Project(
        layer=plan.volume.name,
        preset=wish.preset,
        stack=stack,
        voxel_size_nm=(volume.voxel_size.z, volume.voxel_size.y, volume.voxel_size.x),
        shape=volume.shape,
        num_channels=volume.num_channels,
        model=planned.model_folder.name,
        digest=digest,
        placed=placed,
    )


class _Stopped(Exception):
    """The user stopped the copy."""


def _write_stack(
    volume: Volume, target: Path, before: str, cancel: CancelToken
) -> Generator[Event, None, str]:
    """Write a stack, unless the file holds the same voxels already; returns their digest.

    Raises
    ------
    _Stopped
        When ``cancel`` is set; nothing is left behind.
    """
    pages = pages_of(volume)
    if before and target.is_file():
        digest, count = _new_digest(volume), volume.shape[0]
        for done, values in enumerate(_slices(pages, cancel), start=1):
            digest.update(values.data)
            yield Progress(done, count, "slices compared")
        if digest.hexdigest() == before:
            return before
    target.parent.mkdir(parents=True, exist_ok=True)
    check_room(target, math.prod(pages.shape) * volume.dtype.itemsize)
    digest = _new_digest(volume)

    def digested() -> Iterator[NDArray[Any]]:
        for values in _slices(pages, cancel):
            digest.update(values.data)
            yield values

    for done, total in save_tiff_stream(
        target,
        digested(),
        shape=pages.shape,
        dtype=volume.dtype,
        voxel_size=volume.voxel_size,
        overwrite=True,
    ):
        yield Progress(done, total, "slices written")
    return digest.hexdigest()


def _new_digest(volume: Volume) -> hashlib.blake2b:
    facts = f"{volume.shape} {volume.dtype} {volume.voxel_size}"
    return hashlib.blake2b(facts.encode(), digest_size=16)


def _slices(pages: ArrayLike, cancel: CancelToken) -> Iterator[NDArray[Any]]:
    for k in range(pages.shape[0]):
        if cancel:
            raise _Stopped
        yield np.ascontiguousarray(pages[k])


def is_same(volume: Volume, source: Path) -> bool:
    """Whether a file holds the voxels of a layer: each of them in memory, else three slices."""
    try:
        other = open_volume(source, voxel_size=volume.voxel_size, channel="all")
        if (other.data.shape, other.dtype) != (volume.data.shape, volume.dtype):
            return False
        count = volume.shape[0]
        picks = range(count) if isinstance(volume.data, np.ndarray) else (0, count // 2, count - 1)
        parts = (slice(k, k + 1) for k in picks)
        return all(np.array_equal(volume.read(z=part), other.read(z=part)) for part in parts)
    except (D2RError, OSError):  # not a file of ours: it is written anew
        return False


def _stack_of(found: Found) -> Volume:
    """The stack of an unfinished training, from its file."""
    assert found.project is not None
    return open_volume(
        found.folder / found.project.stack,
        voxel_size=VoxelSize(*found.project.voxel_size_nm),
        channel="all",
    )
