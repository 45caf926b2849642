"""The Resolution widget: what a model gains on one's own stack, and how far two volumes agree."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.compat import isalive
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QProgressBar,
    QWidget,
)

from napari_d2r.errors import InputError
from napari_d2r.jobs import (
    CancelToken,
    Event,
    Failed,
    Finished,
    Outcome,
    Progress,
    StageStarted,
    Warned,
)
from napari_d2r.stages._fsc_report import FSCReport
from napari_d2r.widgets._controls import (
    add_copy_menu,
    fill_scrolling,
    named,
    note,
    push_button,
    put_in_clipboard,
)
from napari_d2r.widgets._first_focus import FirstFocus
from napari_d2r.widgets._latest import start_kept
from napari_d2r.widgets._look import Look
from napari_d2r.widgets._resolution_form import FSCWish, GainWish, ResolutionForm
from napari_d2r.widgets._resolution_text import as_command, as_python
from napari_d2r.widgets._resolution_view import Report, ResolutionView
from napari_d2r.widgets._runner import JobRunner, Work

if TYPE_CHECKING:
    import napari.viewer

_PARTS = 1000


class ResolutionWidget(QWidget):
    """Form, button, progress and findings; owns the one job that runs."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setObjectName("resolution")
        self.form, self.view = ResolutionForm(viewer), ResolutionView()
        self.gain = push_button(
            "gain",
            "What did I gain?",
            "Leave out measured slices, predict them, and compare with linear.",
        )
        self.run = push_button("run", "Measure FSC", "Correlate both volumes, shell by shell.")
        self.copy = push_button(
            "copy", "Copy", "Copy what the form would do, to run it elsewhere.", "Copy as text"
        )
        self.copy_command, self.copy_python = add_copy_menu(self.copy)
        self.progress = named(QProgressBar(), "progress", "Progress")
        self.progress.setRange(0, _PARTS)
        self.status = note("status", "Status")
        self._runner: JobRunner | None = None
        self._found: dict[bool, Report] = {}  # by tab: is it that of the gain
        self._is_of_gain = True
        self._lay_out()
        Look(self, viewer)
        FirstFocus(self, self.form.question)
        self.gain.clicked.connect(self._on_clicked)
        self.run.clicked.connect(self._on_clicked)
        self.copy_command.triggered.connect(partial(self._copy, as_command))
        self.copy_python.triggered.connect(partial(self._copy, as_python))
        self.form.changed.connect(self._show_state)
        self.form.question.currentChanged.connect(self._on_question)
        self.view.save_csv_wanted.connect(self._on_save_csv)
        self.view.figure_wanted.connect(self._on_figure)
        self.view.told.connect(self._tell)
        self._on_question()

    def save_csv(self, path: Path) -> None:
        """Write the curves of the report on show."""
        report = self.view.report
        if report is None:
            return
        try:
            path.write_text(report.to_csv(), encoding="utf-8")
        except OSError as error:
            self._fail(f"{path.name} was not saved: {error.strerror}.")
        else:
            self._tell(f"Saved {path.name}.")

    def save_figure(self, path: Path) -> None:
        """Draw the report on show into a file, in a thread."""
        report = self.view.report
        if report is not None and self._runner is None:
            self._start(partial(_draw, report, path))

    def _on_clicked(self) -> None:
        if self._runner is not None:
            self._runner.cancel()
            self._show_state()
            return
        try:
            wish = self.form.wish
        except InputError as error:
            self._fail(str(error))
            return
        self._is_of_gain = isinstance(wish, GainWish)
        self._start(wish.work)

    def _start(self, work: Work) -> None:
        self.status.setText("")
        self.progress.setValue(0)
        runner = self._runner = JobRunner(partial(_while_open, weakref.ref(self), work))
        runner.told.connect(self._on_told)
        runner.ended.connect(self._on_ended)
        start_kept(runner, "resolution", self)
        self._show_state()

    def _on_told(self, event: Event) -> None:
        match event:
            case Progress():
                self.progress.setValue(round(_PARTS * event.done / max(event.total, 1)))
            case StageStarted():
                self.status.setText(f"{event.title}…")
            case Warned():
                show_warning(event.message)
            case Failed():
                self._fail(event.message)
            case Finished(outcome=Outcome.COMPLETED, result=Path() as path):
                self._tell(f"Saved {path.name}.")
            case Finished(outcome=Outcome.COMPLETED):
                self._found[self._is_of_gain] = event.result
                self._on_question()
                show_info(event.result.sentence())
            case Finished():
                self._tell("Cancelled; nothing was measured.")

    def _on_ended(self) -> None:
        self._runner = None
        self._show_state()

    def _on_question(self, *_: int) -> None:
        report = self._found.get(self.form.is_gain)
        self.view.show_report(report)
        if self._runner is None or report is not None:
            self.status.setText(report.sentence() if report else "")
        self._show_state()

    def _show_state(self) -> None:
        runner = self._runner
        for button, words, is_shown in (
            (self.gain, "What did I gain?", self.form.is_gain),
            (self.run, "Measure FSC", not self.form.is_gain),
        ):
            if runner is not None:
                words = "Cancelling…" if runner.is_cancelled else "Cancel"
            button.setText(words)
            button.setEnabled(runner is None or not runner.is_cancelled)
            button.setVisible(is_shown)
        self.progress.setVisible(runner is not None)
        self.view.export.setEnabled(runner is None)

    def _copy(self, text_of: Callable[[GainWish | FSCWish], str], *_: bool) -> None:
        try:
            text = text_of(self.form.wish)
        except InputError as error:
            self._fail(str(error))
            return
        put_in_clipboard(text)
        self._tell("Copied; paste it where it is to run.")

    def _tell(self, sentence: str) -> None:
        self.status.setText(sentence)
        show_info(sentence)

    def _fail(self, sentence: str) -> None:
        self.status.setText(sentence)
        show_error(sentence)

    def _on_save_csv(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the curves", f"{self._stem()}.csv", "CSV (*.csv)"
        )
        if name:
            self.save_csv(Path(name))

    def _on_figure(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save a figure", f"{self._stem()}.png", "Figures (*.png *.pdf *.svg)"
        )
        if name:
            self.save_figure(Path(name))

    def _stem(self) -> str:
        return "fsc" if isinstance(self.view.report, FSCReport) else "gain"

    def _lay_out(self) -> None:
        buttons = QWidget()
        row = QHBoxLayout(buttons)
        row.setContentsMargins(0, 0, 0, 0)
        for button in (self.gain, self.run):
            row.addWidget(button, 1)
        row.addWidget(self.copy)
        fill_scrolling(self, self.form, buttons, self.progress, self.status, self.view)


def _while_open(
    owner: weakref.ref[ResolutionWidget], work: Work, cancel: CancelToken
) -> Iterator[Event]:
    """The work, for as long as there is a widget to show what it finds; in a thread."""
    for event in work(cancel):
        widget = owner()
        if widget is None or not isalive(widget):
            cancel.cancel()
        yield event


def _draw(report: Report, path: Path, cancel: CancelToken) -> Iterator[Event]:
    """A figure of a report; in a thread, for drawing takes seconds."""
    from napari_d2r.figures import draw_fsc, draw_gain

    if isinstance(report, FSCReport):
        draw_fsc(report, path)
    else:
        draw_gain(report, path)
    yield Finished(Outcome.COMPLETED, path)
