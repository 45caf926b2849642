"""The Train widget: a model learned from one's own stack, while napari stays fluid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_d2r.errors import InputError
from napari_d2r.widgets._controls import fill_scrolling, put_in_clipboard
from napari_d2r.widgets._first_focus import FirstFocus
from napari_d2r.widgets._latest import Latest
from napari_d2r.widgets._layers import confirm_voxel_size
from napari_d2r.widgets._look import Look
from napari_d2r.widgets._prepare import How, PlannedTraining, TrainWish, plan_training
from napari_d2r.widgets._runner import keeper_of
from napari_d2r.widgets._train_commands import as_command, as_python
from napari_d2r.widgets._train_form import TrainForm
from napari_d2r.widgets._train_view import TrainView
from napari_d2r.widgets._training_run import TrainingRun

if TYPE_CHECKING:
    import napari.viewer

_KEPT = "train"


class TrainWidget(QWidget):
    """Form above, stages and curves below; owns what they ask for."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setObjectName("train")
        self._viewer = viewer
        self._planned: PlannedTraining | None = None
        self._run: TrainingRun | None = None
        self._taken_up: Path | None = None
        self.form, self.view = TrainForm(viewer), TrainView()
        self._area = fill_scrolling(self, self.form, self.view)
        Look(self, viewer)
        FirstFocus(self, self.form.layer)
        self._planner = Latest("train plan", plan_training, self, delay_ms=200)
        self._planner.answered.connect(self._on_planned)
        self._planner.failed.connect(self._on_not_planned)
        self.form.changed.connect(self._ask_for_plan)
        self.view.findings.inspected.connect(self._show_run)
        self.view.findings.follow(self.form.layer)
        self.view.run.clicked.connect(self._on_run)
        self.view.cancel.clicked.connect(self._on_cancel)
        self.view.start_over.clicked.connect(self._on_start_over)
        self.view.copy_command.triggered.connect(lambda: self._copy(as_command))
        self.view.copy_python.triggered.connect(lambda: self._copy(as_python))
        self._ask_for_plan()

    def showEvent(self, event: QShowEvent) -> None:
        """Take up the training of a widget that was closed."""
        super().showEvent(event)
        QTimer.singleShot(0, self._take_up)

    def _ask_for_plan(self) -> None:
        if self._run is not None and self._run.is_running:
            return  # planned again when it has ended
        self._planned = None
        try:
            wish = self.form.wish
        except InputError as error:
            self._planner.ask(None)
            self.view.show_problem(str(error))
        else:
            self._planner.ask(wish)
            self.view.show_problem("Planning…")
        self._show_run()

    def _on_planned(self, wish: TrainWish, planned: PlannedTraining) -> None:
        found = planned.found
        if found.state == "unfinished" and self._taken_up != found.folder:
            assert found.project is not None and found.job is not None
            self._taken_up = found.folder
            self.form.take_up(  # which asks for a plan again
                found.folder, found.project.preset, found.project.layer, found.job
            )
            return
        self._planned = planned
        self.view.show_plan(planned)
        self._show_run()

    def _on_not_planned(self, wish: TrainWish, sentence: str) -> None:
        self.view.show_problem(sentence)
        self._show_run()

    def _on_run(self) -> None:
        if self._run is not None and self._run.is_running:
            self._run.pause()
        elif self._planned is not None and self._planned.how is not None:
            self._begin(self._planned.how)

    def _on_cancel(self) -> None:
        if self._run is not None:
            self._run.cancel()

    def _on_start_over(self) -> None:
        planned = self._planned
        if planned is None or planned.found.project is None:
            return
        what = {"unfinished": "unfinished training", "complete": "finished model"}
        wish, project = planned.wish, planned.found.project
        name = project.layer if wish.problem else wish.layer.name
        answer = QMessageBox.question(
            self,
            "Start over",
            f"The {what[planned.found.state]} of {project.facts} in {wish.folder} will be "
            f"replaced. Start over with “{name}”?",
        )
        if answer == QMessageBox.StandardButton.Yes:
            self._begin("start over")

    def _begin(self, how: How) -> None:
        planned = self._planned
        assert planned is not None
        wish = planned.wish
        if how != "resume" and wish.voxel_size is not None and not wish.problem:
            confirm_voxel_size(wish.layer, wish.voxel_size)
        goes_on = (
            how == "resume"
            and self._run is not None
            and self._run.planned.wish.folder == wish.folder
        )
        record = self._run.record if self._run is not None and goes_on else None
        self._taken_up = wish.folder
        run = TrainingRun(self._viewer, planned, how, record)
        keeper_of(self).keep(_KEPT, run)
        self._attach(run)
        run.start()
        self._show_run()
        QTimer.singleShot(0, self._scroll_to_stages)

    def _scroll_to_stages(self) -> None:
        """What there is to see now is below the form."""
        self._area.ensureWidgetVisible(self.view.stages)

    def _attach(self, run: TrainingRun) -> None:
        self._run = run
        run.changed.connect(self._show_run)
        run.ended.connect(self._on_ended)
        self.view.show_record(run.record)

    def _take_up(self) -> None:
        kept = keeper_of(self).kept.get(_KEPT)
        if self._run is None and kept is not None:
            self._attach(kept)
            wish = kept.planned.wish
            self._taken_up = wish.folder
            self.form.take_up(wish.folder, wish.preset, kept.layer_name, wish.job)
            self.view.show_status(kept.message)
            self._show_run()

    def _on_ended(self) -> None:
        assert self._run is not None
        self.view.show_status(self._run.message)
        self._ask_for_plan()  # what can be resumed has changed

    def _show_run(self) -> None:
        is_running = self._run is not None and self._run.is_running
        self.form.setEnabled(not is_running)
        self.view.show_run(self._run, self._planned)

    def _copy(self, write: Any) -> None:
        try:
            text = write(self.form.wish, self._planned)
        except InputError as error:
            self.view.show_status(str(error))
            return
        put_in_clipboard(text)
        show_info("Copied.")
        self.view.show_status("Copied.")
