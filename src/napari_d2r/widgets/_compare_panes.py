"""The panes of a comparison: one position, one zoom and one contrast for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QLineF, QPointF, QTimer, Signal
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QWidget

from napari_d2r.widgets._compare_pane import Pane, Shown, View
from napari_d2r.widgets._compare_pictures import Cell, Display, Pictures
from napari_d2r.widgets._compare_sampling import AXES, Picture, Plane, Point
from napari_d2r.widgets._compare_scene import Scene

_PAINT_MS = 40  # what is read meanwhile is painted at once: each paint redraws napari's canvas too
_MARGIN = 0.15  # read beyond the edge of the pane, so that a small shift shows no gap
_CLOSEST = 1 / 64  # of a voxel per pixel


class Panes(QWidget):
    """Arranges the panes and keeps them on one view of the world.

    ``pointed`` gives the position that the user wants; ``looked`` says that `cells` has
    changed; ``line_drawn`` gives a plane and the ends of a line in it.
    """

    pointed = Signal(object)
    looked = Signal()
    line_drawn = Signal(str, QLineF)
    split_moved = Signal(float)
    next_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._layout = QGridLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(3)
        self.panes: dict[tuple[Plane, int], Pane] = {}
        self._scene: Scene | None = None
        self._display = Display()
        self._position: Point = (0.0, 0.0, 0.0)
        self._centre: Point = (0.0, 0.0, 0.0)
        self._scale = 1.0
        self._is_fitted = True
        self.pictures = Pictures()
        self._line: tuple[Plane, QLineF] | None = None
        self._draws_lines = False
        self._arranged: tuple[tuple[tuple[Plane, int], ...], ...] = ()
        self._paint_soon = QTimer(self)
        self._paint_soon.setSingleShot(True)
        self._paint_soon.setInterval(_PAINT_MS)
        self._paint_soon.timeout.connect(self.repaint_all)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(0)
        self._settle.timeout.connect(self._on_settled)

    # What is shown

    @property
    def position(self) -> Point:
        """The world position of the cross."""
        return self._position

    def set_scene(self, scene: Scene | None) -> None:
        """Show other stacks; the zoom stays where the world stays."""
        before, self._scene = self._scene, scene
        self.pictures = Pictures()
        if scene is not None and (before is None or before.grid != scene.grid):
            self._is_fitted = True
        self._arrange()

    def set_display(self, display: Display) -> None:
        """Show the stacks in another way."""
        is_other = (display.mode, display.planes) != (self._display.mode, self._display.planes)
        self._display = display
        if is_other:
            self._arrange()
        self.repaint_all()

    def set_position(self, position: Point) -> None:
        """Move the cross; a place outside the view is brought into it."""
        self._position = position
        if not self._is_fitted:
            self._centre = self._brought_in(position)
        self.repaint_all()

    def set_line(self, plane: Plane | None, line: QLineF | None = None) -> None:
        """Draw the line of a profile in every pane of a plane, or nowhere."""
        self._line = None if plane is None or line is None else (plane, line)
        self.repaint_all()

    def set_draws_lines(self, draws: bool) -> None:
        """Whether a drag draws a line instead of moving the cross."""
        self._draws_lines = draws
        for pane in self.panes.values():
            pane.draws_lines = draws

    def fit(self) -> None:
        """Zoom so that everything is on screen."""
        self._is_fitted = True
        self._refit()
        self.repaint_all()
        self.looked.emit()

    # What has to be read

    def cells(self) -> list[Cell]:
        """The pictures that this view needs, no finer than the screen shows them."""
        if self._scene is None:
            return []
        wanted = []
        for plane in self._display.planes:
            pane = self.panes.get((plane, 0))
            if pane is None:
                continue
            across, down, right = AXES[plane]
            at = self._scene.grid[across].index(self._position[across])
            rows = self._visible(down, pane.area.height())
            columns = self._visible(right, pane.area.width())
            wanted += [
                Cell(stack, plane, at, rows, columns)
                for stack in self._display.stacks(len(self._scene.stacks))
            ]
        return wanted

    def missing(self) -> list[Cell]:
        """The `cells` that are not on screen yet."""
        return [cell for cell in self.cells() if not self.pictures.has(cell)]

    def put(self, cell: Cell, picture: Picture | None) -> None:
        """Show a picture that was read."""
        self.pictures.put(cell, picture)
        if not self._paint_soon.isActive():
            self._paint_soon.start()

    def difference_span(self) -> float | None:
        """A range for the differences on screen, if there are any."""
        return self.pictures.difference_span(self._pair, self._display.planes)

    # Where the panes are

    def _arrange(self) -> None:
        if self._scene is None:
            arranged: tuple[tuple[tuple[Plane, int], ...], ...] = ()
        else:
            columns = self._display.columns(len(self._scene.stacks))
            extents = {plane: self._extent(plane) for plane in self._display.planes}
            arranged = arrange(extents, columns, (self.width(), self.height()))
        if arranged != self._arranged:
            self._place(arranged)
        self._settle.start()

    def _place(self, arranged: tuple[tuple[tuple[Plane, int], ...], ...]) -> None:
        keep = {key for row in arranged for key in row}
        for key in [key for key in self.panes if key not in keep]:
            pane = self.panes.pop(key)
            self._layout.removeWidget(pane)
            pane.hide()
            pane.deleteLater()
        for index in range(max(self._layout.rowCount(), self._layout.columnCount())):
            self._layout.setRowStretch(index, 0)
            self._layout.setColumnStretch(index, 0)
        previous: Pane | None = None
        for at_row, row in enumerate(arranged):
            for at_column, key in enumerate(row):
                pane = self.panes.get(key) or self._new_pane(*key)
                self._layout.addWidget(pane, at_row, at_column)
                width, height = self._extent(key[0])
                self._stretch(at_row, at_column, width, height)
                if previous is not None:
                    QWidget.setTabOrder(previous, pane)
                previous = pane
        self._arranged = arranged

    def _stretch(self, row: int, column: int, width: float, height: float) -> None:
        assert self._scene is not None
        longest = max(axis.high - axis.low for axis in self._scene.grid)
        for set_, get, at, length in (
            (self._layout.setRowStretch, self._layout.rowStretch, row, height),
            (self._layout.setColumnStretch, self._layout.columnStretch, column, width),
        ):
            set_(at, max(get(at), 1, round(1000 * length / longest)))

    def _new_pane(self, plane: Plane, column: int) -> Pane:
        pane = Pane(plane, self)
        pane.setObjectName(f"pane_{plane.lower()}_{column + 1}")
        pane.draws_lines = self._draws_lines
        pane.pointed.connect(self._on_pointed)
        pane.panned.connect(self._on_panned)
        pane.zoomed.connect(self._on_zoomed)
        pane.stepped.connect(self._on_stepped)
        pane.line_drawn.connect(self.line_drawn)
        pane.split_moved.connect(self.split_moved)
        pane.next_asked.connect(self.next_asked)
        pane.fit_asked.connect(self.fit)
        pane.resized.connect(self._settle.start)
        self.panes[plane, column] = pane
        pane.show()
        return pane

    def _extent(self, plane: Plane) -> tuple[float, float]:
        assert self._scene is not None
        _, down, right = AXES[plane]
        grid = self._scene.grid
        return grid[right].high - grid[right].low, grid[down].high - grid[down].low

    def resizeEvent(self, event: Any) -> None:
        """Perhaps another arrangement shows more."""
        self._arrange()

    def _on_settled(self) -> None:
        if self._is_fitted:
            self._refit()
        self.repaint_all()
        self.looked.emit()

    def _refit(self) -> None:
        if self._scene is None or not self.panes:
            return
        scales = []
        for (plane, _), pane in self.panes.items():
            width, height = self._extent(plane)
            scales += [width / pane.area.width(), height / pane.area.height()]
        self._scale = 1.02 * max(scales)
        self._centre = self._scene.middle

    # What the user does in a pane

    def _in_world(self, plane: Plane, at: QPointF, base: Point) -> Point:
        _, down, right = AXES[plane]
        moved = list(base)
        moved[down], moved[right] = at.y(), at.x()
        return moved[0], moved[1], moved[2]

    def _on_pointed(self, plane: Plane, at: QPointF) -> None:
        if self._scene is not None:
            self.pointed.emit(self._scene.snapped(self._in_world(plane, at, self._position)))

    def _on_stepped(self, plane: Plane, direction: int, voxels: int) -> None:
        if self._scene is None:
            return
        across, down, right = AXES[plane]
        axis = (down, right, across)[direction]
        grid = self._scene.grid[axis]
        moved = list(self._scene.snapped(self._position))
        moved[axis] = grid.position(grid.index(moved[axis] + voxels * grid.step))
        self.pointed.emit((moved[0], moved[1], moved[2]))

    def _on_panned(self, plane: Plane, by: QPointF) -> None:
        _, down, right = AXES[plane]
        moved = list(self._centre)
        moved[down] += by.y()
        moved[right] += by.x()
        self._look(self._scale, (moved[0], moved[1], moved[2]))

    def _on_zoomed(self, plane: Plane, factor: float, about: QPointF) -> None:
        if self._scene is None:
            return
        finest = min(axis.step for axis in self._scene.grid)
        widest = max(axis.high - axis.low for axis in self._scene.grid)
        scale = min(max(self._scale * factor, finest * _CLOSEST), widest / 20)
        base = self._in_world(plane, about, self._position)
        centre = [
            at + (old - at) * scale / self._scale
            for at, old in zip(base, self._centre, strict=True)
        ]
        self._look(scale, (centre[0], centre[1], centre[2]))

    def _look(self, scale: float, centre: Point) -> None:
        self._scale, self._centre, self._is_fitted = scale, centre, False
        self.repaint_all()
        self.looked.emit()

    def _brought_in(self, position: Point) -> Point:
        centre = list(self._centre)
        for (plane, _), pane in self.panes.items():
            _, down, right = AXES[plane]
            for axis, pixels in ((down, pane.area.height()), (right, pane.area.width())):
                if abs(position[axis] - self._centre[axis]) > pixels / 2 * self._scale:
                    centre[axis] = position[axis]
        return centre[0], centre[1], centre[2]

    def _visible(self, axis: int, pixels: float) -> range:
        assert self._scene is not None
        grid = self._scene.grid[axis]
        stride = max(1, math.floor(self._scale / self.devicePixelRatioF() / grid.step))
        half = pixels * self._scale * (0.5 + _MARGIN)
        low, high = grid.index(self._centre[axis] - half), grid.index(self._centre[axis] + half)
        return range(math.ceil(low / stride) * stride, high + 1, stride)

    # What is painted

    def repaint_all(self) -> None:
        """Give every pane what it should show now."""
        self._paint_soon.stop()
        if self._scene is None or len(self._display.limits) < len(self._scene.stacks):
            return  # how to show them comes next
        for (of, column), pane in self.panes.items():
            pane.show_view(self._view(of, column))

    @property
    def _pair(self) -> tuple[int, int]:
        return self._display.first, self._display.second

    def _view(self, plane: Plane, column: int) -> View:
        assert self._scene is not None
        scene, display = self._scene, self._display
        _, down, right = AXES[plane]
        stacks = {
            "side by side": (column,),
            "blink": (display.blinking,),
            "split": self._pair,
            "difference": self._pair,
        }[display.mode]
        joint = {"split": " | ", "difference": " \u2212 "}.get(display.mode, "")
        ticks: tuple[float, ...] = ()
        tag = ""
        if len(scene.measured) and plane == "XY":
            is_measured = scene.is_measured(scene.snapped(self._position)[0])
            tag = "measured slice" if is_measured else "between measured slices"
        elif len(scene.measured):
            ticks = tuple(scene.measured)
        pictures: tuple[Shown | None, ...]
        if display.mode == "difference":
            pictures = self.pictures.as_difference(
                self._pair, plane, scene.grid, display.difference_limit
            )
        else:
            found = tuple(
                self.pictures.as_grey(stack, plane, scene.grid, display.limits[stack])
                for stack in stacks
            )
            pictures = found if any(found) else ()
        is_read = all(self.pictures.is_read(stack, plane) for stack in stacks)
        return View(
            title=joint.join(scene.labels[stack] for stack in stacks),
            unit=scene.unit,
            centre=QPointF(self._centre[right], self._centre[down]),
            scale=self._scale,
            pictures=pictures,
            cross=QPointF(self._position[right], self._position[down]),
            ticks=ticks,
            line=self._line[1] if self._line and self._line[0] == plane else None,
            split=display.split if display.mode == "split" else None,
            tag=tag,
            note="" if pictures or not is_read else "outside",
        )


def arrange(
    extents: dict[Plane, tuple[float, float]], columns: int, size: tuple[float, float]
) -> tuple[tuple[tuple[Plane, int], ...], ...]:
    """Rows of (plane, column) that show the world largest in a widget of this size.

    Planes below each other, planes beside each other, or all in one row or column.

    Parameters
    ----------
    extents
        Width and height of each plane in the world.
    columns
        Panes per plane.
    size
        Width and height in pixels.
    """
    by_plane = tuple(tuple((plane, at) for at in range(columns)) for plane in extents)
    by_column = tuple(zip(*by_plane, strict=True))
    flat = tuple(key for row in by_plane for key in row)
    candidates = (by_plane, by_column, (flat,), tuple((key,) for key in flat))

    def scale(rows: Sequence[Sequence[tuple[Plane, int]]]) -> float:
        widths = (max(extents[row[at][0]][0] for row in rows) for at in range(len(rows[0])))
        heights = (max(extents[key[0]][1] for key in row) for row in rows)
        height = max(size[1] - 20 * len(rows), 1)  # each row has a title
        return max(sum(widths) / max(size[0], 1), sum(heights) / height)

    return min(candidates, key=scale)
