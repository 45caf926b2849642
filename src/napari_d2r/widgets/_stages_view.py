"""Three named bars, one for each stage of a training."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QLabel, QProgressBar, QSizePolicy, QVBoxLayout, QWidget

from napari_d2r.widgets._training_record import STAGES, StageRecord

_PARTS = 1000
_TIPS = (
    "A network learns from your own slices, with rows left out, what lies between two rows.",
    "That network restores the XZ and YZ slices of your stack. The result looks measured, but is "
    "not.",
    "A fast network learns from the pseudo-HR volume, so that large stacks take minutes.",
)


class StagesView(QWidget):
    """Bars ``stage_1`` to ``stage_3``, each under its name and with the time left."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        self._rows: list[tuple[QLabel, QProgressBar]] = []
        for number, (title, tip) in enumerate(zip(STAGES, _TIPS, strict=True), start=1):
            label, bar = QLabel(title), QProgressBar()
            label.setWordWrap(True)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            label.setToolTip(tip)
            bar.setObjectName(f"stage_{number}")
            bar.setAccessibleName(title)
            bar.setToolTip(tip)
            bar.setRange(0, _PARTS)
            column.addWidget(label)
            column.addWidget(bar)
            self._rows.append((label, bar))

    def draw(self, stages: Sequence[StageRecord]) -> None:
        """Show how far each stage is, in numbers and in words."""
        for (_, bar), stage in zip(self._rows, stages, strict=True):
            bar.setValue(round(_PARTS * stage.fraction))
            bar.setFormat(stage.words)
            bar.setAccessibleDescription(stage.words)
            bar.setEnabled(stage.state != "left out")
