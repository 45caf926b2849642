"""Which processes compute a result: this one, others here, those of a scheduler, or SLURM's."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QLineEdit, QWidget

from napari_d2r.errors import InputError
from napari_d2r.widgets._controls import in_a_row, named, push_button, rich, show_row
from napari_d2r.widgets._number_box import ChoiceBox, IntegerBox
from napari_d2r.widgets._preferences import preferences

HERE, PROCESSES, SCHEDULER, SLURM = (
    "This computer",
    "Worker processes",
    "A dask scheduler",
    "SLURM",
)
_MOST_WORKERS = 4096


class WhereToRun(QWidget):
    """Emits ``changed`` whenever `settings` may give another answer."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        stored = preferences()
        self.where = named(
            ChoiceBox(),
            "where",
            "Where",
            rich(
                "The result is the same everywhere. Worker processes pay on a computer with "
                "several GPUs; the others are machines that see the same files as this one."
            ),
        )
        self.where.addItems([HERE, PROCESSES, SCHEDULER, SLURM])
        self.workers = named(
            IntegerBox(),
            "workers",
            "Workers",
            rich("Processes of this computer, best one per GPU, or jobs of SLURM."),
        )
        self.workers.setRange(1, _MOST_WORKERS)
        self.workers.setValue(stored.workers)
        self.scheduler = named(
            QLineEdit(stored.scheduler),
            "scheduler",
            "Scheduler",
            rich("The address that “dask scheduler” printed when it was started."),
        )
        self.scheduler.setPlaceholderText("tcp://node:8786")
        self.site = named(
            QLineEdit(stored.site_file),
            "site",
            "Site file",
            rich("YAML with queue, cores, memory and so on of a job, as dask-jobqueue takes them."),
        )
        self.site.setPlaceholderText("jobqueue.yaml of dask")
        self.browse_site = push_button(
            "browse_site", "…", rich("Choose the site file."), "Choose a site file"
        )
        self.browse_site.setMaximumWidth(32)
        self._site_row = in_a_row(self.site, self.browse_site)
        self._rows = QFormLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._rows.addRow("Where", self.where)
        self._rows.addRow("Workers", self.workers)
        self._rows.addRow("Scheduler", self.scheduler)
        self._rows.addRow("Site file", self._site_row)
        self._show_rows()
        self.where.currentIndexChanged.connect(self._on_where)
        self.browse_site.clicked.connect(self._browse)
        for signal in (
            self.workers.valueChanged,
            self.scheduler.editingFinished,
            self.site.editingFinished,
        ):
            signal.connect(self._tell)

    @property
    def settings(self) -> dict[str, Any] | None:
        """Fields of `ClusterSettings`; None for this process alone.

        Raises
        ------
        InputError
            Where an address is missing.
        """
        where, workers = self.where.currentText(), self.workers.value()
        if where == HERE:
            return None
        if where == SCHEDULER:
            address = self.scheduler.text().strip()
            if not address:
                raise InputError("Enter the address of the scheduler, such as tcp://node:8786.")
            return {"scheduler": address}
        if where == PROCESSES:
            return {"workers": workers}
        site = self.site.text().strip() or None
        return {"kind": "slurm", "workers": workers, "site": site}

    def _tell(self, *_: object) -> None:
        self.changed.emit()

    def _on_where(self, *_: object) -> None:
        self._show_rows()
        self._tell()

    def _show_rows(self) -> None:
        where = self.where.currentText()
        show_row(self._rows, self.workers, where in (PROCESSES, SLURM))
        show_row(self._rows, self.scheduler, where == SCHEDULER)
        show_row(self._rows, self._site_row, where == SLURM)

    def _browse(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Site file", self.site.text())
        if chosen:
            self.site.setText(chosen)
            self._tell()
