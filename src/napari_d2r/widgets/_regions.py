"""Which part of a stack is meant: all, what is on screen, or a rectangle drawn on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from napari_d2r.errors import InputError
from napari_d2r.volumes import MIN_SLICES
from napari_d2r.widgets._alive import while_alive
from napari_d2r.widgets._layers import Box, finest_data

_MIN_PIXELS = 16
_WHOLE, _VIEW, _SUGGESTED = "Whole stack", "Current view", "Without bars and borders"
_PLAIN = [_WHOLE, _VIEW]


class RegionChoice(QComboBox):
    """What of a stack is meant; emits ``changed`` when that becomes something else."""

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("region")
        self.setAccessibleName("Region")
        self.setToolTip(
            "Try a part first: what is on screen, or a rectangle drawn in a Shapes layer."
        )
        self.setMinimumContentsLength(12)
        self._viewer = viewer
        self._suggested: Box | None = None
        self._items: list[Any] = list(_PLAIN)
        self.addItems(_PLAIN)
        for event in ("inserted", "removed", "reordered"):
            getattr(viewer.layers.events, event).connect(self._refill)
        for moved in (*_camera_events(viewer), viewer.dims.events.order):
            moved.connect(self._on_moved)
        self._refill()
        self.currentIndexChanged.connect(self.changed)

    def suggest(self, box: Box | None) -> None:
        """Offer a part without data bar and borders."""
        self._suggested = box
        self._refill()

    def box_in(self, layer: Any) -> Box | None:
        """The region in voxels of a 3D layer, or None for all of it.

        Raises
        ------
        InputError
            Where there is no rectangle, or the region holds too few slices or pixels.
        """
        item = self._items[max(0, self.currentIndex())]
        if item == _WHOLE:
            return None
        if item == _SUGGESTED:
            return self._suggested
        is_view = item == _VIEW
        low, high = (
            view_corners(self._viewer, layer) if is_view else _rectangle_corners(item, layer)
        )
        return _box(low, high, finest_data(layer).shape[:3])

    @while_alive
    def _refill(self, event: Any = None) -> None:
        chosen = self._items[max(0, self.currentIndex())]
        shapes = [layer for layer in self._viewer.layers if isinstance(layer, Shapes)]
        self._items = [*_PLAIN, *([_SUGGESTED] if self._suggested else []), *shapes]
        was_blocked = self.blockSignals(True)
        self.clear()
        self.addItems(
            [item if isinstance(item, str) else f"Rectangle in {item.name}" for item in self._items]
        )
        self.setCurrentIndex(self._items.index(chosen) if chosen in self._items else 0)
        self.blockSignals(was_blocked)
        for layer in shapes:
            layer.events.set_data.disconnect(self._on_drawn)
            layer.events.set_data.connect(self._on_drawn)
        if chosen not in self._items:
            self.changed.emit()

    @while_alive
    def _on_drawn(self, event: Any = None) -> None:
        if isinstance(self._items[self.currentIndex()], Shapes):
            self.changed.emit()

    @while_alive
    def _on_moved(self, event: Any = None) -> None:
        if self._items[self.currentIndex()] == _VIEW:
            self.changed.emit()


def _camera_events(viewer: Any) -> tuple[Any, ...]:
    camera = viewer.scene.camera.events
    return camera.center, camera.zoom


def view_corners(viewer: Any, layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the canvas in voxels; axes that are not shown are taken whole."""
    shape = finest_data(layer).shape[:3]  # without colours
    low, high = np.zeros(3), np.array(shape, float) - 1
    if viewer.dims.ndisplay == 3:
        raise InputError("The current view is 3D; go to a 2D view to choose a region by it.")
    half = np.array(viewer.canvas.size, float) / viewer.scene.camera.zoom / 2
    centre = np.array(viewer.scene.camera.center[-2:], float)
    offset = viewer.dims.ndim - 3
    point = np.array(viewer.dims.point, float)
    ends = []
    for sign in (-1, 1):
        corner = point.copy()
        corner[list(viewer.dims.displayed)] = centre + sign * half
        ends.append(np.array(layer.world_to_data(corner)))
    for axis in viewer.dims.displayed:
        if axis >= offset:
            low[axis - offset], high[axis - offset] = sorted(end[axis - offset] for end in ends)
    return low, high


def _rectangle_corners(shapes: Any, layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """The box round the selected shapes (or all) in voxels; their flat axes are taken whole."""
    chosen = sorted(shapes.selected_data) or range(len(shapes.data))
    if not len(shapes.data):
        raise InputError(f"{shapes.name} is empty; draw a rectangle in it.")
    points = np.concatenate([np.asarray(shapes.data[i], float) for i in chosen])
    if points.shape[1] not in (2, 3):
        raise InputError(f"{shapes.name} does not lie in the stack; draw on a view of it.")
    world = np.array([shapes.data_to_world(point) for point in points])
    if world.shape[1] == 2:
        world = np.column_stack([np.full(len(world), layer.translate[0]), world])
    voxels = np.array([layer.world_to_data(point) for point in world])
    low, high = voxels.min(0), voxels.max(0)
    flat = high - low < 1e-6
    high[flat] = np.array(finest_data(layer).shape[:3], float)[flat] - 1
    low[flat] = 0
    return low, high


def _box(low: np.ndarray, high: np.ndarray, shape: tuple[int, ...]) -> Box:
    """Whole voxels between two corners, inside the stack."""
    starts = np.clip(np.floor(low + 0.5), 0, shape).astype(int)
    stops = np.clip(np.ceil(high + 0.5), 0, shape).astype(int)
    z, y, x = stops - starts
    if min(y, x) < _MIN_PIXELS or z < MIN_SLICES:
        raise InputError(
            f"The region holds {max(z, 0)} x {max(y, 0)} x {max(x, 0)} voxels; at least "
            f"{MIN_SLICES} slices and {_MIN_PIXELS} pixels each way are needed."
        )
    first, second, third = (slice(int(a), int(b)) for a, b in zip(starts, stops, strict=True))
    return first, second, third
