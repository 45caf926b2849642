"""Intensity of every stack along a line, as curves, as CSV and on the clipboard."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_d2r.widgets._controls import named, push_button, put_in_clipboard

ALONG = ("along Z", "along Y", "along X", "drawn line")
# Read on black and on white at 3:1, told apart by dash and mark too.
_STYLES = (
    ("#808080", Qt.PenStyle.SolidLine, "o"),
    ("#0a84c6", Qt.PenStyle.DashLine, "t"),
    ("#d55e00", Qt.PenStyle.DotLine, "s"),
    ("#b0659b", Qt.PenStyle.DashDotLine, "d"),
)
_MARKS = 12  # marks per curve


class ProfileView(QWidget):
    """Shows curves; emits ``along_changed`` when the user wants another line."""

    along_changed = Signal()
    told = Signal(str)  # sentences for the status line
    failed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.distances: NDArray[np.float64] = np.empty(0)
        self.values: list[NDArray[np.float64]] = []
        self.labels: tuple[str, ...] = ()
        self.unit = "nm"
        self.plot = pg.PlotWidget(background=None)
        self.plot.setObjectName("profile_plot")
        self.plot.setAccessibleName("Intensity along the line")
        self.plot.setMenuEnabled(False)
        self.plot.addLegend(offset=(-8, 4))
        for side in ("bottom", "left"):
            self.plot.getAxis(side).enableAutoSIPrefix(False)
        self.along = named(
            QComboBox(),
            "profile_along",
            "Line of the profile",
            "A line through the cross, or one that you draw by dragging in a picture.",
        )
        self.along.addItems(ALONG)
        self.along.currentIndexChanged.connect(self.along_changed)
        self.copy = self._button("profile_copy", "Copy", "Copy the profile as a table.")
        self.copy.clicked.connect(self._on_copy)
        self.save = self._button("profile_csv", "CSV…", "Save the profile as a CSV table.")
        self.save.clicked.connect(self._on_save)
        line_label = QLabel("Profile")
        line_label.setBuddy(self.along)
        row = QHBoxLayout()
        for widget in (line_label, self.along, self.copy, self.save):
            row.addWidget(widget)
        row.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.plot, 1)

    @property
    def is_drawn(self) -> bool:
        """Whether the line is one that the user draws."""
        return self.along.currentIndex() == len(ALONG) - 1

    @property
    def axis(self) -> int:
        """The axis of a line through the cross: 0 for Z, 1 for Y, 2 for X."""
        return self.along.currentIndex()

    def choose_drawn(self) -> None:
        """Go over to the line that was just drawn, without asking for another."""
        was_blocked = self.along.blockSignals(True)
        self.along.setCurrentIndex(len(ALONG) - 1)
        self.along.blockSignals(was_blocked)

    def show_profile(
        self,
        distances: NDArray[np.float64],
        values: Sequence[NDArray[np.float64]],
        labels: tuple[str, ...],
        unit: str,
    ) -> None:
        """Draw one curve per stack.

        Parameters
        ----------
        distances
            (N,), from the start of the line.
        values
            (N,) each, NaN outside the stack.
        labels
            One per curve.
        unit
            Of the distances.
        """
        self.distances, self.values = distances, list(values)
        self.labels, self.unit = labels, unit
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        for side, text in (("bottom", f"Distance ({unit})"), ("left", "Grey value")):
            axis = self.plot.getAxis(side)
            axis.setPen(ink)
            axis.setTextPen(ink)
            axis.setLabel(text)
        self.plot.clear()
        legend = self.plot.getPlotItem().legend
        legend.clear()
        legend.setLabelTextColor(ink)
        paper = self.palette().color(QPalette.ColorRole.Window)
        paper.setAlpha(200)
        legend.setBrush(paper)
        for number, (label, curve) in enumerate(zip(labels, self.values, strict=True)):
            colour, dash, mark = _STYLES[number]
            pen = pg.mkPen(colour, width=2, style=dash)
            self.plot.plot(distances, curve, pen=pen, connect="finite")
            every = slice(number, None, max(1, len(distances) // _MARKS))
            self.plot.plot(
                distances[every], curve[every], pen=None,
                symbol=mark, symbolSize=7, symbolBrush=colour, symbolPen=colour,
            )  # fmt: skip
            sample = pg.PlotDataItem(pen=pen, symbol=mark)
            sample.scatter.setBrush(colour)
            sample.scatter.setPen(colour)
            legend.addItem(sample, label)

    def table(self, delimiter: str = ",") -> str:
        """Distances and values with a line of headings; empty cells outside a stack."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow([f"distance_{self.unit}", *self.labels])
        for at, distance in enumerate(self.distances):
            cells = [curve[at] for curve in self.values]
            numbers = ["" if np.isnan(cell) else f"{cell:.6g}" for cell in cells]
            writer.writerow([f"{distance:.6g}", *numbers])
        return text.getvalue()

    def save_csv(self, path: Path) -> None:
        """Write the table."""
        path.write_text(self.table(), encoding="utf-8")
        self.told.emit(f"Saved the profile as {path.name}.")

    def _on_copy(self) -> None:
        put_in_clipboard(self.table("\t"))
        self.told.emit("Copied the profile; paste it into a spreadsheet.")

    def _on_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save profile", "profile.csv", "CSV (*.csv)")
        if name:
            try:
                self.save_csv(Path(name))
            except OSError as error:
                self.failed.emit(f"The profile was not saved: {error.strerror}.")

    def _button(self, name: str, text: str, tip: str) -> QPushButton:
        return push_button(name, text, tip, tip.rstrip("."))
