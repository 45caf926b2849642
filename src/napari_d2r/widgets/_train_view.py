"""The plan, the buttons, the stages, the curves, a preview and the log: no decisions here."""

from __future__ import annotations

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QHBoxLayout,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from napari_d2r.widgets._controls import add_copy_menu, named, note, push_button, rich
from napari_d2r.widgets._curves import CurvesView
from napari_d2r.widgets._inspector import Inspector
from napari_d2r.widgets._pictures import PicturesView
from napari_d2r.widgets._prepare import PlannedTraining
from napari_d2r.widgets._stages_view import StagesView
from napari_d2r.widgets._training_record import TrainingRecord
from napari_d2r.widgets._training_run import TrainingRun

_DRAW_EVERY_MS = 250
_STATES = {
    "preparing": "Writing the stack to the project folder…",
    "running": "Training in a process of its own; you may go on working, or close this dock.",
    "stopping": "Stopping, and saving the state…",
}


class TrainView(QWidget):
    """Everything under the form; the owner says what it shows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.findings = Inspector()
        self.plan = note("plan", "What will happen")
        self.run = push_button(
            "run", "Run", rich("Begin, pause, or go on where the training was paused.")
        )
        self.cancel = push_button(
            "cancel", "Cancel", rich("Stop the training. What was learned is kept in the folder.")
        )
        self.start_over = push_button(
            "start_over", "Start over…", rich("Forget the training in this folder and begin anew.")
        )
        self.copy = push_button("copy", "Copy", rich("Copy this form as a command, or as Python."))
        self.copy_command, self.copy_python = add_copy_menu(self.copy)
        self.copy_command.setObjectName("copy_command")
        self.copy_python.setObjectName("copy_python")
        self.status = note("status", "Status")
        self.stages, self.curves, self.pictures = StagesView(), CurvesView(), PicturesView()
        self.log = named(QPlainTextEdit(), "log", "Log of the training")
        self.log.setReadOnly(True)
        self.log.setTabChangesFocus(True)
        self.log.setMinimumHeight(90)
        self._lay_out()
        self._record: TrainingRecord | None = None
        self._drawn = self._logged = -1
        self._timer = QTimer(self)
        self._timer.setInterval(_DRAW_EVERY_MS)
        self._timer.timeout.connect(self._draw)
        self.show_record(None)

    def show_plan(self, planned: PlannedTraining) -> None:
        """The plan and every warning, or why there is none."""
        self.plan.setText("\n".join((*planned.lines, planned.note)).strip())

    def show_problem(self, sentence: str) -> None:
        """Nothing can be run, and why."""
        self.plan.setText(sentence)

    def show_status(self, sentence: str) -> None:
        """How it goes, or how it went."""
        self.status.setText(sentence)
        self.status.setVisible(bool(sentence))

    def show_run(self, run: TrainingRun | None, planned: PlannedTraining | None) -> None:
        """The state of the buttons."""
        is_running = run is not None and run.is_running
        is_stopping = run is not None and run.state == "stopping"
        if run is not None and is_running:
            self.run.setText("Pause" if not is_stopping else "Stopping…")
            self.run.setEnabled(not is_stopping)
            self.show_status(_STATES[run.state])
        else:
            how = None if planned is None else planned.how
            self.run.setText("Resume" if how == "resume" else "Run")
            can_use = not (self.findings.blocks or self.findings.is_looking)
            self.run.setEnabled(how == "resume" or (how is not None and can_use))
            self.start_over.setEnabled(can_use)
        self.run.setAccessibleName(self.run.text())
        self.cancel.setEnabled(is_running and not is_stopping)
        is_taken = planned is not None and planned.found.state != "new"
        self.start_over.setVisible(is_taken and not is_running)

    def show_record(self, record: TrainingRecord | None) -> None:
        """Draw this training from now on; None: there is none yet."""
        if record is not self._record:
            self._drawn = self._logged = -1
            self.log.clear()
        self._record = record
        for part in (self.stages, self.curves, self.log):
            part.setVisible(record is not None)
        if record is None:
            self._timer.stop()
            self.pictures.setVisible(False)
        else:
            self._timer.start()
            self._draw()

    def _draw(self) -> None:
        """At most four times a second, and only what is new."""
        record = self._record
        if record is None or record.version == self._drawn or not self.isVisible():
            return
        self._drawn = record.version
        self.stages.draw(record.stages)
        self.curves.draw(record.curves.values())
        self.pictures.show_pictures(record.pictures)
        if record.preparing is not None:
            told = record.preparing
            self.show_status(
                f"Writing the stack to the project folder: {told.done:g} of {told.total:g} "
                f"{told.unit}"
            )
        if record.num_lines != self._logged:
            self._logged = record.num_lines
            self.log.setPlainText("\n".join(record.log))
            bar = self.log.verticalScrollBar()
            bar.setValue(bar.maximum())

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.findings)
        column.addWidget(self.plan)
        buttons, more = QHBoxLayout(), QHBoxLayout()
        buttons.addWidget(self.run)
        buttons.addWidget(self.cancel)
        more.addWidget(self.start_over)
        more.addWidget(self.copy)
        column.addLayout(buttons)
        column.addLayout(more)
        for part in (self.status, self.stages, self.curves, self.pictures, self.log):
            column.addWidget(part)
