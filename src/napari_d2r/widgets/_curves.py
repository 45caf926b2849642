"""Loss and gain while a network learns, as two small plots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyqtgraph
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_d2r.jobs import TRAINING_LOSS, VALIDATION_GAIN
from napari_d2r.widgets._training_record import Curve, decimated

_MOST_POINTS = 2000
_HEIGHT = 190
_SHOWN = (TRAINING_LOSS, VALIDATION_GAIN)
# One look for each stage; colours are 3:1 at least on both themes, and style and symbol differ.
_COLOURS = ("#c4612a", "#3c8f3c", "#3a80c0")
_STYLES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashLine)
_SYMBOLS = ("o", "s", "t")
_NAMES = ("stage I", "stage II", "stage III")


class CurvesView(QWidget):
    """Draws the curves of a training; at most 2000 points of each."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Loss and gain by training step")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        self.loss = _plot("loss_curves", "training loss", (-6, 6))
        self.gain = _plot("gain_curves", "gain over linear, dB", (-6, -6))
        self.loss.setLogMode(y=True)
        self.loss.setToolTip("Lower is better; noisy, because every step sees other crops.")
        self.gain.setToolTip(
            "On data that took no part in training. Above 0 the network is better than linear "
            "interpolation."
        )
        self._zero = self.gain.addLine(y=0)
        for plot in (self.loss, self.gain):
            column.addWidget(plot)
        self._items: dict[tuple[int, str], Any] = {}
        self._paint()

    def draw(self, curves: Iterable[Curve]) -> None:
        """Show these curves; those that are not named any more go."""
        shown = {(c.stage, c.name): c for c in curves if c.name in _SHOWN}
        for key in self._items.keys() - shown.keys():
            for plot in (self.loss, self.gain):
                plot.removeItem(self._items[key])
            del self._items[key]
        for key, curve in shown.items():
            if key not in self._items:
                self._items[key] = self._added(curve)
            self._items[key].setData(*decimated(curve, _MOST_POINTS))

    def changeEvent(self, event: QEvent) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() in {QEvent.Type.PaletteChange, QEvent.Type.StyleChange}:
            self._paint()

    def _added(self, curve: Curve) -> Any:
        plot = self.loss if curve.is_loss else self.gain
        colour, stage = _COLOURS[curve.stage], curve.stage
        pen = pyqtgraph.mkPen(colour, width=2, style=_STYLES[stage])
        marks: dict[str, Any] = {}
        if not curve.is_loss:
            marks = {"symbol": _SYMBOLS[stage], "symbolBrush": colour, "symbolPen": colour}
            marks["symbolSize"] = 7
        return plot.plot(pen=pen, name=_NAMES[stage], **marks)

    def _paint(self) -> None:
        """Axes and words in the colour of the text around them."""
        if not hasattr(self, "_zero"):
            return  # a change of style while the base class is being made
        colour = self.palette().color(QPalette.ColorRole.WindowText)
        self._zero.setPen(pyqtgraph.mkPen(colour, style=Qt.PenStyle.DotLine))
        for plot in (self.loss, self.gain):
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(colour)
                axis.setTextPen(colour)
            legend = plot.plotItem.legend
            legend.setLabelTextColor(colour)
            for _, label in legend.items:
                label.setText(label.text, color=colour)


def _plot(name: str, label: str, legend: tuple[int, int]) -> Any:
    plot = pyqtgraph.PlotWidget(background=None)
    plot.setObjectName(name)
    plot.setAccessibleName(label)
    plot.setFixedHeight(_HEIGHT)
    plot.setLabel("left", label)
    plot.setLabel("bottom", "step")
    for side in ("left", "bottom"):
        plot.getAxis(side).enableAutoSIPrefix(False)
    plot.setMouseEnabled(x=False, y=False)  # the wheel scrolls the dock
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.addLegend(offset=legend, labelTextSize="8pt")
    plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return plot
