"""The Super-resolve widget: one stack to a finer one, while you watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QWidget

from napari_d2r.errors import InputError
from napari_d2r.jobs import Progress
from napari_d2r.widgets._commands_text import super_resolve_command, super_resolve_python
from napari_d2r.widgets._controls import fill_scrolling, put_in_clipboard
from napari_d2r.widgets._first_focus import FirstFocus
from napari_d2r.widgets._latest import Latest
from napari_d2r.widgets._layers import confirm_voxel_size
from napari_d2r.widgets._live_preview import LivePreview
from napari_d2r.widgets._look import Look
from napari_d2r.widgets._planner import Planned, plan_wish
from napari_d2r.widgets._preferences import preferences
from napari_d2r.widgets._runner import keeper_of
from napari_d2r.widgets._super_resolve_form import SuperResolveForm, Wish
from napari_d2r.widgets._super_resolve_run import SuperResolveRun
from napari_d2r.widgets._super_resolve_view import SuperResolveView

if TYPE_CHECKING:
    import napari.viewer

_KEPT = "super-resolve"


class SuperResolveWidget(QWidget):
    """Form above, plan and progress below; owns what they ask for."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setObjectName("super_resolve")
        self._viewer = viewer
        self._planned: Planned | None = None
        self._run: SuperResolveRun | None = None
        self.form = SuperResolveForm(viewer)
        self.view = SuperResolveView(viewer)
        self._lay_out()
        Look(self, viewer)
        FirstFocus(self, self.form.layer)
        self._planner = Latest("plan", plan_wish, self, delay_ms=200)
        self._planner.answered.connect(self._on_planned)
        self._planner.failed.connect(self._on_not_planned)
        self.form.changed.connect(self._ask_for_plan)
        self._preview = LivePreview(viewer, self)
        self._listen()
        self.view.findings.follow(self.form.layer)
        self._ask_for_plan()
        self.view.live_preview.setChecked(preferences().live_preview)

    def showEvent(self, event: QShowEvent) -> None:
        """Take up the run of a widget that was closed."""
        super().showEvent(event)
        QTimer.singleShot(0, self._take_up)

    def changeEvent(self, event: QEvent) -> None:
        """A closed dock, which lets go of its widget, takes the live preview with it."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.view.live_preview.setChecked(False)

    def _lay_out(self) -> None:
        area = fill_scrolling(self, self.form, self.view)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def _listen(self) -> None:
        view, preview = self.view, self._preview
        view.run.clicked.connect(self._on_run)
        view.start_over.clicked.connect(self._on_start_over)
        view.copy_command.triggered.connect(self._copy_command)
        view.copy_python.triggered.connect(self._copy_python)
        view.findings.inspected.connect(self._on_inspected)
        view.save.told.connect(self._on_saving)
        view.save.said.connect(self._on_saved)
        view.live_preview.toggled.connect(preview.switch)
        preview.removed.connect(lambda: view.live_preview.setChecked(False))
        preview.failed.connect(view.show_status)

    def _ask_for_plan(self) -> None:
        self._planned = None
        try:
            wish = self.form.wish
        except InputError as error:
            self._planner.ask(None)
            self.view.show_problem(str(error))
        else:
            self._planner.ask(wish)
            self.view.show_planning()
        self._show_run()

    def _on_planned(self, wish: Wish, planned: Planned) -> None:
        self._planned = planned
        self._preview.set_plan(planned)
        self.view.show_plan(planned)
        self.form.z_table.show_effect(planned)
        self._show_run()

    def _on_not_planned(self, wish: Wish, sentence: str) -> None:
        self.view.show_problem(sentence)
        self._show_run()

    def _on_run(self) -> None:
        if self._run is not None and self._run.is_running:
            self._run.cancel()
        elif self._planned is not None:
            self._begin(start_over=False)

    def _on_start_over(self) -> None:
        if self._planned is not None:
            self._begin(start_over=True)

    def _begin(self, *, start_over: bool) -> None:
        assert self._planned is not None
        planned = self._planned
        confirm_voxel_size(planned.wish.layer, planned.wish.voxel_size)
        run = SuperResolveRun(self._viewer, planned, start_over=start_over)
        keeper_of(self).keep(_KEPT, run)  # and the last one, after its end
        self._attach(run)
        run.start()
        self._show_run()

    def _attach(self, run: SuperResolveRun) -> None:
        self._run = run
        run.changed.connect(self._show_run)
        run.warned.connect(self._on_warned)
        run.ended.connect(self._on_ended)

    def _take_up(self) -> None:
        kept = keeper_of(self).kept.get(_KEPT)
        if self._run is None and kept is not None:
            self._attach(kept)
            if not kept.is_running:
                self.view.show_status(kept.message)
                self.view.save.set_source(kept.result)
            self._show_run()

    def _on_warned(self, sentence: str) -> None:
        show_warning(sentence)
        self.view.show_status(sentence)

    def _on_ended(self) -> None:
        assert self._run is not None
        self.view.show_status(self._run.message)
        self.view.save.set_source(self._run.result)
        self.view.cache.recount()
        self._ask_for_plan()  # what can be resumed, and which names are taken, has changed

    def _on_inspected(self) -> None:
        inspection = self.view.findings.inspection
        self.form.region.suggest(inspection.suggested_box if inspection else None)
        self._show_run()

    def _on_saving(self, progress: Progress) -> None:
        self.view.show_saving(progress)
        self._show_run()

    def _on_saved(self, sentence: str) -> None:
        self.view.show_status(sentence)
        self._show_run()

    def _copy_command(self) -> None:
        self._copy(super_resolve_command, "command line")

    def _copy_python(self) -> None:
        self._copy(super_resolve_python, "Python")

    def _copy(self, text_of: Callable[[Wish], str], what: str) -> None:
        try:
            text = text_of(self.form.wish)
        except InputError as error:
            self.view.show_status(str(error))
            return
        put_in_clipboard(text)
        self.view.show_status(f"Copied as {what}.")

    def _show_run(self) -> None:
        self.view.show_run(self._run, self._planned)
