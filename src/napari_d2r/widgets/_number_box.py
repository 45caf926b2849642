"""Spin boxes that keep every digit, and that a passing mouse wheel does not change."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QValidator, QWheelEvent
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QSpinBox

_DIGITS = 12
_LEAST_WIDTH = 76


class IntegerBox(QSpinBox):
    """A whole number; the wheel counts only where the box has the focus."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumWidth(_LEAST_WIDTH)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setKeyboardTracking(False)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to the scroll area unless this box was clicked."""
        _if_focused(self, event, super().wheelEvent)


class NumberBox(QDoubleSpinBox):
    """A number of any size, written as short as it can be: 0.00004, 2e-09."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(_DIGITS)
        self.setMinimumWidth(_LEAST_WIDTH)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setKeyboardTracking(False)

    def textFromValue(self, value: float) -> str:
        """As short as the value allows."""
        return f"{value:.10g}"

    def valueFromText(self, text: str) -> float:
        """The number in the box."""
        return float(self._bare(text))

    def validate(self, text: str | None, position: int) -> tuple[QValidator.State, str, int]:
        """Accept what Python reads as a number within the range."""
        shown = text or ""
        try:
            value = float(self._bare(shown))
        except ValueError:
            half = all(letter in "+-.e0123456789" for letter in self._bare(shown).lower())
            state = QValidator.State.Intermediate if half else QValidator.State.Invalid
            return state, shown, position
        fits = self.minimum() <= value <= self.maximum()
        state = QValidator.State.Acceptable if fits else QValidator.State.Intermediate
        return state, shown, position

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to the scroll area unless this box was clicked."""
        _if_focused(self, event, super().wheelEvent)

    def _bare(self, text: str) -> str:
        if self.specialValueText() and text == self.specialValueText():
            return str(self.minimum())
        return text.removeprefix(self.prefix()).removesuffix(self.suffix()).strip()


class ChoiceBox(QComboBox):
    """A drop-down that a passing mouse wheel does not change."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to the scroll area unless this box was clicked."""
        _if_focused(self, event, super().wheelEvent)


def _if_focused(box, event, turn) -> None:  # type: ignore[no-untyped-def]
    if box.hasFocus():
        turn(event)
    else:
        event.ignore()
