"""Controls as every widget makes them: with a name to find, one to be read aloud, and a tip."""

from __future__ import annotations

from typing import TypeVar

from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QApplication,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

_W = TypeVar("_W", bound=QWidget)
_NARROWEST = 300  # pixels; napari's default for a dock would cut the labels of the forms


def named(widget: _W, object_name: str, label: str, tip: str = "") -> _W:
    """The widget, with its object name, its accessible name and its tooltip."""
    widget.setObjectName(object_name)
    widget.setAccessibleName(label)
    widget.setToolTip(tip)
    return widget


def note(object_name: str, label: str) -> QLabel:
    """A label for a sentence, which wraps at any width."""
    text = named(QLabel(), object_name, label)
    text.setWordWrap(True)
    text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return text


def rich(text: str) -> str:
    """A tooltip that Qt wraps, which it does not do with plain text."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return f"<qt>{plain}</qt>" if plain else ""


def push_button(object_name: str, text: str, tip: str, label: str = "") -> QPushButton:
    """A button that Enter elsewhere does not press; ``label`` where its text says too little."""
    made = named(QPushButton(text), object_name, label or text, tip)
    made.setAutoDefault(False)
    return made


def add_copy_menu(copy: QPushButton) -> tuple[QAction, QAction]:
    """Let a button offer to copy a form; the actions for a command line and for Python."""
    command, python = QAction("Copy as command line", copy), QAction("Copy as Python", copy)
    menu = QMenu(copy)
    menu.addActions([command, python])
    copy.setMenu(menu)
    return command, python


def in_a_row(*widgets: QWidget) -> QWidget:
    """Widgets side by side; the first takes the focus for all."""
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    holder.setFocusProxy(widgets[0])
    return holder


def show_row(rows: QFormLayout, field: QWidget, is_shown: bool) -> None:
    """Show or hide a field of a form together with its label."""
    field.setVisible(is_shown)
    if (label := rows.labelForField(field)) is not None:
        label.setVisible(is_shown)


def put_in_clipboard(text: str) -> None:
    """Replace what is in the clipboard."""
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    clipboard.setText(text)


def fill_scrolling(owner: QWidget, *parts: QWidget) -> QScrollArea:
    """Fill a widget with parts below each other, which scroll where they do not fit."""
    content = QWidget()
    column = QVBoxLayout(content)
    column.setContentsMargins(4, 4, 4, 4)
    for part in parts:
        column.addWidget(part)
    column.addStretch()
    area = QScrollArea()
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # it scrolls to what has the focus by itself
    area.setWidgetResizable(True)
    area.setMinimumWidth(_NARROWEST)
    area.setWidget(content)
    outer = QVBoxLayout(owner)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(area)
    return area
