"""What napari's themes leave out: a focus that is seen, and all text at 4.5:1 or more."""

from __future__ import annotations

from typing import Any

from napari.utils.theme import get_theme
from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QWidget
from superqt import QCollapsible

from napari_d2r.widgets._alive import while_alive

# Borders are always there, so that nothing moves when the focus comes; paddings are napari's
# less the border. In napari placeholders are half transparent, and selected tabs, handles and
# empty boxes hardly differ from what is around them.
_SHEET = """
QPushButton, QComboBox, QLineEdit, QAbstractSpinBox, QCheckBox, QSlider, QTabBar::tab {{
    border: 2px solid transparent;
}}
QPushButton {{ padding: 2px; }}
QComboBox {{ padding: 1px 8px 1px 6px; }}
QLineEdit {{ padding: 0px; placeholder-text-color: {text}; }}
QAbstractSpinBox {{ padding: 0px 8px; min-height: 16px; }}
QTabBar::tab:selected {{ background: {primary}; border-bottom-color: {text}; }}
QSlider::handle:horizontal {{ background-color: {text}; }}
QCheckBox::indicator {{ width: 14px; height: 14px; border: 1px solid {text}; }}
QPushButton:focus, QComboBox:focus, QLineEdit:focus, QAbstractSpinBox:focus, QCheckBox:focus,
QSlider:focus, QGroupBox:focus, QTabBar::tab:selected:focus {{ border-color: {text}; }}
"""


class Look(QObject):
    """Keeps a widget, and all that is in it, in the colours of napari's theme."""

    def __init__(self, widget: QWidget, viewer: Any) -> None:
        super().__init__(widget)
        self._widget, self._viewer = widget, viewer
        for folded in widget.findChildren(QCollapsible):
            folded.toggleButton().setStyleSheet("text-align: left;")  # superqt allows no border
        viewer.events.theme.connect(self._dress)
        self._dress()

    @while_alive
    def _dress(self, event: Any = None) -> None:
        theme = get_theme(self._viewer.theme)
        text, primary = theme.text.as_hex(), theme.primary.as_hex()
        self._widget.setStyleSheet(_SHEET.format(text=text, primary=primary))
        for folded in self._widget.findChildren(QCollapsible):
            folded.setCollapsedIcon(_icon("▶", text))
            folded.setExpandedIcon(_icon("▼", text))


def _icon(symbol: str, colour: str) -> QIcon:
    """A letter as an icon; superqt's own are black in every theme."""
    picture = QPixmap(32, 32)  # twice its size on screen
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setPen(QColor(colour))
    font = painter.font()
    font.setPixelSize(24)
    painter.setFont(font)
    painter.drawText(picture.rect(), int(Qt.AlignmentFlag.AlignCenter), symbol)
    painter.end()
    return QIcon(picture)
