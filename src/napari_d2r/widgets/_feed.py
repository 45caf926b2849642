"""One growing array on screen: blocks come in, the layer is refreshed where they show."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal

from napari_d2r.widgets._alive import while_alive

_EVERY_2D_MS, _EVERY_3D_MS = 500, 3000  # a 3D refresh uploads the whole texture again


class LayerFeed(QObject):
    """Shows an array while it fills, as one image layer.

    ``removed`` is emitted when the user deletes the layer.

    Parameters
    ----------
    viewer
        Where the layer goes.
    array
        Numpy or zarr, (Z, Y, X), or with colours last; dask would go on showing stale blocks.
    name, metadata, placed
        Of the layer; ``placed`` is what `placement` returns.
    layer
        One to go on with, instead of a new one.
    """

    removed = Signal()

    def __init__(
        self,
        viewer: Any,
        array: Any,
        *,
        name: str,
        metadata: dict[str, Any],
        placed: dict[str, Any],
        layer: Image | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        if layer is None:
            layer = viewer.add_image(array, name=name, metadata=metadata, **placed)
        else:
            layer.data = array
            layer.metadata.update(metadata)  # in place: its setter empties what it is given
        self.layer: Image = layer
        self._is_neighbour_gone = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._refresh)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def is_shown(self) -> bool:
        """Whether the layer is still in the viewer."""
        return self.layer in self._viewer.layers

    def block_written(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> None:
        """Voxels [start, stop) are final: refresh soon, if any of them is on screen."""
        if not self._timer.isActive() and self.is_shown and self._is_on_screen(start, stop):
            is_3d = self._viewer.dims.ndisplay == 3
            self._timer.start(_EVERY_3D_MS if is_3d else _EVERY_2D_MS)

    def finish(self, array: Any | None = None) -> None:
        """Show the finished array, which may have moved."""
        self._timer.stop()
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        if self.is_shown:
            if array is not None:
                self.layer.data = array
            self._refresh()

    def _refresh(self) -> None:
        if self.is_shown:
            if self._is_neighbour_gone:
                # When the lowest image is deleted, napari 0.9.2 with Mesa crashes at the next
                # refresh of the one above, unless its shader is made anew after a frame.
                self.layer.events.colormap()
                self._is_neighbour_gone = False
            self.layer.refresh(extent=False, thumbnail=False, highlight=False)

    def _is_on_screen(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> bool:
        if not self.layer.visible:
            return False
        displayed = set(self._viewer.dims.displayed[-self.layer.ndim :])
        offset = self._viewer.dims.ndim - self.layer.ndim
        position = np.asarray(self.layer.world_to_data(self._viewer.dims.point))
        return all(
            axis + offset in displayed or low - 0.5 <= position[axis] < high + 0.5
            for axis, (low, high) in enumerate(zip(start, stop, strict=True))
        )

    @while_alive
    def _on_removed(self, event: Any) -> None:
        if event.value == self.layer:  # a proxy of it, in a docked widget
            self._timer.stop()
            self.removed.emit()
        elif self.is_shown:
            self._is_neighbour_gone = True
            self._timer.start(_EVERY_2D_MS)
