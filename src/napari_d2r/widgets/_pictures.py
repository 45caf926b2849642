"""A few small grey pictures side by side, as wide as the dock allows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QResizeEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

_GAP, _MOST_HEIGHT = 4, 180


class PicturesView(QWidget):
    """Pictures of one size and their names, all in the same grey range."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("preview")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._images: dict[str, QImage] = {}
        self.setVisible(False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pictures shown, from left to right."""
        return tuple(self._images)

    def show_pictures(self, pictures: Mapping[str, NDArray[np.float32]]) -> None:
        """Show these, each (Y, X) in the unit range."""
        self._images = {name: _image(values) for name, values in pictures.items()}
        self.setAccessibleName("Preview: " + ", ".join(self._images))
        self.setToolTip(
            "The same held-out place by linear interpolation, by the network as it is now, and "
            "as it should be."
        )
        self.setVisible(bool(pictures))
        self._fit()
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """As high as square pictures of this width need."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        square = self._column_width()
        self.setFixedHeight(min(square, _MOST_HEIGHT) + self.fontMetrics().height() + 2)

    def _column_width(self) -> int:
        count = max(1, len(self._images))
        return int((self.width() - _GAP * (count - 1)) // count)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Each picture as large as its column allows, its name above it."""
        if not self._images:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
        painter.setPen(self.palette().color(self.foregroundRole()))
        line, width = painter.fontMetrics().height(), self._column_width()
        for column, (name, image) in enumerate(self._images.items()):
            left = column * (width + _GAP)
            painter.drawText(QRect(left, 0, width, line), Qt.AlignmentFlag.AlignLeft, name)
            room = QSize(width, self.height() - line - 2)
            size = image.size().scaled(room, Qt.AspectRatioMode.KeepAspectRatio)
            painter.drawImage(QRect(left, line + 2, size.width(), size.height()), image)
        painter.end()


def _image(values: NDArray[np.float32]) -> QImage:
    grey = np.ascontiguousarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)
    height, width = grey.shape
    shown = QImage(grey.tobytes(), width, height, width, QImage.Format.Format_Grayscale8)
    return shown.copy()  # QImage does not own the bytes
