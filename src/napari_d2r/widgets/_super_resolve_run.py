"""One super-resolution as the viewer sees it: a layer that fills, and how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject, Signal

from napari_d2r._npe2 import METADATA
from napari_d2r.io import channels_last
from napari_d2r.jobs import (
    BlockWritten,
    CancelToken,
    Failed,
    Finished,
    Outcome,
    Progress,
    StageStarted,
    Started,
    Warned,
    Workers,
)
from napari_d2r.widgets._feed import LayerFeed
from napari_d2r.widgets._growing import GrowingArray
from napari_d2r.widgets._layers import placement
from napari_d2r.widgets._planner import Planned, in_words_of_the_form
from napari_d2r.widgets._preferences import preferences
from napari_d2r.widgets._provenance import provenance
from napari_d2r.widgets._runner import JobRunner
from napari_d2r.widgets._save import save_result


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    """The array to show from now on; ``path`` is that of the store once it is whole.

    ``uncertainty`` is the store beside it, where that was asked for.
    """

    array: Any
    path: Path | None = None
    uncertainty: Path | None = None


class SuperResolveRun(QObject):
    """Runs a plan once; ``changed`` when there is something new to show, ``ended`` at the end.

    It belongs to the window and not to the widget that started it, and goes on where that
    is closed. When its layer is deleted it cancels itself; finished blocks stay on disk.
    """

    changed = Signal()
    ended = Signal()
    warned = Signal(str)

    def __init__(self, viewer: Any, planned: Planned, *, start_over: bool = False) -> None:
        super().__init__()
        self.planned, self.is_cancelling = planned, False
        self.progress: Progress | None = None
        self.stage = "Starting"
        self.workers: int | None = None
        self.message, self.has_failed = "", False
        self.layer: Any = None
        self.result: Path | None = None
        self._viewer = viewer
        self._feed: LayerFeed | None = None
        self._blocks: Progress | None = None
        self._is_silent = False
        is_resumed = planned.is_begun and not start_over
        first = _first_voxel(viewer, planned)
        self._runner: JobRunner | None = JobRunner(
            partial(_work, planned, is_resumed, start_over, first)
        )
        self._runner.told.connect(self._on_told)
        self._runner.ended.connect(self._on_ended)

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self._runner is not None

    def start(self) -> None:
        """Begin."""
        assert self._runner is not None
        self._runner.start()

    def cancel(self) -> None:
        """Stop at the next boundary; finished blocks stay."""
        if self._runner is not None and not self.is_cancelling:
            self.is_cancelling = True
            self._runner.cancel()
            self.changed.emit()

    def wait(self, seconds: float) -> bool:
        """For a window that closes: wait, and show nothing any more."""
        self._is_silent = True
        return self._runner is None or self._runner.wait(seconds)

    def _on_told(self, event: Any) -> None:
        if self._is_silent:
            return
        if isinstance(event, _Opened):
            self._show(event.array) if event.path is None else self._on_whole(event)
        elif isinstance(event, BlockWritten):
            self._require_feed().block_written(event.start, event.stop)
        elif isinstance(event, Progress):
            self.progress = event
            if event.unit == "shards":
                self._blocks = event
        elif isinstance(event, StageStarted):
            self.stage, self.workers = event.title.capitalize(), None
        elif isinstance(event, Workers):
            self.workers = event.count
        elif isinstance(event, Warned):
            if not event.finding and event.message not in self.planned.plan.warnings:
                self.warned.emit(event.message)
        elif isinstance(event, Failed):
            self.has_failed = True
            why = in_words_of_the_form(event.message)
            self.message = why if self.result is None else self._not_copied(why)
        elif isinstance(event, Finished):
            self._on_finished(event)
        self.changed.emit()

    def _show(self, array: Any) -> None:
        """An array (Z, Y, X), or (Z, Y, X, 3) for a source in colour."""
        wish, plan = self.planned.wish, self.planned.plan
        about = provenance(self.planned)
        facts = about.model_dump(mode="json") | {"is_complete": False, "path": str(plan.output)}
        self._feed = LayerFeed(
            self._viewer,
            array,
            name=f"{wish.layer.name} [{about.method_name} ×{plan.grid.factor:g}]",
            metadata={METADATA: facts},
            placed=placement(wish.layer, self.planned.finer, wish.start, offset=plan.grid.offset),
            layer=_layer_of(self._viewer, facts["path"]),
            parent=self,
        )
        self.layer = self._feed.layer
        self._feed.removed.connect(self._on_removed)

    def _on_whole(self, opened: _Opened) -> None:
        """The store has its name; what may follow is a copy of it."""
        self.result = opened.path
        if self.layer in self._viewer.layers:
            self.layer.metadata[METADATA] |= {"is_complete": True}
        self._require_feed().finish(opened.array)
        if opened.uncertainty is not None:
            self._add_uncertainty(opened.uncertainty)

    def _add_uncertainty(self, store: Path) -> None:
        """A layer that lies exactly on the result; hidden at first, so as not to cover it."""
        import zarr

        wish, plan = self.planned.wish, self.planned.plan
        self._viewer.add_image(
            zarr.open_array(store / "0", mode="r"),
            name=f"{self.layer.name} uncertainty",
            colormap="magma",
            contrast_limits=(0, plan.intensity.span / 3),
            visible=False,
            metadata={METADATA: {"kind": "uncertainty", "path": str(store)}},
            **placement(
                wish.layer,
                self.planned.finer,
                wish.start,
                offset=plan.grid.offset,
                copy_contrast=False,
            ),
        )

    def _on_finished(self, event: Finished) -> None:
        if event.outcome is Outcome.COMPLETED:
            self.message = self._finished()
        elif self.result is not None:
            self.message = self._not_copied("cancelled")
        else:
            self.message = self._cancelled()

    def _cancelled(self) -> str:
        is_shown = self.layer in self._viewer.layers
        why = "Cancelled" if is_shown else "The result layer was deleted, so the run was stopped"
        blocks = self._blocks
        done = "no" if blocks is None else f"{blocks.done:g} of {blocks.total:g}"
        return f"{why}; {done} blocks are finished, and Resume goes on from there."

    def _finished(self) -> str:
        shape = " × ".join(map(str, self.planned.plan.output_shape))
        wished = self.planned.wish.save_to
        where = wished.name if wished else "in the cache folder until you delete it"
        return f"Finished: {shape} voxels, {where}."

    def _not_copied(self, why: str) -> str:
        assert self.planned.tiff is not None
        return (
            f"The result is whole, but {self.planned.tiff.name} was not written "
            f"({why.rstrip('.')}); use Save as…."
        )

    def _on_removed(self) -> None:
        self.cancel()

    def _on_ended(self) -> None:
        self._runner = None
        if self._is_silent:
            return
        if self._feed is not None:
            self._feed.finish()
            self._feed.deleteLater()
        self._feed = self._viewer = None  # the last run of a window is kept for its message
        (show_error if self.has_failed else show_info)(self.message)
        self.ended.emit()

    def _require_feed(self) -> LayerFeed:
        assert self._feed is not None, "blocks before the store"
        return self._feed


def _work(
    planned: Planned,
    is_resumed: bool,
    start_over: bool,
    first: tuple[int, int, int],
    cancel: CancelToken,
) -> Iterator[Any]:
    """The events of the engine, and the arrays to show among them; in a thread."""
    import torch
    import zarr

    from napari_d2r.stages.super_resolve import run_super_resolve

    torch.set_num_threads(preferences().num_threads)
    events = run_super_resolve(
        planned.plan,
        resume=is_resumed,
        overwrite=start_over,
        cancel=cancel,
        first=first,
        origin=planned.origin,
        provenance=provenance(planned),
    )
    growing: GrowingArray | None = None
    finished = Finished(Outcome.CANCELLED)
    for event in events:
        if isinstance(event, Finished):  # is told when there is no more to come
            finished = event
            continue
        if isinstance(event, BlockWritten) and growing is not None:
            growing.take(event.start, event.stop)
        yield event
        if isinstance(event, Started):
            assert event.output is not None
            growing = GrowingArray(zarr.open_array(event.output / "0", mode="r"))
            yield _Opened(_shown(growing))
            if is_resumed:
                growing.take_all()
                yield BlockWritten((0, 0, 0), planned.plan.output_shape)
    if finished.outcome is not Outcome.COMPLETED:
        yield finished
        return
    path, uncertainty = finished.result.path, finished.result.uncertainty
    yield _Opened(_shown(zarr.open_array(path / "0", mode="r")), path, uncertainty)
    if planned.tiff is None:
        yield Finished(Outcome.COMPLETED, path)
        return
    yield StageStarted("write TIFF", 3, 3)
    for event in save_result(path, planned.tiff, cancel):
        if not isinstance(event, Started):
            yield event


def _shown(array: Any) -> Any:
    """As a layer takes it, whose colours come last."""
    return channels_last(array, "The result") if len(array.shape) == 4 else array


def _layer_of(viewer: Any, path: str) -> Any:
    """The layer of an earlier, unfinished run of the same store."""
    for layer in viewer.layers:
        about = layer.metadata.get(METADATA, {})
        if about.get("path") == path and not about.get("is_complete", True):
            return layer
    return None


def _first_voxel(viewer: Any, planned: Planned) -> tuple[int, int, int]:
    """The result's voxel in the middle of the screen, where to begin."""
    wish, plan = planned.wish, planned.plan
    point = np.array(viewer.dims.point, float)
    shown = list(viewer.dims.displayed)
    point[shown] = np.array(viewer.scene.camera.center, float)[-len(shown) :]
    voxel = np.array(wish.layer.world_to_data(point), float)[-3:] - wish.start
    voxel[0] *= planned.finer
    z, y, x = np.clip(np.rint(voxel), 0, np.array(plan.output_shape) - 1).astype(int).tolist()
    return z, y, x
