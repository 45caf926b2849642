"""Values to colours: grey between two limits, and blue to red for differences; figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QImage, QPainter, QPalette
from qtpy.QtWidgets import QSizePolicy, QWidget

_FIGURE_SCALE = 2  # pixels of a figure per pixel on screen
# Blue, pale grey at zero, red (the ends of ColorBrewer's RdBu); 255 entries have a middle.
_DIVERGING = np.stack(
    [
        np.interp(np.arange(255), (0, 127, 254), ends)
        for ends in ((5, 247, 178), (113, 247, 24), (176, 247, 43))
    ],
    axis=1,
).astype(np.uint8)


def grey_image(values: NDArray[Any], limits: tuple[float, float]) -> QImage:
    """Values (rows, columns) in grey, from black at the lower limit to white at the upper."""
    low, high = limits
    span = (high - low) or 1.0
    with np.errstate(invalid="ignore"):
        unit = np.nan_to_num((values.astype(np.float32) - low) / span)
    grey = np.ascontiguousarray(np.clip(unit * 255 + 0.5, 0, 255).astype(np.uint8))
    rows, columns = grey.shape
    image = QImage(grey.data, columns, rows, columns, QImage.Format.Format_Grayscale8)
    return image.copy()  # the array goes, the image stays


def difference_image(values: NDArray[Any], limit: float) -> QImage:
    """Signed values (rows, columns): blue at ``-limit``, pale grey at 0, red at ``limit``."""
    unit = np.clip(np.nan_to_num(values / (limit or 1.0)), -1, 1)
    colours = np.ascontiguousarray(_DIVERGING[np.rint(unit * 127).astype(int) + 127])
    rows, columns = values.shape
    image = QImage(colours.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
    return image.copy()


class ColourBar(QWidget):
    """The colours of a difference, with what they stand for."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("difference_colours")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._image = difference_image(np.linspace(-1, 1, 255)[None], 1.0)
        self.set_limit(1.0)

    def set_limit(self, limit: float) -> None:
        """Label the ends."""
        self._limit = limit
        self.setAccessibleName(
            f"Colours: blue where A is darker than B, by {limit:.6g} or more; pale grey where they "
            "are equal; red where A is brighter"
        )
        self.setToolTip(self.accessibleName() + ".")
        self.update()

    def sizeHint(self) -> QSize:
        """A strip and a line of text."""
        return QSize(120, self.fontMetrics().height() + 14)

    def paintEvent(self, event: Any) -> None:
        """The strip, and its numbers below it."""
        painter = QPainter(self)
        painter.drawImage(QRectF(0, 0, self.width(), 10), self._image)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        below = QRectF(0, 11, self.width(), self.height() - 11)
        for text, side in (
            (f"\u2212{self._limit:.6g} A darker", Qt.AlignmentFlag.AlignLeft),
            ("0", Qt.AlignmentFlag.AlignHCenter),
            (f"A brighter {self._limit:.6g}", Qt.AlignmentFlag.AlignRight),
        ):
            painter.drawText(below, int(side), text)


def rendered(widget: QWidget) -> QImage:
    """What a widget shows, at twice its size on screen and without the frame of the focus."""
    focused = widget.window().focusWidget()
    if focused is not None:
        focused.clearFocus()
    image = QImage(widget.size() * _FIGURE_SCALE, QImage.Format.Format_RGB32)
    image.setDevicePixelRatio(_FIGURE_SCALE)
    image.fill(widget.palette().color(QPalette.ColorRole.Window))
    painter = QPainter(image)
    widget.render(painter)
    painter.end()
    if focused is not None:
        focused.setFocus()
    return image
