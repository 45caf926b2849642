"""What will happen, what happens, and the buttons: no decisions here."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_d2r.jobs import ClusterSettings, Progress
from napari_d2r.widgets._cache_row import CacheRow
from napari_d2r.widgets._controls import add_copy_menu, named, push_button
from napari_d2r.widgets._inspector import Inspector
from napari_d2r.widgets._planner import Planned
from napari_d2r.widgets._saver import SaveButton
from napari_d2r.widgets._wrapped_label import WrappedLabel

_PARTS = 1000


class SuperResolveView(QWidget):
    """Findings, plan, buttons, progress and status; the owner says what they show."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.live_preview = named(
            QCheckBox("Live preview"),
            "live_preview",
            "Live preview",
            "Restore only what is on screen, at once, as you browse: best in an XZ or YZ view "
            "(roll the axes with Ctrl+E).",
        )
        self.findings = Inspector()
        self.plan = WrappedLabel("plan", "What will happen")
        self.run = push_button("run", "Run", "Begin, stop, or go on where it was stopped.")
        self.start_over = push_button(
            "start_over", "Start over", "Forget the finished blocks and begin again."
        )
        self.progress = named(QProgressBar(), "progress", "Progress")
        self.progress.setRange(0, _PARTS)
        self.save = SaveButton()
        self.copy = push_button(
            "copy", "Copy", "Copy what the form would do, to run it elsewhere.", "Copy as text"
        )
        self.copy_command, self.copy_python = add_copy_menu(self.copy)
        self.cache = CacheRow(viewer)
        self.eta = WrappedLabel("eta", "Time left")
        self.status = WrappedLabel("status", "Status")
        column.addWidget(self.live_preview)
        column.addWidget(self.findings)
        column.addWidget(self.plan)
        row = QHBoxLayout()
        row.addWidget(self.run)
        row.addWidget(self.start_over)
        column.addLayout(row)
        column.addWidget(self.progress)
        column.addWidget(self.eta)
        column.addWidget(self.status)
        row = QHBoxLayout()
        row.addWidget(self.save, 1)
        row.addWidget(self.copy)
        column.addLayout(row)
        column.addWidget(self.cache)
        self.status.hide()
        self._show_progress(None)

    def show_planning(self) -> None:
        """The plan is being made."""
        self.plan.setText("Planning…")

    def show_problem(self, sentence: str) -> None:
        """Nothing can be run, and why."""
        self.plan.setText(sentence)
        self.findings.show_fit(())

    def show_plan(self, planned: Planned) -> None:
        """The plan and every warning; what it found about the stack goes to the findings."""
        self.findings.show_fit(planned.fit)
        self.plan.setText("\n".join(plan_lines(planned)))

    def show_status(self, sentence: str) -> None:
        """How the last thing went."""
        self.status.setText(sentence)
        self.status.setVisible(bool(sentence))

    def show_run(self, run: Any, planned: Planned | None) -> None:
        """The state of the buttons and of the bar."""
        is_running = run is not None and run.is_running
        can_resume = planned is not None and planned.is_begun
        if is_running:
            text = "Cancelling…" if run.is_cancelling else "Cancel"
        else:
            text = "Resume" if can_resume else "Run"
        self.run.setText(text)
        self.run.setAccessibleName(text)
        is_stopped = self.findings.is_looking or self.findings.blocks or self.save.is_saving
        can_run = planned is not None and not is_stopped
        self.run.setEnabled(not run.is_cancelling if is_running else can_run)
        self.start_over.setVisible(can_resume and not is_running)
        self.start_over.setEnabled(can_run)
        if is_running:
            self._show_progress(run.progress, run.stage, run.workers)
        elif not self.save.is_saving:
            self._show_progress(None)

    def show_saving(self, progress: Progress) -> None:
        """How far a copy is."""
        self._show_progress(progress, "Saving")

    def _show_progress(
        self, told: Progress | None, stage: str = "", workers: int | None = None
    ) -> None:
        self.progress.setVisible(bool(stage))
        self.eta.setVisible(bool(stage))
        self.progress.setValue(round(_PARTS * told.done / max(told.total, 1)) if told else 0)
        words = [stage]
        if told is not None:
            unit = "blocks" if told.unit == "shards" else told.unit
            words.append(f"{told.done:g} of {told.total:g} {unit}")
            if workers is not None:
                words.append(_at_work(workers))
            if told.eta_s is not None:
                words.append(f"about {_duration(told.eta_s)} left")
        self.eta.setText(", ".join(words))


def plan_lines(planned: Planned) -> list[str]:
    """The plan in words."""
    plan = planned.plan
    shape = " × ".join(map(str, plan.output_shape))
    colours = "" if plan.volume.num_channels is None else ", in colour"
    how = planned.wish.model_title
    bits = "" if plan.engine == "torch" else f", by {plan.engine}"
    num_bytes = plan.num_bytes * (2 if planned.tiff else 1)
    cluster = planned.wish.job.cluster
    where = "" if cluster is None else f", in blocks by {_elsewhere(cluster)}"
    alone = "" if cluster is None else " in one process"
    lines = [
        f"Result: {shape} voxels of {plan.voxel_size}{colours}",
        f"{how}, factor {plan.grid.factor:g}, on {_device_name(plan.device)}{bits}{where}",
        f"About {_duration(plan.seconds)}{alone}; memory {plan.memory_bytes / 1e9:.1f} GB, "
        f"disk at most {_size(num_bytes)}",
    ]
    if planned.is_begun:
        lines.append("An earlier run of this was stopped; its finished blocks are kept.")
    return lines + [f"Note: {warning}" for warning in planned.warnings]


def _device_name(device: Any) -> str:
    names = {"cpu": "the processor", "cuda": "the NVIDIA GPU", "mps": "the Apple GPU"}
    return names.get(device.type, device.type)


def _at_work(workers: int) -> str:
    if not workers:
        return "waiting for workers"
    return f"{workers} worker{'s' if workers > 1 else ''}"


def _elsewhere(cluster: ClusterSettings) -> str:
    """Who computes, where this process does not."""
    if cluster.scheduler is not None:
        return f"the workers of {cluster.scheduler}"
    is_slurm = cluster.kind == "slurm"
    one, more = ("job", "jobs") if is_slurm else ("worker process", "worker processes")
    return f"{cluster.workers} {one if cluster.workers == 1 else more}{' of SLURM' * is_slurm}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
