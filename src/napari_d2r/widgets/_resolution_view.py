"""What was found: plots and a table; and the buttons that take them away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_d2r.metrics import ResolutionCurves
from napari_d2r.stages._fsc_report import DIRECTIONS, FSCReport
from napari_d2r.stages._gain_report import GainReport
from napari_d2r.widgets._controls import named, note, push_button, put_in_clipboard
from napari_d2r.widgets._number_box import ChoiceBox
from napari_d2r.widgets._resolution_plot import (
    BLUE,
    GREY,
    LINEAR,
    MODEL,
    ORANGE,
    CorrelationPlot,
    Key,
    Line,
    SlicePlot,
)

Report = FSCReport | GainReport
# What the drop-down offers: the curves of each, their words, colours and marks.
_VIEWS = {
    "Along Z and in XY": (("cone_z", "along Z", ORANGE, "t"), ("cone_xy", "in XY", BLUE, "o")),
    "All directions": (("plain", "all directions", BLUE, "o"),),
    "All directions, Hann window": (("hann", "Hann window", BLUE, "o"),),
}
_SHORT = dict(zip(DIRECTIONS.values(), ("all", "all, Hann", "along Z", "in XY"), strict=True))
_FSC_LIMITS = (
    "FSC says how alike two volumes are, not which of them is right. A result holds its measured "
    "slices unchanged, so curves level off above zero: compare with linear."
)
_GAIN_LIMITS = (
    "Between measured slices gaps are half as wide, and both come closer; how they compare "
    "carries over, roughly. It cannot show whether a detail between slices is real."
)


class ResolutionView(QWidget):
    """Shows one report; emits which button was pressed."""

    save_csv_wanted = Signal()
    figure_wanted = Signal()
    told = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.report: Report | None = None
        self.limits = note("limits", "What this cannot tell")
        self.direction = named(
            ChoiceBox(),
            "direction",
            "Directions of the curves",
            "Which directions of the volumes the curves are about.",
        )
        self.direction.addItems(list(_VIEWS))
        self.direction.currentIndexChanged.connect(self._draw)
        self.plot, self.slice_plot = CorrelationPlot(), SlicePlot()
        self.table = _table()
        self.copy_table = _button("copy_table", "Copy", "Copy the table, for a spreadsheet.")
        self.save_csv = _button("save_csv", "CSV…", "Save all curves as a CSV table.")
        self.export = _button("export", "Figure…", "Save a figure: PNG, PDF or SVG.")
        self.copy_table.clicked.connect(self._on_copy)
        self.save_csv.clicked.connect(self.save_csv_wanted)
        self.export.clicked.connect(self.figure_wanted)
        self._lay_out()
        self.show_report(None)

    def show_report(self, report: Report | None) -> None:
        """Show what was found, or nothing."""
        self.report = report
        self.setVisible(report is not None)
        if report is None:
            return
        is_fsc = isinstance(report, FSCReport)
        self.direction.setVisible(is_fsc)
        self.slice_plot.setVisible(not is_fsc)
        self.limits.setText(_FSC_LIMITS if is_fsc else _GAIN_LIMITS)
        _fill(self.table, *_cells(report))
        self._draw()

    def _draw(self) -> None:
        if isinstance(self.report, FSCReport):
            lines = list(_fsc_lines(self.report, self.direction.currentText()))
            self.plot.show_lines(lines, "FSC")
        elif isinstance(self.report, GainReport):
            self.slice_plot.show_slices(self.report.gain.psnr_by_slice())
            lines = [Line(LINEAR, self.report.frc_linear), Line(MODEL, self.report.frc)]
            self.plot.show_lines(lines, "Mean FRC")

    def _on_copy(self) -> None:
        if self.report is None:
            return
        header, rows = _cells(self.report)
        put_in_clipboard("\n".join("\t".join(cells) for cells in (header, *rows)) + "\n")
        self.told.emit("Copied the table; paste it into a spreadsheet.")

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        buttons = QHBoxLayout()
        for button in (self.copy_table, self.save_csv, self.export):
            buttons.addWidget(button)
        shown = (self.slice_plot, self.direction, self.plot, self.table, self.limits)
        for widget in shown:
            column.addWidget(widget)
        column.addLayout(buttons)


def _fsc_lines(report: FSCReport, view: str) -> Iterator[Line]:
    shown = _VIEWS[view]
    if report.linear is not None:
        for name, words, colour, mark in shown:
            colour = colour if len(shown) > 1 else GREY
            key = Key(f"{words}, linear", colour, mark, is_dashed=True)
            yield Line(key, _curve(report.linear, name))
    for name, words, colour, mark in shown:
        yield Line(Key(words, colour, mark), _curve(report.curves, name), has_half_bit=True)


def _curve(curves: ResolutionCurves, name: str) -> Any:
    return getattr(curves, name)


def _cells(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table, in words."""
    if isinstance(report, GainReport):
        return ["", "PSNR", "FRC 0.5", "FRC 0.143"], report.rows()
    return ["FSC", "of", "0.5", "0.143", "half-bit"], [
        [_SHORT[direction], "linear" if who == "linear" else "volume", *crossings]
        for direction, who, *crossings in report.rows()
    ]


def _table() -> QTableWidget:
    table = named(
        QTableWidget(),
        "table",
        "Where the curves fall below each threshold",
        "The period in nm at which each curve first falls below each threshold.",
    )
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setTabKeyNavigation(False)
    header = table.verticalHeader()
    assert header is not None
    header.setVisible(False)
    header.setDefaultSectionSize(22)
    columns = table.horizontalHeader()
    assert columns is not None
    columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    return table


def _fill(table: QTableWidget, header: list[str], rows: list[list[str]]) -> None:
    table.setColumnCount(len(header))
    table.setRowCount(len(rows))
    table.setHorizontalHeaderLabels(header)
    for k, cells in enumerate(rows):
        for column, text in enumerate(cells):
            table.setItem(k, column, QTableWidgetItem(text))
    heights = sum(table.rowHeight(k) for k in range(len(rows)))
    header_view = table.horizontalHeader()
    assert header_view is not None
    table.setFixedHeight(heights + header_view.sizeHint().height() + 22)  # and a scroll bar


def _button(object_name: str, text: str, tip: str) -> QPushButton:
    return push_button(object_name, text, tip, tip.rstrip("."))
