"""The file that says where each slice stands along Z, where distances are uneven."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QLineEdit, QWidget

from napari_d2r.errors import InputError
from napari_d2r.io import read_z_table
from napari_d2r.volumes import axial_positions
from napari_d2r.widgets._controls import in_a_row, named, push_button, rich
from napari_d2r.widgets._wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_d2r.widgets._planner import Planned


@dataclass(frozen=True, slots=True, eq=False)
class ZTable:
    """``positions`` as in the file, in nm; ``places`` from the first slice on, (Z,), rising."""

    path: Path
    positions: tuple[float, ...]
    places: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Distance of slices in the mean, in nm."""
        return float(self.places[-1]) / max(len(self.places) - 1, 1)


class ZTableChoice(QWidget):
    """Emits ``changed`` when another file is named, or the same one once more."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.file = named(
            QLineEdit(),
            "z_table",
            "Table of positions along Z",
            rich(
                "Text or CSV file with a number for each slice: where it stands along Z, in nm or "
                "as the header says (z_nm, z_um). Empty: all slices are equally far apart."
            ),
        )
        self.file.setPlaceholderText("even distances")
        self.browse = push_button(
            "browse_z_table",
            "…",
            rich("Choose the table that your microscope, or you, wrote."),
            "Choose a table",
        )
        self.browse.setMaximumWidth(32)
        self.note = WrappedLabel("z_table_note", "What the table says")
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow("Z table", in_a_row(self.file, self.browse))
        rows.addRow(self.note)
        self.note.hide()
        self.file.editingFinished.connect(self._tell)
        self.browse.clicked.connect(self._browse)

    def table_of(self, num_slices: int) -> ZTable | None:
        """What the file says of a stack, read anew; None where no file is named.

        Raises
        ------
        InputError
            Where it cannot be read or does not fit the stack, which is said below it too.
        """
        text = self.file.text().strip()
        if not text:
            return None
        path = Path(text).expanduser()
        try:
            positions = read_z_table(path)
            return ZTable(path, positions, axial_positions(positions, num_slices))
        except InputError as error:
            self._say(str(error))
            raise

    def show_effect(self, planned: Planned) -> None:
        """Say what becomes of the stack by the table."""
        grid, gap = planned.plan.grid, planned.plan.gap
        widths = grid.widths(gap)
        if widths is None:
            self._say("")
            return
        nm = planned.plan.volume.voxel_size.z / gap
        low, high = min(widths), max(widths)
        self._say(
            f"{grid.num_slices} slices with gaps of {low:.3g} to {high:.3g} pixels "
            f"({low * nm:.4g} to {high * nm:.4g} nm); {grid.num_output} slices out, evenly spaced."
        )

    def clear(self) -> None:
        """Forget the file, without a word: it was that of another stack."""
        self.file.clear()
        self._say("")

    def _say(self, sentence: str) -> None:
        self.note.setText(sentence)
        self.note.setVisible(bool(sentence))

    def _tell(self) -> None:
        self._say("")
        self.changed.emit()

    def _browse(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self,
            "Table of positions along Z",
            self.file.text(),
            "Tables (*.csv *.tsv *.txt);;All files (*)",
        )
        if chosen:
            self.file.setText(chosen)
            self._tell()
