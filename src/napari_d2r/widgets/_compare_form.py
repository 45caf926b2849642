"""The controls of Compare: which layers, in which way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_d2r.widgets._compare_pictures import MODES, Mode
from napari_d2r.widgets._compare_sampling import PLANES, Plane
from napari_d2r.widgets._compare_scene import MAX_LAYERS, is_anisotropic
from napari_d2r.widgets._controls import named, push_button
from napari_d2r.widgets._layer_choice import LayerChoice

_NUM_NEEDED = 2  # rows without "none"
_MAX_BLINK_HZ = 3.0  # faster flicker can harm


class _PlainNumber(QDoubleSpinBox):
    """Shows 7, not 7.000000."""

    def __init__(self) -> None:
        super().__init__()
        self.setKeyboardTracking(False)

    def textFromValue(self, value: float) -> str:
        """As few digits as the number needs."""
        return f"{value:.6g}"


class CompareForm(QScrollArea):
    """Emits ``layers_changed`` for another scene and ``display_changed`` for another look."""

    layers_changed = Signal()
    display_changed = Signal()
    next_asked = Signal()
    fit_difference_asked = Signal()
    fit_asked = Signal()
    profile_toggled = Signal(bool)
    export_asked = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        inside = QWidget()
        self._layout = QVBoxLayout(inside)
        self._layout.setContentsMargins(4, 2, 4, 2)
        self._layout.setSpacing(4)
        self.is_touched = False
        self._add_layer_rows(viewer)
        self._add_display()
        self._add_buttons()
        self.status = named(QLabel(), "status", "Status")
        self.status.setWordWrap(True)
        self.status.hide()
        self._layout.addWidget(self.status)
        self._layout.addStretch()
        self.setWidget(inside)

    def sizeHint(self) -> QSize:
        """Wide enough for a layer's name, as high as the controls."""
        return QSize(270, self.widget().sizeHint().height() + 4)

    def minimumSizeHint(self) -> QSize:
        """What scrolls may be low."""
        return QSize(160, 60)

    # What is chosen

    @property
    def chosen(self) -> list[tuple[Any, bool]]:
        """Each chosen layer, and whether it is interpolated."""
        return [
            (choice.layer, box.isChecked())
            for choice, box in zip(self.choices, self.as_linear, strict=True)
            if choice.layer is not None
        ]

    @property
    def mode(self) -> Mode:
        """How the layers are shown."""
        return MODES[self._mode.currentIndex()]

    @property
    def planes(self) -> tuple[Plane, ...]:
        """Which planes are shown."""
        at = self._planes.currentIndex()
        return PLANES if at == 0 else (PLANES[at - 1],)

    @property
    def pair(self) -> tuple[int, int]:
        """The two layers of split and difference, as places among the chosen."""
        return max(self._first.currentIndex(), 0), max(self._second.currentIndex(), 0)

    @property
    def blink_hz(self) -> float:
        """How often another layer shows; 0 is by hand."""
        return float(self._blink_rate.value())

    @property
    def split(self) -> float:
        """The share of a pane that shows the first layer."""
        return self._split.value() / self._split.maximum()

    @property
    def difference_limit(self) -> float:
        """The difference that has the strongest colour."""
        return float(self._difference_range.value())

    @property
    def has_common_contrast(self) -> bool:
        """Whether all layers are shown between the first one's contrast limits."""
        return self._common_contrast.isChecked()

    def choose(self, layers: Sequence[Any]) -> None:
        """Choose layers for the first rows, none for the others.

        A lone layer is chosen twice: interpolated, and as it is.
        """
        wanted: list[Any] = [*layers, *[None] * (MAX_LAYERS - len(layers))]
        if len(layers) == 1:
            wanted[1] = layers[0]
        was_touched, before = self.is_touched, self.chosen
        was_blocked = self.blockSignals(True)
        for choice, layer in zip(self.choices, wanted, strict=True):
            choice.choose(layer)
        if len(layers) == 1:
            self.as_linear[1].setChecked(False)
        self.blockSignals(was_blocked)
        self.is_touched = was_touched
        if self.chosen != before:
            self.layers_changed.emit()

    def say(self, sentence: str) -> None:
        """Show a sentence, or none."""
        self.status.setText(sentence)
        self.status.setVisible(bool(sentence))

    def set_labels(self, labels: Sequence[str]) -> None:
        """Name the layers in the lists of split and difference; the choice stays where it can."""
        for at, box in enumerate((self._first, self._second)):
            if [box.itemText(row) for row in range(box.count())] == list(labels):
                continue
            chosen = box.currentIndex() if box.count() else at
            was_blocked = box.blockSignals(True)
            box.clear()
            box.addItems(labels)
            box.setCurrentIndex(min(max(chosen, 0), len(labels) - 1))
            box.blockSignals(was_blocked)

    def set_split(self, share: float) -> None:
        """Put the split line elsewhere."""
        self._split.setValue(round(share * self._split.maximum()))

    def set_difference_limit(self, limit: float) -> None:
        """Choose the range of the colours; rounded to two digits."""
        self._difference_range.setValue(float(f"{limit:.2g}"))

    def set_profile(self, is_on: bool) -> None:
        """Press or release the profile button."""
        self._profile.setChecked(is_on)

    # How it is built

    def _add_layer_rows(self, viewer: Any) -> None:
        grid = QGridLayout()
        grid.setSpacing(3)
        grid.setColumnStretch(1, 1)
        self.choices: list[LayerChoice] = []
        self.as_linear: list[QCheckBox] = []
        for number in range(1, MAX_LAYERS + 1):
            choice = LayerChoice(
                viewer,
                object_name=f"layer_{number}",
                label=f"Layer {number}",
                optional="" if number <= _NUM_NEEDED else "none",
            )
            choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            choice.setToolTip("An image to compare: the stack, its result, a reference.")
            box = QCheckBox("linear")
            box.setObjectName(f"as_linear_{number}")
            box.setAccessibleName(f"Layer {number} as linear interpolation")
            box.setToolTip(
                "Show this layer interpolated linearly between its slices, the baseline that a "
                "result must beat; off: show its voxels as they are."
            )
            box.setChecked(is_anisotropic(choice.layer))
            label = QLabel(f"&{number}")
            label.setBuddy(choice)
            for column, widget in enumerate((label, choice, box)):
                grid.addWidget(widget, number - 1, column)
            choice.layer_changed.connect(self._on_layer)
            choice.currentIndexChanged.connect(self._on_touched)  # silent while it is refilled
            box.toggled.connect(self._on_touched)
            box.toggled.connect(self.layers_changed)
            self.choices.append(choice)
            self.as_linear.append(box)
        self._layout.addLayout(grid)

    def _on_touched(self) -> None:
        """The user, or a script, chose: from now on the choice is theirs."""
        self.is_touched = True

    def _on_layer(self, layer: Any) -> None:
        for choice, box in zip(self.choices, self.as_linear, strict=True):
            if choice is self.sender():
                was_blocked = box.blockSignals(True)
                box.setChecked(is_anisotropic(layer))
                box.blockSignals(was_blocked)
        self.layers_changed.emit()

    def _add_display(self) -> None:
        self._mode = self._combo("mode", "View", MODES, "How the layers are put together.")
        names = ("all", *PLANES)
        self._planes = self._combo(
            "planes", "Planes", names, "XY is as measured; XZ and YZ cut across the slices."
        )
        self._first = self._combo("first", "A", (), "Left of the line; what B is taken from.")
        self._second = self._combo("second", "B", (), "Right of the line; what is taken from A.")
        view = self._row(("&View", self._mode), ("&Planes", self._planes))
        self._planes.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._layout.addLayout(view)
        self._pair_rows = QWidget()
        pair = QVBoxLayout(self._pair_rows)
        pair.setContentsMargins(0, 0, 0, 0)
        pair.setSpacing(4)
        pair.addLayout(self._row(("&A", self._first)))
        pair.addLayout(self._row(("&B", self._second)))
        self._layout.addWidget(self._pair_rows)
        for box in (self._mode, self._planes, self._first, self._second):
            box.currentIndexChanged.connect(self.display_changed)
        self._parts = {
            "blink": self._blink_part(),
            "split": self._split_part(),
            "difference": self._difference_part(),
        }
        for part in self._parts.values():
            self._layout.addWidget(part)
        self._common_contrast = QCheckBox("Same contrast for all")
        self._common_contrast.setObjectName("common_contrast")
        self._common_contrast.setChecked(True)
        self._common_contrast.setToolTip(
            "All layers between the contrast limits of layer 1, which you set in napari's layer "
            "controls; off: each between its own."
        )
        self._common_contrast.toggled.connect(self.display_changed)
        self._layout.addWidget(self._common_contrast)
        self.display_changed.connect(self._on_display)
        self._on_display()

    def _blink_part(self) -> QWidget:
        self._blink = push_button("blink", "Next", "Show the next layer (Space in a picture).")
        self._blink.clicked.connect(self.next_asked)
        self._blink_rate = self._number(
            "blink_rate", "Changes per second", "Changes per second; 0 changes by hand only."
        )
        self._blink_rate.setRange(0.0, _MAX_BLINK_HZ)
        self._blink_rate.setSingleStep(0.5)
        self._blink_rate.setDecimals(1)
        self._blink_rate.setValue(1.0)
        self._blink_rate.setSuffix(" per second")
        self._blink_rate.setSpecialValueText("by hand")
        self._blink_rate.valueChanged.connect(self.display_changed)
        part = QWidget()
        row = self._row(("", self._blink_rate))
        row.insertWidget(0, self._blink)
        part.setLayout(row)
        return part

    def _split_part(self) -> QWidget:
        self._split = QSlider(Qt.Orientation.Horizontal)
        self._split.setObjectName("split_position")
        self._split.setAccessibleName("Place of the line between A and B")
        self._split.setToolTip("Left of the line is A, right of it is B.")
        self._split.setRange(0, 100)
        self._split.setValue(50)
        self._split.valueChanged.connect(self.display_changed)
        part = QWidget()
        part.setLayout(self._row(("&Line", self._split)))
        return part

    def _difference_part(self) -> QWidget:
        self._difference_range = _PlainNumber()
        named(
            self._difference_range,
            "difference_range",
            "Range of the difference",
            "The difference, in grey values, that has the strongest colour.",
        )
        self._difference_range.setRange(1e-6, 1e9)
        self._difference_range.setDecimals(6)
        self._difference_range.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self._difference_range.valueChanged.connect(self.display_changed)
        fit = push_button(
            "difference_fit", "Fit", "Choose the range from the differences on screen."
        )
        fit.clicked.connect(self.fit_difference_asked)
        row = self._row(("Colours up to &\u00b1", self._difference_range))
        row.addWidget(fit)
        part = QWidget()
        part.setLayout(row)
        return part

    def _add_buttons(self) -> None:
        row = QHBoxLayout()
        fit = push_button("fit", "Whole", "Show everything again (Home in a picture).")
        fit.clicked.connect(self.fit_asked)
        self._profile = push_button("profile", "Profile", "Plot grey values along a line.")
        self._profile.setCheckable(True)
        self._profile.toggled.connect(self.profile_toggled)
        export = push_button("export", "Export…", "Save the pictures as a PNG figure.", "Export")
        export.clicked.connect(self.export_asked)
        for button in (fit, self._profile, export):
            row.addWidget(button)
        self._layout.addLayout(row)

    def _on_display(self) -> None:
        for mode, part in self._parts.items():
            part.setVisible(mode == self.mode)
        self._pair_rows.setVisible(self.mode in ("split", "difference"))

    def _row(self, *labelled: tuple[str, QWidget]) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        for text, widget in labelled:
            if text:
                label = QLabel(text)
                label.setBuddy(widget)
                row.addWidget(label)
            row.addWidget(widget, 1)
        return row

    def _combo(self, name: str, label: str, items: Sequence[str], tip: str) -> QComboBox:
        box = QComboBox()
        box.addItems(items)
        box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        named(box, name, label, tip)
        return box

    def _number(self, name: str, label: str, tip: str) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setKeyboardTracking(False)
        named(box, name, label, tip)
        return box
