"""Correlation over spatial frequency, and PSNR slice by slice, as plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPixmap, QPolygonF
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_d2r.metrics import FSCCurve

# Each reads at 3:1 or more on a dark and on a light theme.
BLUE, ORANGE, GREY = "#0a84c6", "#d55e00", "#808080"
_LEVELS = (0.5, 0.143)
_ROUND = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
_LEAST_GAP = 0.11  # of the axis, between two periods written on it
_MARKS = 10  # per curve
_HEIGHT = 240


@dataclass(frozen=True, slots=True)
class Key:
    """How a line is named and drawn; without a mark it is a threshold."""

    label: str
    colour: str
    mark: str = ""
    is_dashed: bool = False

    def __str__(self) -> str:
        return f"{self.label}, {'dashed' if self.is_dashed else 'solid'}"


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One curve; with its half-bit threshold where that is wanted."""

    key: Key
    curve: FSCCurve
    has_half_bit: bool = False


class PeriodAxis(pg.AxisItem):
    """An axis linear in frequency (1/nm), ticked at round periods in nm."""

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[Any]:
        """Frequencies of round periods, from the finest on, not too close."""
        if maxVal <= 0:
            return []
        decade = 10.0 ** np.floor(np.log10(1 / maxVal))
        periods = sorted(r * decade * 10.0**power for power in range(4) for r in _ROUND)
        ticks: list[float] = []
        for frequency in (1 / period for period in periods):
            far = not ticks or ticks[-1] - frequency >= _LEAST_GAP * (maxVal - minVal)
            if minVal < frequency <= maxVal * 1.0001 and far:
                ticks.append(frequency)
        return [(maxVal - minVal, ticks)]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        """The periods."""
        return [f"{1 / value:.4g}" for value in values]


