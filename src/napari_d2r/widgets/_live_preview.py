"""What is on screen, restored at once: a layer that follows the slider."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_d2r._npe2 import METADATA
from napari_d2r.jobs import CancelToken, Event, Finished, Outcome
from napari_d2r.widgets._alive import while_alive
from napari_d2r.widgets._latest import Latest
from napari_d2r.widgets._layers import PREVIEW, placement
from napari_d2r.widgets._planner import Planned
from napari_d2r.widgets._preferences import preferences
from napari_d2r.widgets._regions import view_corners

if TYPE_CHECKING:
    from napari_d2r.inference import LateralPredictor

_MARGIN = 16  # pixels beyond the screen, so that a small move needs nothing new

Ends = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """Output voxels [a, b) along z, y, x, one of them a single slice."""

    planned: Planned
    ends: Ends

    def holds(self, other: _Question) -> bool:
        """Whether everything of another question is in this one."""
        return self.planned is other.planned and all(
            a <= c and d <= b for (a, b), (c, d) in zip(self.ends, other.ends, strict=True)
        )


class LivePreview(QObject):
    """Shows the restored slice under the slider, while it is on and there is a plan.

    ``failed`` gives a sentence; ``removed`` is emitted when the user deletes the layer.
    """

    failed = Signal(str)
    removed = Signal()

    def __init__(self, viewer: Any, owner: QWidget) -> None:
        super().__init__(owner)
        self._viewer = viewer
        self._planned: Planned | None = None
        self._is_on = False
        self._shown: _Question | None = None
        self._asked: _Question | None = None
        self.layer: Any = None
        self._latest = Latest(PREVIEW, _restore, owner, delay_ms=10)
        self._latest.answered.connect(self._show)
        self._latest.failed.connect(self._on_failed)

    def switch(self, is_on: bool) -> None:
        """On: follow the viewer. Off: take the layer away."""
        if is_on == self._is_on:
            return
        self._is_on = is_on
        for event in self._events():
            (event.connect if is_on else event.disconnect)(self._follow)
        layers = self._viewer.layers.events.removed
        (layers.connect if is_on else layers.disconnect)(self._on_removed)
        if is_on:
            self._follow()
        else:
            self._clear()

    def set_plan(self, planned: Planned | None) -> None:
        """What to restore with; None while there is nothing sensible to show."""
        self._planned = planned
        if self._is_on and planned is not None:
            self._follow()

    def _events(self) -> tuple[Any, ...]:
        dims, camera = self._viewer.dims.events, self._viewer.scene.camera.events
        return dims.point, dims.order, dims.ndisplay, camera.center, camera.zoom

    @while_alive
    def _follow(self, event: Any = None) -> None:
        planned = self._planned
        if planned is None or planned.wish.layer not in self._viewer.layers:
            return
        ends = _on_screen(self._viewer, planned)
        if ends is None:
            return
        question = _Question(planned, ends)
        latest = self._asked or self._shown
        if latest is not None and latest.holds(question):
            return
        self._asked = _Question(planned, _with_margin(ends, planned.plan.output_shape))
        self._latest.ask(self._asked)

    def _show(self, question: _Question, values: NDArray[Any]) -> None:
        self._asked = None
        if not self._is_on or question.planned.wish.layer not in self._viewer.layers:
            return
        self._shown = question
        wish, grid = question.planned.wish, question.planned.plan.grid
        placed = placement(wish.layer, question.planned.finer, wish.start, offset=grid.offset)
        placed["translate"] += placed["scale"] * [start for start, _ in question.ends]
        is_sample = question.planned.plan.sampler is not None
        name = f"{PREVIEW} (sample)" if is_sample else PREVIEW
        if self.layer is not None and self.layer.rgb != placed["rgb"]:
            self._remove()
        if self.layer is None:
            chosen = set(self._viewer.layers.selection)
            self.layer = self._viewer.add_image(
                values, name=name, metadata={METADATA: {"kind": PREVIEW}}, **placed
            )
            self._viewer.layers.selection = chosen
        else:
            self.layer.data, self.layer.name = values, name
            for what in ("scale", "translate", "units", "affine"):
                setattr(self.layer, what, placed[what])

    def _on_failed(self, question: _Question, sentence: str) -> None:
        self._asked = None
        self.failed.emit(sentence)

    @while_alive
    def _on_removed(self, event: Any) -> None:
        if event.value == self.layer:  # a proxy of it, in a docked widget
            self.layer = None
            self.removed.emit()

    def _clear(self) -> None:
        self._latest.ask(None)
        self._shown = self._asked = None
        self._remove()

    def _remove(self) -> None:
        layer, self.layer = self.layer, None  # first, so that nobody takes it for the user's doing
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)


def _on_screen(viewer: Any, planned: Planned) -> Ends | None:
    """The part of the slice that is seen, in output voxels; None in 3D and beside the stack."""
    if viewer.dims.ndisplay == 3:
        return None
    wish, plan = planned.wish, planned.plan
    low, high = view_corners(viewer, wish.layer)
    point = np.array(wish.layer.world_to_data(viewer.dims.point), float)[-3:]
    across = next(axis for axis in range(3) if axis + viewer.dims.ndim - 3 == _across(viewer))
    low[across] = high[across] = point[across]
    low, high = low - wish.start, high - wish.start
    low[0], high[0] = (z * planned.finer - plan.grid.offset for z in (low[0], high[0]))
    starts, stops = np.rint(low).astype(int), np.rint(high).astype(int) + 1
    starts = np.maximum(starts, 0)
    stops = np.minimum(stops, plan.output_shape)
    if np.any(stops <= starts):
        return None
    z, y, x = ((int(a), int(b)) for a, b in zip(starts, stops, strict=True))
    return z, y, x


def _across(viewer: Any) -> int:
    """The axis of the last three that the slider moves along."""
    return next(
        axis
        for axis in range(viewer.dims.ndim - 3, viewer.dims.ndim)
        if axis not in viewer.dims.displayed
    )


def _with_margin(ends: Ends, shape: tuple[int, int, int]) -> Ends:
    grown = [
        (a, b) if b - a == 1 else (max(0, a - _MARGIN), min(n, b + _MARGIN))
        for (a, b), n in zip(ends, shape, strict=True)
    ]
    z, y, x = grown
    return z, y, x


def row_predictor(planned: Planned) -> LateralPredictor | None:
    """A network for single XZ and YZ slices: that of the plan, or its neighbour in the folder."""
    from napari_d2r.inference import LateralPredictor

    plan = planned.plan
    if isinstance(plan.predictor, LateralPredictor):
        return plan.predictor
    if plan.model is None:
        return None
    folder = plan.model.path.parent
    return _neighbour(folder, _last_written(folder), plan.device)


def _last_written(folder: Path) -> int:
    """Tells a model that was trained anew from the one that stood there before."""
    return max((path.stat().st_mtime_ns for path in folder.glob("*.json")), default=0)


@lru_cache(maxsize=4)
def _neighbour(folder: Path, written: int, device: Any) -> LateralPredictor | None:
    from napari_d2r.checkpoints import load_index, load_model
    from napari_d2r.inference import LateralPredictor, predictor_of
    from napari_d2r.models import architecture_named

    index = load_index(folder)
    for name in index.models if index else ():
        model = load_model(folder / name, device)
        contract = architecture_named(model.card.architecture).contract
        if contract == "rows":
            predictor = predictor_of(model)
            assert isinstance(predictor, LateralPredictor)
            return predictor
    return None


def _restore(question: _Question, cancel: CancelToken) -> Iterator[Event]:
    """The voxels of a question, (z, y, x), colours last; in a thread."""
    import torch

    from napari_d2r.inference import Box, Interrupted, fill_shard, predict_slice

    torch.set_num_threads(preferences().num_threads)
    plan, (z, y, x) = question.planned.plan, question.ends
    predictor = row_predictor(question.planned)
    is_xy = z[1] - z[0] == 1
    try:
        if predictor is None or is_xy:
            box = Box((z[0], y[0], x[0]), (z[1], y[1], x[1]))
            values = fill_shard(
                plan.volume,
                plan.grid,
                box,
                plan.predictor,
                plan.intensity,
                plan.gap,
                plan.device,
                cancel,
            )
        else:
            is_xz = y[1] - y[0] == 1
            restored = predict_slice(
                plan.volume,
                plan.grid,
                predictor,
                "XZ" if is_xz else "YZ",
                y[0] if is_xz else x[0],
                intensity=plan.intensity,
                gap=plan.gap,
                columns=slice(*(x if is_xz else y)),
                rows=slice(*z),
                device=plan.device,
                cancel=cancel,
            )
            values = restored[:, None] if is_xz else restored[:, :, None]
    except Interrupted:
        return
    if plan.volume.num_channels is not None:
        values = np.moveaxis(values, 0, -1)
    yield Finished(Outcome.COMPLETED, values)
