"""A part of a form that is folded away, also from the Tab key, until it is asked for."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget
from superqt import QCollapsible

from napari_d2r.widgets._alive import while_alive


class Fold(QCollapsible):
    """A page under a title; unfolded it is as high as what the page shows at the time."""

    def __init__(self, object_name: str, title: str, page: QWidget) -> None:
        super().__init__(title)
        self.setObjectName(object_name)
        self.toggleButton().setAccessibleName(title)
        self.setDuration(0)
        self.setContentsMargins(0, 0, 0, 0)
        if (layout := self.layout()) is not None:  # in line with the rows around it
            layout.setContentsMargins(0, 0, 0, 0)
        page.hide()
        self.addWidget(page)
        self.toggled.connect(page.setVisible)

    def eventFilter(self, a0: QObject, a1: QEvent) -> bool:
        """Follow a page in which something appears or goes; superqt follows its size alone."""
        if a1.type() == QEvent.Type.LayoutRequest and self.isExpanded():
            QTimer.singleShot(0, self._fit)
        return super().eventFilter(a0, a1)

    @while_alive
    def _fit(self) -> None:
        if self.isExpanded():
            self.content().setMaximumHeight(self.content().sizeHint().height())
