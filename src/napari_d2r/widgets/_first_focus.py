"""A dock that is opened by key can be used by key at once."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget


class FirstFocus(QObject):
    """Gives the focus to a control whenever its dock is opened or brought to the front.

    Tab alone does not get there: napari's slice numbers send the focus back to the canvas.
    """

    def __init__(self, widget: QWidget, control: QWidget) -> None:
        super().__init__(widget)
        self._control = control
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look out for what shows the widget, other than the window system."""
        if event.type() == QEvent.Type.Show and not event.spontaneous():
            QTimer.singleShot(0, self._control.setFocus)
        return False
