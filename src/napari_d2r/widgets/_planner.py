"""From a wish to a plan, and to the place where its result goes."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume
from napari_d2r.jobs import CancelToken, Event, Finished, Outcome
from napari_d2r.volumes import Volume, crop
from napari_d2r.widgets._layers import volume_of
from napari_d2r.widgets._preferences import preferences
from napari_d2r.widgets._prepare import is_same
from napari_d2r.widgets._super_resolve_form import Wish

if TYPE_CHECKING:
    from napari_d2r.inspection import Finding
    from napari_d2r.stages.super_resolve import SuperResolvePlan

_SAMPLED_SLICES, _STEP = 8, 16
_NO_MATTER = {"device", "max_memory_gb", "shard_seconds", "cluster"}  # to the voxels of a result

# The engine speaks to the command line; these are the same words for the form.
_WORDS = {
    r"pass --factor R to insist, or --voxel-size Z,Y,X if these": "choose a factor to insist, or "
    "correct the voxel size if these",
    r" with --factor R\b": " under Target",
    r"--keep-measured keeps them all": "tick “Keep every measured slice” to keep them all",
    r"go on with --resume, or start again with --overwrite": "press Resume, or Start over",
    r"go on with --resume": "press Resume",
    r"start again with --overwrite": "press Start over",
    r"pass --overwrite to replace it, or another name": "choose another name",
    r"choose another name or replace it with --overwrite": "choose another name",
    r"; choose one with --channel N": "; split it (Layers > Split RGB) and choose one channel",
    r"leave out solver, steps and samples": "leave them under Method as they were",
    r"so there is no direction to choose; leave it out": "so there is no direction to choose",
    r"pass --engine torch": "choose the engine torch",
    r"pass a smaller --shard or fewer --workers": "take fewer workers",
    r"begin it again, and press Resume": "start it again, and press Resume",
    r"repeat it with --overwrite": "press Start over",
    r"leave uncertainty out, or the table of positions": "untick “How far it may be off”, or name "
    "no table",
    r"leave uncertainty out": "untick “How far it may be off”",
    r"leave keep_measured out": "untick “Keep every measured slice”",
}


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """A wish that met its volume; ``is_begun`` where an earlier run can be resumed.

    ``tiff`` is where the result is copied to at the end, where that was wished for;
    ``origin`` where its first voxel stands, in nm.
    """

    wish: Wish
    plan: SuperResolvePlan
    is_begun: bool
    tiff: Path | None
    origin: tuple[float, float, float]

    @property
    def output(self) -> Path:
        """The store that the run fills."""
        return self.plan.output

    @property
    def finer(self) -> float:
        """How many times closer slices of the result stand than the layer shows its own."""
        return self.wish.voxel_size.z / self.plan.voxel_size.z

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the plan, in the words of the form; what speaks of the stack stands in ``fit``."""
        about_stack = {str(one) for one in self.plan.fit}
        return tuple(
            in_words_of_the_form(one) for one in self.plan.warnings if one not in about_stack
        )

    @property
    def fit(self) -> tuple[Finding, ...]:
        """In what the stack is unlike those that the model knows."""
        return self.plan.fit


