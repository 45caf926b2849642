"""One plane on screen: pictures in grey or in difference colours, cross, ticks and scale bar.

Painted with QPainter on an ordinary widget: no OpenGL context that a floated dock could lose.
Lines have a dark and a light stroke, so that they show on any picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qtpy.QtCore import QLineF, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_d2r.widgets._compare_sampling import Plane

_DARK, _LIGHT = QColor(0, 0, 0, 170), QColor(255, 255, 255, 230)
_GRIP = 6  # pixels around the split line that take hold of it
_NICE = (1, 2, 5)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """An image and the part of the world that it covers (right, down, width, height)."""

    image: QImage
    where: QRectF


@dataclass(slots=True)
class View:
    """All that a pane paints; positions are (right, down) in world units."""

    title: str = ""
    unit: str = "nm"
    centre: QPointF = field(default_factory=QPointF)
    scale: float = 1.0  # world units per pixel
    pictures: tuple[Shown | None, ...] = ()  # None where one of a pair ends
    cross: QPointF | None = None
    ticks: tuple[float, ...] = ()  # along the way down
    line: QLineF | None = None
    split: float | None = None  # share of the width that shows the first picture
    tag: str = ""  # in the upper left corner; its first word alone where there is no room
    note: str = ""  # instead of a picture


class Pane(QWidget):
    """Shows a `View` and tells what the user does with it; changes nothing by itself.

    Signals name the plane first where it matters.
    """

    pointed = Signal(str, QPointF)  # world position under a click or drag
    panned = Signal(str, QPointF)  # world distance
    zoomed = Signal(str, float, QPointF)  # factor, and the world position that stays
    stepped = Signal(str, int, int)  # axis of the screen (0 down, 1 right, 2 across), voxels
    line_drawn = Signal(str, QLineF)
    split_moved = Signal(float)
    next_asked = Signal()
    fit_asked = Signal()
    resized = Signal()

    def __init__(self, plane: Plane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plane: Plane = plane
        self.view = View()
        self.draws_lines = False
        self._grip: str | None = None
        self._last = QPointF()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)

    def show_view(self, view: View) -> None:
        """Paint another view."""
        self.view = view
        name = f"{self.plane} of {view.title}" if view.title else self.plane
        self.setAccessibleName(name)
        self.setToolTip(
            f"{view.title}\nDrag: move the cross. Wheel: zoom. Right drag: shift. "
            "Shift and wheel, or Page Up and Page Down: next slice."
        )
        self.update()

    def sizeHint(self) -> QSize:
        """A size at which structures can be made out."""
        return QSize(160, 160)

    def minimumSizeHint(self) -> QSize:
        """Small, so that nine fit into a low dock."""
        return QSize(48, 48)

    # Where things are

    @property
    def area(self) -> QRectF:
        """The part of the widget below the title."""
        top = self.fontMetrics().height() + 4
        return QRectF(1, top, max(self.width() - 2, 1), max(self.height() - top - 1, 1))

    def to_pixels(self, world: QPointF) -> QPointF:
        """A world position on this widget."""
        offset = (world - self.view.centre) / self.view.scale
        return self.area.center() + offset

    def to_world(self, pixels: QPointF) -> QPointF:
        """What lies under a pixel of this widget."""
        return self.view.centre + (pixels - self.area.center()) * self.view.scale

    # What the user does

    def mousePressEvent(self, event: Any) -> None:
        """Take hold of the cross, the split line, a new line, or the picture."""
        at = event.position()
        if event.button() != Qt.MouseButton.LeftButton:
            self._grip = "picture"
        elif self.view.split is not None and abs(at.x() - self._split_x()) <= _GRIP:
            self._grip = "split"
        else:
            self._grip = "line" if self.draws_lines else "cross"
        self._last = at
        if self._grip == "cross":
            self.pointed.emit(self.plane, self.to_world(at))

    def mouseMoveEvent(self, event: Any) -> None:
        """Drag what was taken hold of."""
        at = event.position()
        if self._grip == "cross":
            self.pointed.emit(self.plane, self.to_world(at))
        elif self._grip == "picture":
            self.panned.emit(self.plane, (self._last - at) * self.view.scale)
            self._last = at
        elif self._grip == "split":
            share = (at.x() - self.area.left()) / self.area.width()
            self.split_moved.emit(min(max(share, 0.0), 1.0))
        elif self._grip == "line":
            line = QLineF(self.to_world(self._last), self.to_world(at))
            if line.length() > 2 * self.view.scale:
                self.line_drawn.emit(self.plane, line)
        elif self.view.split is not None:
            near = abs(at.x() - self._split_x()) <= _GRIP
            shape = Qt.CursorShape.SplitHCursor if near else Qt.CursorShape.CrossCursor
            self.setCursor(shape)
        else:
            self.setCursor(Qt.CursorShape.CrossCursor)

    def mouseReleaseEvent(self, event: Any) -> None:
        """Let go."""
        self._grip = None

    def wheelEvent(self, event: Any) -> None:
        """Zoom about the pointer; with Shift, go through the slices."""
        delta = event.angleDelta().y() or event.angleDelta().x()
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.stepped.emit(self.plane, 2, 1 if delta < 0 else -1)
        else:
            self.zoomed.emit(self.plane, 0.8 ** (delta / 120), self.to_world(event.position()))
        event.accept()

    def keyPressEvent(self, event: Any) -> None:
        """Arrows move the cross by a voxel, Page Up and Page Down the slice."""
        keys = Qt.Key
        steps = {
            keys.Key_Up: (0, -1), keys.Key_Down: (0, 1), keys.Key_Left: (1, -1),
            keys.Key_Right: (1, 1), keys.Key_PageUp: (2, -1), keys.Key_PageDown: (2, 1),
        }  # fmt: skip
        if event.key() in steps:
            self.stepped.emit(self.plane, *steps[event.key()])
        elif event.key() in (keys.Key_Plus, keys.Key_Equal):
            self.zoomed.emit(self.plane, 0.8, self.view.cross or self.view.centre)
        elif event.key() == keys.Key_Minus:
            self.zoomed.emit(self.plane, 1.25, self.view.cross or self.view.centre)
        elif event.key() == keys.Key_Home:
            self.fit_asked.emit()
        elif event.key() == keys.Key_Space:
            self.next_asked.emit()
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: Any) -> None:
        """Tell, because more or less of the world is on screen now."""
        self.resized.emit()

    # What is painted

    def paintEvent(self, event: Any) -> None:
        """Title, pictures, then what lies over them."""
        painter = QPainter(self)
        area, view, palette = self.area, self.view, self.palette()
        painter.setPen(palette.color(QPalette.ColorRole.WindowText))
        metrics = self.fontMetrics()
        title = f"{self.plane}  {view.title}"
        title = metrics.elidedText(title, Qt.TextElideMode.ElideMiddle, int(area.width()) - 4)
        painter.drawText(QPointF(area.left() + 3, metrics.ascent() + 2), title)
        painter.fillRect(area, QColor(64, 64, 64))  # neither black nor white: no picture here
        painter.save()
        painter.setClipRect(area)
        self._paint_pictures(painter)
        self._paint_overlays(painter)
        painter.restore()
        if self.hasFocus():
            painter.setPen(QPen(palette.color(QPalette.ColorRole.WindowText), 3))
            painter.drawRect(QRectF(self.rect()).adjusted(1.5, 1.5, -1.5, -1.5))

    def _paint_pictures(self, painter: QPainter) -> None:
        area, view = self.area, self.view
        for number, shown in enumerate(view.pictures):
            if shown is None:
                continue
            painter.save()
            if view.split is not None:
                left = QRectF(area)
                left.setRight(self._split_x())
                right = QRectF(area)
                right.setLeft(self._split_x())
                painter.setClipRect(right if number else left)
            corner = self.to_pixels(shown.where.topLeft())
            size = shown.where.size() / view.scale
            painter.drawImage(QRectF(corner, size), shown.image, QRectF(shown.image.rect()))
            painter.restore()

    def _paint_overlays(self, painter: QPainter) -> None:
        area, view = self.area, self.view
        if view.note:
            painter.setPen(QColor("white"))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(area, int(flags), view.note)
            return
        if view.cross is not None:
            at = self.to_pixels(view.cross)
            for line in (
                QLineF(area.left(), at.y(), area.right(), at.y()),
                QLineF(at.x(), area.top(), at.x(), area.bottom()),
            ):
                self._two_tone(painter, line, thin=True)
        for tick in view.ticks:
            y = self.to_pixels(QPointF(0.0, tick)).y()
            if area.top() <= y <= area.bottom():
                self._two_tone(painter, QLineF(area.left(), y, area.left() + 8, y))
        if view.line is not None:
            ends = self.to_pixels(view.line.p1()), self.to_pixels(view.line.p2())
            self._two_tone(painter, QLineF(*ends), dashed=True)
            painter.setPen(QPen(_DARK, 1))
            painter.setBrush(_LIGHT)
            painter.drawEllipse(ends[0], 3, 3)  # the round end is where the distance is 0
        if view.split is not None:
            x = self._split_x()
            self._two_tone(painter, QLineF(x, area.top(), x, area.bottom()))
            painter.setPen(QPen(_DARK, 1))
            painter.setBrush(_LIGHT)
            y = area.center().y()
            for way in (-1, 1):
                corner = [QPointF(x + way * 2, y - 5), QPointF(x + way * 2, y + 5)]
                painter.drawPolygon(QPolygonF([*corner, QPointF(x + way * 8, y)]))
        if view.tag:
            self._paint_tag(painter)
        if view.pictures:
            self._paint_scale_bar(painter)

    def _paint_tag(self, painter: QPainter) -> None:
        area, metrics = self.area, painter.fontMetrics()
        text = self.view.tag
        if metrics.horizontalAdvance(text) + 8 > area.width():
            text = text.split()[0]
        box = QRectF(0, 0, metrics.horizontalAdvance(text) + 8, metrics.height() + 2)
        box.moveTopLeft(area.topLeft())
        painter.fillRect(box, QColor(0, 0, 0, 190))
        painter.setPen(QColor("white"))
        painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), text)

    def _paint_scale_bar(self, painter: QPainter) -> None:
        area, scale = self.area, self.view.scale
        length = nice_length(area.width() * scale / 3)
        text = f"{length:g} {self.view.unit}"
        metrics = painter.fontMetrics()
        width = max(length / scale, 1.0)
        box = QRectF(0, 0, max(width, metrics.horizontalAdvance(text)) + 10, metrics.height() + 9)
        if box.width() > area.width() or box.height() > area.height():
            return
        box.moveBottomRight(area.bottomRight() - QPointF(4, 4))
        painter.fillRect(box, QColor(0, 0, 0, 190))
        middle = box.center().x()
        bar = QRectF(middle - width / 2, box.bottom() - 6, width, 3)
        painter.fillRect(bar, QColor("white"))
        painter.setPen(QColor("white"))
        painter.drawText(box.adjusted(0, 1, 0, -7), int(Qt.AlignmentFlag.AlignCenter), text)

    @staticmethod
    def _two_tone(
        painter: QPainter, line: QLineF, *, thin: bool = False, dashed: bool = False
    ) -> None:
        dark, light = QPen(_DARK, 2 if thin else 4), QPen(_LIGHT, 1 if thin else 2)
        if thin:
            dark.setColor(QColor(0, 0, 0, 90))
            light.setColor(QColor(255, 255, 255, 150))
        if dashed:
            light.setStyle(Qt.PenStyle.DashLine)
        for pen in (dark, light):
            painter.setPen(pen)
            painter.drawLine(line)

    def _split_x(self) -> float:
        return self.area.left() + self.area.width() * (self.view.split or 0.0)


def nice_length(longest: float) -> float:
    """The longest of 1, 2, 5, 10, ... that is not over ``longest``."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(nice * power for nice in _NICE if nice * power <= longest * 1.000001))
