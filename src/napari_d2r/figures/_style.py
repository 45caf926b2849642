"""What all pictures share: formats, sizes and colours."""

from __future__ import annotations

from pathlib import Path

from napari_d2r.errors import InputError

FORMATS = (".png", ".pdf", ".svg")
DPI = 300
WIDTH = 10.0  # inches: a slide's width at full quality, two columns of a page at 70 %
# Colours that survive colour blindness and a grey print (Okabe and Ito).
LINEAR, RESULT, MEASURED = "#8a8a8a", "#0072b2", "#d55e00"
THIRD, FOURTH = "#009e73", "#cc79a7"
INK = "#333333"
SMALL, TEXT = 7.5, 9.0


def require_format(path: Path) -> None:
    """Refuse an ending that cannot be drawn."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"A figure ends in {', '.join(FORMATS)}; {path.name} does not.")
