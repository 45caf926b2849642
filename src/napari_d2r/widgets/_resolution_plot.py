"""Correlation over spatial frequency, and PSNR slice by slice, as plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QWidget

from napari_d2r.metrics import FSCCurve

# Each reads at 3:1 or more on a dark and on a light theme.
BLUE, ORANGE, GREY = "#0a84c6", "#d55e00", "#808080"
_LEVELS = (0.5, 0.143)
_ROUND = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
_LEAST_GAP = 0.11  # of the axis, between two periods written on it
_MARKS = 10  # per curve
_HEIGHT = 240


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One curve: how it is named and drawn; the half-bit threshold where it is wanted."""

    label: str
    curve: FSCCurve
    colour: str
    mark: str
    is_dashed: bool = False
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
        self.getPlotItem().addLegend(offset=(-4, 2), labelTextSize="8pt")
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
        legend = self.getPlotItem().legend
        paper = self.palette().color(QPalette.ColorRole.Window)
        paper.setAlpha(170)
        legend.setBrush(paper)
        legend.setLabelTextColor(ink)

    def draw_line(self, x: Any, y: Any, colour: str, mark: str, label: str, dash: bool) -> None:
        """A line with a few marks, and its entry in the legend."""
        style = Qt.PenStyle.DashLine if dash else Qt.PenStyle.SolidLine
        pen = pg.mkPen(colour, width=2, style=style)
        brush = None if dash else colour
        marked = slice(len(x) // _MARKS // 2, None, max(1, len(x) // _MARKS))
        self.plot(x, y, pen=pen)
        self.plot(
            x[marked], y[marked], pen=None, symbol=mark, symbolSize=7,
            symbolPen=pg.mkPen(colour, width=1.5), symbolBrush=brush,
        )  # fmt: skip
        sample = pg.PlotDataItem(
            pen=pen, symbol=mark, symbolSize=7, symbolPen=colour, symbolBrush=brush
        )
        self.getPlotItem().legend.addItem(sample, label)

    def wipe(self) -> None:
        """Empty plot and legend."""
        self.clear()
        self.getPlotItem().legend.clear()


class CorrelationPlot(_Plot):
    """FSC or FRC curves with their thresholds."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "plot", "Correlation over spatial frequency", {"bottom": PeriodAxis("bottom")}
        )
        self.lines: tuple[Line, ...] = ()
        self.getAxis("left").setTicks([[(v, f"{v:g}") for v in (0, *_LEVELS, 1)]])

    def show_lines(self, lines: Sequence[Line], quantity: str) -> None:
        """Draw curves; thresholds 0.5 and 0.143 always."""
        self.lines = tuple(lines)
        self.wipe()
        self.use_theme()
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        for level in _LEVELS:
            self.addLine(y=level, pen=pg.mkPen(ink, width=1, style=Qt.PenStyle.DotLine))
        for line in lines:
            frequency = line.curve.frequency_per_nm
            if line.has_half_bit:
                pen = pg.mkPen(line.colour, width=1, style=Qt.PenStyle.DashDotDotLine)
                self.plot(frequency[1:], line.curve.half_bit[1:], pen=pen)
            self.draw_line(
                frequency, line.curve.correlation, line.colour, line.mark, line.label,
                line.is_dashed,
            )  # fmt: skip
        if any(line.has_half_bit for line in lines):
            sample = pg.PlotDataItem(pen=pg.mkPen(ink, style=Qt.PenStyle.DashDotDotLine))
            self.getPlotItem().legend.addItem(sample, "half-bit threshold")
        if lines:
            last = max(float(line.curve.frequency_per_nm[-1]) for line in lines)
            self.setXRange(0, last, padding=0)
        self.setYRange(-0.05, 1.03, padding=0)
        self.getAxis("bottom").setLabel("Period (nm), finer to the right")
        self.getAxis("left").setLabel(quantity)


class SlicePlot(_Plot):
    """PSNR of every left-out slice, of the model and of linear."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("slice_plot", "PSNR of every left-out slice", {})

    def show_slices(self, slices: Sequence[tuple[int, float, float]], model: str) -> None:
        """Draw (slice, PSNR of the model, PSNR of linear)."""
        self.wipe()
        self.use_theme()
        index, psnr, linear = np.asarray(slices, float).T
        self.draw_line(index, linear, GREY, "s", "linear", True)
        self.draw_line(index, psnr, BLUE, "o", model, False)
        self.getAxis("bottom").setLabel("Left-out slice")
        self.getAxis("left").setLabel("PSNR (dB), higher is closer")