def plan_wish(wish: Wish, cancel: CancelToken) -> Iterator[Event]:
    """Resolve the job of a wish; in a thread, for it loads the model and tries its speed.

    Yields
    ------
    Finished
        With a `Planned`.

    Raises
    ------
    InputError
        As the engine, in the words of the form.
    """
    import torch

    from napari_d2r.io import check_room, interrupted_shard
    from napari_d2r.stages.super_resolve import resolve_super_resolve

    torch.set_num_threads(preferences().num_threads)
    volume = volume_of(wish.layer, wish.voxel_size, in_colour=True)
    if wish.job.cluster is not None:
        volume = _for_others(volume)
    if wish.box is not None:
        volume = crop(volume, wish.box)
    tiff = wish.save_to if _is_tiff(wish.save_to) else None
    if wish.save_to is not None and wish.save_to.exists():
        raise InputError(f"{wish.save_to} exists; choose another name, or delete it first.")
    if tiff is not None and not tiff.absolute().parent.is_dir():
        raise InputError(f"There is no folder {tiff.parent}; create it first.")
    origin = _origin(wish)
    output = _store_for(wish, volume, origin)
    is_begun = interrupted_shard(output) is not None
    try:
        plan = resolve_super_resolve(wish.job, volume, output, resume=is_begun)
    except InputError as error:
        raise InputError(in_words_of_the_form(str(error))) from error
    if tiff is not None:
        num_voxels = math.prod(plan.output_shape) * (volume.num_channels or 1)
        check_room(tiff, num_voxels * volume.dtype.itemsize)
    yield Finished(Outcome.COMPLETED, Planned(wish, plan, is_begun, tiff, origin))


def _for_others(volume: Volume) -> Volume:
    """The same voxels, as other processes can read them.

    Raises
    ------
    InputError
        For a layer in memory which differs from the file it came from, or came from none.
    """
    if not isinstance(volume.data, np.ndarray):
        return volume
    if volume.source is not None and is_same(volume, volume.source):
        stored = open_volume(volume.source, voxel_size=volume.voxel_size, channel="all")
        return replace(stored, name=volume.name)
    raise InputError(
        f"{volume.name} is in memory, where other processes cannot read it; save it as OME-Zarr or "
        "TIFF, open the file, and choose that layer."
    )


def in_words_of_the_form(sentence: str) -> str:
    """A sentence of the engine without options of the command line."""
    for pattern, words in _WORDS.items():
        sentence = re.sub(pattern, words, sentence)
    return sentence


def _origin(wish: Wish) -> tuple[float, float, float]:
    """Where the first voxel of the layer, or of the region of it, stands, in nm.

    Counted in voxels of the layer, so that it also holds for a layer in pixels, whose voxel
    size was entered; to a millionth of a nm, so that a plan made anew finds its store again.
    """
    layer = wish.layer
    voxels = (layer.translate + layer.affine.translate) / layer.scale + wish.start
    z, y, x = (round(float(nm), 6) + 0.0 for nm in voxels * tuple(wish.voxel_size))
    return z, y, x


def _is_tiff(path: Path | None) -> bool:
    return path is not None and path.suffix.lower() in {".tif", ".tiff"}


def _store_for(wish: Wish, volume: Volume, origin: tuple[float, float, float]) -> Path:
    """Where the store goes: the file wished for, or a name of its own in the cache folder.

    The same wish for the same pixels finds its interrupted store again; a finished one is
    never touched.
    """
    if wish.save_to is not None and not _is_tiff(wish.save_to):
        return wish.save_to
    folder = preferences().results_folder
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]+", "_", f"{wish.layer.name} {wish.model_title}").strip("_.")[:80]
    name, number = f"{stem}_{_digest(wish, volume, origin)}", 1
    while (path := folder / f"{name}{f'_{number}' if number > 1 else ''}.ome.zarr").exists():
        number += 1
    return path


def _digest(wish: Wish, volume: Volume, origin: tuple[float, float, float]) -> str:
    """Of everything that shapes the result, with a few pixels in place of all."""
    settings = wish.job.model_dump(mode="json", exclude=_NO_MATTER)
    facts = (settings, volume.shape, str(volume.dtype), tuple(wish.voxel_size), wish.box, origin)
    digest = hashlib.sha256(repr(facts).encode())
    picks = np.linspace(0, volume.shape[0] - 1, _SAMPLED_SLICES).round().astype(int)
    for k in np.unique(picks):
        digest.update(volume.read(z=slice(k, k + 1))[..., ::_STEP, ::_STEP].tobytes())
    return digest.hexdigest()[:8]
