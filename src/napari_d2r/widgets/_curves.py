"""Loss and gain while a network learns, as two small plots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyqtgraph
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_d2r.widgets._training_record import Curve, decimated

_MOST_POINTS = 2000
_HEIGHT = 170
# 3:1 at least on white and on the dark theme alike; style and symbol tell them apart as well.
_COLOURS = ("#c2571a", "#2f7fc1", "#3c8f3c", "#a05fb5")
_STYLES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine)
_SYMBOLS = ("o", "t", "s", "d")
_NUMERALS = ("I", "II", "III")


class CurvesView(QWidget):
    """Draws the curves of a training; at most 2000 points of each."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Loss and gain by training step")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        self.loss = _plot("loss_curves", "training loss")
        self.gain = _plot("gain_curves", "gain over linear, dB")
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
        shown = {(curve.stage, curve.name): curve for curve in curves}
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
        number = len([key for key in self._items if (key[1] == curve.name) == curve.is_loss])
        colour = _COLOURS[number % len(_COLOURS)]
        pen = pyqtgraph.mkPen(colour, width=2, style=_STYLES[curve.stage // 2 % 2])
        marks = (
            {}
            if curve.is_loss
            else {
                "symbol": _SYMBOLS[number % len(_SYMBOLS)],
                "symbolBrush": colour,
                "symbolPen": colour,
                "symbolSize": 6,
            }
        )
        name = f"{_NUMERALS[curve.stage]}: {curve.name.removesuffix(' (dB)')}"
        return plot.plot(pen=pen, name=name, **marks)

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


def _plot(name: str, label: str) -> Any:
    plot = pyqtgraph.PlotWidget(background=None)
    plot.setObjectName(name)
    plot.setAccessibleName(label)
    plot.setMinimumHeight(_HEIGHT)
    plot.setLabel("left", label)
    plot.setLabel("bottom", "step")
    plot.setMouseEnabled(x=False, y=False)  # the wheel scrolls the dock
    plot.setMenuEnabled(False)
    plot.hideButtons()
    plot.addLegend(offset=(-6, 6), labelTextSize="8pt")
    plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return plot
