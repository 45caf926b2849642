"""Between a comparison and the viewer: positions both ways, and news of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from napari_d2r.widgets._compare_sampling import Point
from napari_d2r.widgets._compare_scene import units_in_nm


class ViewerLink:
    """Follows a viewer between `open` and `close`; knows no widget.

    Parameters
    ----------
    viewer
        The viewer.
    on_moved
        Called when the viewer shows another place.
    on_data
        Called when voxels of a followed layer have changed.
    on_contrast
        Called when contrast limits of a followed layer have changed.
    on_replaced
        Called when a followed layer has other data, another place or another name.
    on_active
        Called when another layer, or none, is active.
    """

    def __init__(
        self,
        viewer: Any,
        *,
        on_moved: Callable[[], None],
        on_data: Callable[[], None],
        on_contrast: Callable[[], None],
        on_replaced: Callable[[], None],
        on_active: Callable[[], None],
    ) -> None:
        self._viewer = viewer
        self._on_moved, self._on_data = on_moved, on_data
        self._on_contrast, self._on_replaced, self._on_active = on_contrast, on_replaced, on_active
        self._layers: list[Any] = []
        self._is_moving = self._is_open = False
        self._seen: tuple[float, ...] = ()

    def open(self) -> None:
        """Hear of the viewer."""
        if not self._is_open:
            self._is_open = True
            self._seen = tuple(self._viewer.dims.point)
            self._viewer.dims.events.point.connect(self._on_point)
            self._viewer.layers.selection.events.active.connect(self._active_changed)

    def close(self) -> None:
        """Let go of the viewer and its layers."""
        if self._is_open:
            self._is_open = False
            self.follow(())
            self._viewer.dims.events.point.disconnect(self._on_point)
            self._viewer.layers.selection.events.active.disconnect(self._active_changed)

    def follow(self, layers: Sequence[Any]) -> None:
        """Hear of changes of these layers, and of no others."""
        for layer in self._layers:
            self._each(layer, "disconnect")
        self._layers = list(dict.fromkeys(layers))
        for layer in self._layers:
            self._each(layer, "connect")

    @property
    def position(self) -> Point:
        """Where the viewer is, in the units of a scene (nm, or pixels)."""
        z, y, x = np.asarray(self._viewer.dims.point[-3:]) * self._unit()
        return float(z), float(y), float(x)

    def move_to(self, position: Point) -> None:
        """Move the sliders of the viewer; ``on_moved`` is not called."""
        world = np.asarray(position) / self._unit()
        ndim = self._viewer.dims.ndim
        self._is_moving = True
        try:
            self._viewer.dims.set_point(range(ndim - 3, ndim), [float(at) for at in world])
        finally:
            self._is_moving = False

    def _unit(self) -> Any:
        """World units in nm. One layer in pixels makes napari take all scales as they are."""
        in_nm = units_in_nm(self._viewer.dims.units)
        if in_nm is None and self._layers:
            in_nm = units_in_nm(self._layers[0].units)
        return np.asarray(in_nm or (1.0, 1.0, 1.0))

    def _each(self, layer: Any, act: str) -> None:
        for name, slot in (
            ("data", self._replaced),
            ("set_data", self._on_refreshed),
            ("contrast_limits", self._contrast_changed),
            ("scale", self._replaced),
            ("translate", self._replaced),
            ("units", self._replaced),
            ("name", self._replaced),
        ):
            getattr(getattr(layer.events, name), act)(slot)

    def _on_point(self, event: Any) -> None:
        if not self._is_moving and self._viewer.dims.ndim >= 3:  # else the last stack has gone
            self._on_moved()

    def _on_refreshed(self, event: Any) -> None:
        """A layer shows other voxels: because the viewer moved, or because they changed."""
        point = tuple(self._viewer.dims.point)
        if point == self._seen:
            self._on_data()
        self._seen = point

    def _contrast_changed(self, event: Any) -> None:
        self._on_contrast()

    def _replaced(self, event: Any) -> None:
        self._on_replaced()

    def _active_changed(self, event: Any) -> None:
        self._on_active()
