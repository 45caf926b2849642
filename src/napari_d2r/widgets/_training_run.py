"""One training as the viewer sees it: prepared in a thread, run in a child, kept by the window."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QObject, QTimer, Signal

from napari_d2r._npe2 import METADATA
from napari_d2r.jobs import (
    BlockWritten,
    CancelToken,
    Event,
    Failed,
    Finished,
    Outcome,
    StageStarted,
    VolumeBegun,
)
from napari_d2r.widgets._child import JobChild
from napari_d2r.widgets._feed import LayerFeed
from napari_d2r.widgets._models import models_changed
from napari_d2r.widgets._preferences import preferences
from napari_d2r.widgets._prepare import (
    How,
    PlannedTraining,
    Prepared,
    in_words_of_the_form,
    prepare,
)
from napari_d2r.widgets._project import Project
from napari_d2r.widgets._runner import JobRunner
from napari_d2r.widgets._training_record import TrainingRecord

_MOST_KEPT_BYTES = 2**30  # a larger pseudo-HR volume stays on disk

State = Literal["preparing", "running", "stopping", "paused", "cancelled", "completed", "failed"]


class TrainingRun(QObject):
    """Runs a planned training once, and again from where it was paused.

    ``changed`` comes with every new state; what was told is in ``record``. It belongs to
    the window, not to a widget: with a closed dock it goes on, and its end is a
    notification of napari.

    Parameters
    ----------
    planned
        Whose plan is made.
    how
        New, resumed, or over what is there.
    record
        Of the same training before it was paused.
    """

    changed = Signal()
    ended = Signal()

    def __init__(
        self,
        viewer: Any,
        planned: PlannedTraining,
        how: How,
        record: TrainingRecord | None = None,
    ) -> None:
        super().__init__()
        self.planned, self.how = planned, how
        self.state: State = "preparing"
        self.message = ""
        self.record = record or TrainingRecord()
        layer = planned.wish.layer
        project = planned.found.project
        is_stored = how == "resume" or bool(planned.wish.problem)
        self.layer_name = project.layer if is_stored and project else layer.name
        self._viewer, self._is_silent = viewer, False
        self._stop_as: State | None = None
        self._prepared: Prepared | None = None
        self._child: JobChild | None = None
        self._feed: LayerFeed | None = None
        self._copiers: list[JobRunner] = []
        source = None if layer is None else layer.source.path
        work = partial(
            prepare,
            planned,
            how,
            {} if layer is None else placed_of(layer),
            None if source is None else Path(source),
        )
        self._preparer = JobRunner(work)
        self._preparer.told.connect(self._on_preparing)
        self._preparer.ended.connect(self._on_prepared)

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self.state in {"preparing", "running", "stopping"}

    @property
    def process_id(self) -> int:
        """Of the child; 0 where there is none."""
        return 0 if self._child is None else self._child.process_id

    def start(self) -> None:
        """Begin."""
        self._preparer.start()

    def pause(self) -> None:
        """Save the state and free the computer."""
        self._stop("paused")

    def cancel(self) -> None:
        """Stop; the state is saved all the same."""
        self._stop("cancelled")

    def wait(self, seconds: float) -> bool:
        """For a window that closes: wait, and show nothing any more."""
        self._is_silent = True
        until = time.monotonic() + seconds
        is_over = True
        if self._child is not None and self.is_running:
            is_over = self._child.wait(seconds)  # the one that takes a while
        for runner in (self._preparer, *self._copiers):
            is_over &= runner.wait(max(0.0, until - time.monotonic()))
        return is_over

    def _stop(self, state: State) -> None:
        if self.state in {"preparing", "running"}:
            self._stop_as = state
            self._preparer.cancel()
            if self._child is not None:
                self._child.cancel()
            self._set("stopping")

    def _set(self, state: State) -> None:
        self.state = state
        self.changed.emit()

    def _on_preparing(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._prepared = event.result
        else:
            self.record.take(event)

    def _on_prepared(self) -> None:
        if self._is_silent:
            return
        if self._prepared is None or self._stop_as is not None:
            self._end()
            return
        ready, wish = self._prepared, self.planned.wish
        self.record.begin()
        edges = ",".join(f"{edge:.9g}" for edge in ready.project.voxel_size_nm)
        options = {"new": [], "resume": ["--resume"], "start over": ["--overwrite"]}[ready.how]
        if ready.project.num_channels is not None:
            options = ["--channel", "all", *options]
        self._child = JobChild(
            [
                *("train", str(ready.stack), str(ready.model)),
                *("--job", str(ready.job), "--voxel-size", edges, *options),
            ],
            threads=preferences().num_threads,
            parent=self,
        )
        self._child.told.connect(self._on_told)
        self._child.ended.connect(self._end)
        self.record.say(f"{ready.how}: {wish.job.max_minutes or 'no'} minutes at most")
        self.planned = replace(  # lets go of the layer, which is on disk now
            self.planned, wish=replace(wish, layer=None)
        )
        self._preparer = JobRunner(_nothing)
        self._child.start()
        self._set("running")

    def _on_told(self, event: Event) -> None:
        if self._is_silent:
            return
        self.record.take(event)
        if isinstance(event, VolumeBegun):
            self._show(event)
        elif isinstance(event, BlockWritten) and self._feed is not None:
            self._feed.block_written(event.start, event.stop)
        elif isinstance(event, StageStarted):
            self._settle()

    def _show(self, event: VolumeBegun) -> None:
        """The pseudo-HR volume as a layer, in the place that it was restored for."""
        assert self._prepared is not None
        project, path = self._prepared.project, str(event.path)
        about = {
            "kind": "pseudo-HR",
            "note": "Restored by stage I for stage III to learn from; not measured.",
            "source": project.layer,
            "voxel_size_nm": list(event.voxel_size),
            "path": path,
        }
        self._feed = LayerFeed(
            self._viewer,
            np.load(event.path, mmap_mode="r"),
            name=f"{project.layer} [pseudo-HR, not measured]",
            metadata={METADATA: about},
            placed=_placed_inside(project, event) | {"contrast_limits": (0.0, 1.0)},
            layer=self._layer_of(path),
            parent=self,
        )
        self._feed.removed.connect(self._on_layer_removed)

    def _layer_of(self, path: str) -> Any:
        """The layer of the same volume before the training was paused."""
        for layer in self._viewer.layers:
            if layer.metadata.get(METADATA, {}).get("path") == path:
                return layer
        return None

    def _on_layer_removed(self) -> None:
        feed, self._feed = self._feed, None  # the training does not need to be looked at
        if feed is not None:
            QTimer.singleShot(0, feed.finish)

    def _settle(self) -> None:
        """Keep a whole volume in memory: the file goes when the training is complete."""
        feed, self._feed = self._feed, None
        if feed is None:
            return
        stored = feed.layer.data
        if stored.nbytes > _MOST_KEPT_BYTES:
            feed.finish()
            return
        copier = JobRunner(partial(_copied, stored), self)
        copier.told.connect(lambda event: self._on_copied(feed, event))
        copier.ended.connect(lambda: self._copiers.remove(copier))
        self._copiers.append(copier)
        copier.start()

    def _on_copied(self, feed: LayerFeed, event: Event) -> None:
        if not self._is_silent:
            feed.finish(event.result if isinstance(event, Finished) else None)

    def _end(self) -> None:
        if self._is_silent:
            return
        if self._feed is not None:
            self._feed.finish()
            self._feed = None
        record = self.record
        if record.outcome is Outcome.COMPLETED:
            self.message = _gains(record.result or {}, self.planned.model_folder)
            self.state = "completed"
            models_changed.emit()
        elif record.failure is not None:
            self.message, self.state = self._why(record.failure), "failed"
        else:
            self.state = self._stop_as or "cancelled"
            self.message = self._kept()
        record.say(self.message)
        (show_error if self.state == "failed" else show_info)(self.message)
        self.changed.emit()
        self.ended.emit()

    def _kept(self) -> str:
        word = "Paused" if self.state == "paused" else "Cancelled"
        if self._child is None:
            return f"{word} before the training began."
        if self.state == "paused":
            return f"{word}; the state is saved. Resume goes on, now or on another day."
        return (
            f"{word}; what was learned is kept in {self.planned.wish.folder}. Resume goes on, "
            "Start over begins anew."
        )

    def _why(self, failure: Failed) -> str:
        sentence = in_words_of_the_form(failure.message)
        began = self.planned.model_folder / "work" / "job.yaml"
        if self._child is not None and began.is_file():
            sentence += " What was learned until the last saved state is kept; Resume goes on."
        return sentence


def placed_of(layer: Any) -> dict[str, Any]:
    """Where a layer stands in the world, in plain values."""
    return {
        "scale": [float(step) for step in layer.scale],
        "translate": [float(shift) for shift in layer.translate],
        "units": [str(unit) for unit in layer.units],
        "axis_labels": list(layer.axis_labels),
        "affine": np.asarray(layer.affine.affine_matrix).tolist(),
    }


def _placed_inside(project: Project, event: VolumeBegun) -> dict[str, Any]:
    """The same for a volume inside the stack, whose voxels may be smaller."""
    placed = dict(project.placed)
    if not placed:
        return {"scale": event.voxel_size, "translate": event.origin, "units": "nm"}
    scale, edges = np.array(placed["scale"]), np.array(project.voxel_size_nm)
    placed["translate"] = np.array(placed["translate"]) + scale * event.origin / edges
    placed["scale"] = scale * event.voxel_size / edges
    return placed


def _gains(result: Any, folder: Path) -> str:
    """What was gained, and which model Super-resolve will take."""
    gains = {name: gain["gain_db"] for name, gain in result["gains"].items()}
    words = ", ".join(f"{name} {gain:+.2f} dB" for name, gain in gains.items())
    return (
        f"Finished. Against linear interpolation, on measured slices that were left out: {words}. "
        f"Super-resolve takes {result['default']} when you choose “{folder.name}”."
    )


def _copied(stored: Any, cancel: CancelToken) -> Iterator[Event]:
    yield Finished(Outcome.COMPLETED, np.array(stored))


def _nothing(cancel: CancelToken) -> Iterator[Event]:
    yield from ()