class _Plot(pg.PlotWidget):
    """A plot without menus that takes its colours from the theme and leaves the wheel alone."""

    _is_built = False  # Qt tells of styles before pyqtgraph is done

    def __init__(self, object_name: str, label: str, axes: dict[str, pg.AxisItem]) -> None:
        super().__init__(background=None, axisItems=axes)
        self.setObjectName(object_name)
        self.setAccessibleName(label)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.setMouseEnabled(False, False)
        self.setFixedHeight(_HEIGHT)
        for side in ("bottom", "left"):
            self.getAxis(side).enableAutoSIPrefix(False)
        self._is_built = True

    def wheelEvent(self, event: Any) -> None:
        """Scroll the form, not the plot."""
        event.ignore()

    def changeEvent(self, event: Any) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        is_of_theme = event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if is_of_theme and self._is_built:
            self.use_theme()

    def use_theme(self) -> None:
        """Ink of the theme for axes and words."""
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        for side in ("bottom", "left"):
            axis = self.getAxis(side)
            axis.setPen(ink)
            axis.setTextPen(ink)

    def draw_line(self, x: Any, y: Any, key: Key) -> None:
        """A line with a few marks."""
        colour, mark, dash = key.colour, key.mark, key.is_dashed
        style = Qt.PenStyle.DashLine if dash else Qt.PenStyle.SolidLine
        pen = pg.mkPen(colour, width=2, style=style)
        brush = None if dash else colour
        marked = slice(len(x) // _MARKS // 2, None, max(1, len(x) // _MARKS))
        self.plot(x, y, pen=pen)
        self.plot(
            x[marked], y[marked], pen=None, symbol=mark, symbolSize=7,
            symbolPen=pg.mkPen(colour, width=1.5), symbolBrush=brush,
        )  # fmt: skip


class Legend(QWidget):
    """What each line is, under a plot that has no room for it."""

    def __init__(self, object_name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(object_name)
        self.setAccessibleName("Legend")
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(0)
        self.words: tuple[str, ...] = ()

    def show_keys(self, keys: Sequence[Key]) -> None:
        """One entry for each, two in a row."""
        while self._grid.count():
            item = self._grid.takeAt(0)
            widget = item.widget() if item is not None else None
            if widget is not None:
                widget.deleteLater()
        self.words = tuple(key.label for key in keys)
        self.setAccessibleName("Legend: " + "; ".join(map(str, keys)))
        for number, key in enumerate(keys):
            entry, swatch, words = QWidget(), QLabel(), QLabel(key.label)
            swatch.setPixmap(_swatch(key, self.devicePixelRatioF()))
            words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            row = QHBoxLayout(entry)
            row.setContentsMargins(0, 0, 0, 0)
            row.setSpacing(4)
            row.addWidget(swatch)
            row.addWidget(words, 1)
            self._grid.addWidget(entry, number // 2, number % 2)


class CorrelationPlot(QWidget):
    """FSC or FRC curves with their thresholds."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        axes = {"bottom": PeriodAxis("bottom")}
        self.plot = _Plot("plot", "Correlation over spatial frequency", axes)
        self.legend = Legend("legend")
        self.lines: tuple[Line, ...] = ()
        self.plot.getAxis("left").setTicks([[(v, f"{v:g}") for v in (0, *_LEVELS, 1)]])
        _stack(self, self.plot, self.legend)

    def show_lines(self, lines: Sequence[Line], quantity: str) -> None:
        """Draw curves; thresholds 0.5 and 0.143 always."""
        self.lines = tuple(lines)
        plot = self.plot
        plot.clear()
        plot.use_theme()
        for level in _LEVELS:
            plot.addLine(y=level, pen=pg.mkPen(GREY, width=1, style=Qt.PenStyle.DotLine))
        keys = [line.key for line in lines]
        for line in lines:
            frequency = line.curve.frequency_per_nm
            if line.has_half_bit:
                pen = pg.mkPen(line.key.colour, width=1, style=Qt.PenStyle.DotLine)
                plot.plot(frequency[1:], line.curve.half_bit[1:], pen=pen)
            plot.draw_line(frequency, line.curve.correlation, line.key)
        if any(line.has_half_bit for line in lines):
            keys.append(Key("half-bit", GREY))
        self.legend.show_keys(keys)
        if lines:
            last = max(float(line.curve.frequency_per_nm[-1]) for line in lines)
            plot.setXRange(0, last, padding=0)
        plot.setYRange(-0.05, 1.03, padding=0)
        plot.getAxis("bottom").setLabel("Period (nm), finer to the right")
        plot.getAxis("left").setLabel(quantity)


class SlicePlot(QWidget):
    """PSNR of every left-out slice, of the model and of linear."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot = _Plot("slice_plot", "PSNR of every left-out slice", {})
        self.legend = Legend("slice_legend")
        _stack(self, self.plot, self.legend)

    def show_slices(self, slices: Sequence[tuple[int, float, float]]) -> None:
        """Draw (slice, PSNR of the model, PSNR of linear)."""
        self.plot.clear()
        self.plot.use_theme()
        index, psnr, linear = np.asarray(slices, float).T
        self.plot.draw_line(index, linear, LINEAR)
        self.plot.draw_line(index, psnr, MODEL)
        self.legend.show_keys((MODEL, LINEAR))
        self.plot.getAxis("bottom").setLabel("Left-out slice")
        self.plot.getAxis("left").setLabel("PSNR (dB), higher is closer")


MODEL = Key("model", BLUE, "o")
LINEAR = Key("linear", GREY, "s", is_dashed=True)


def _stack(widget: QWidget, *parts: QWidget) -> None:
    column = QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(2)
    for part in parts:
        column.addWidget(part)


def _swatch(key: Key, ratio: float) -> QPixmap:
    """A piece of the line with its mark."""
    width, height = 30, 14
    picture = QPixmap(round(width * ratio), round(height * ratio))
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    dashed = Qt.PenStyle.DashLine if key.is_dashed else Qt.PenStyle.SolidLine
    style = dashed if key.mark else Qt.PenStyle.DotLine
    painter.setPen(pg.mkPen(key.colour, width=2 if key.mark else 1, style=style))
    middle = height / 2
    painter.drawLine(QPointF(0, middle), QPointF(width, middle))
    painter.setPen(pg.mkPen(key.colour, width=1.5))
    painter.setBrush(QColor(0, 0, 0, 0) if key.is_dashed else QColor(key.colour))
    centre = QPointF(width / 2, middle)
    if key.mark == "o":
        painter.drawEllipse(centre, 3.5, 3.5)
    elif key.mark == "s":
        painter.drawRect(round(centre.x()) - 3, round(centre.y()) - 3, 6, 6)
    elif key.mark == "t":
        corners = ((-4, -3.5), (4, -3.5), (0, 3.5))
        painter.drawPolygon(QPolygonF([centre + QPointF(*corner) for corner in corners]))
    painter.end()
    return picture
