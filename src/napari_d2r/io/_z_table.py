"""Tables that say where each slice of a stack stands along Z."""

from __future__ import annotations

import math
import re
from pathlib import Path

from napari_d2r.errors import InputError
from napari_d2r.io._units import length_in_nm

__all__ = ["read_z_table"]

_MOST_BYTES = 2**24  # of 1e5 slices with long names, a table has less
_HEADER = re.compile(r"z(?:[\W_]+(?:in\s+)?([^\W\d_]+))?\W*")  # such as z, z_nm, z [um]
_SLICE = ("slice", "index", "section")


def read_z_table(path: Path) -> tuple[float, ...]:
    """Where slices stand along Z, in nm, in the order of the slices.

    One row for each slice, of one number; or of columns under a header, of which ``z``, ``z_nm``,
    ``z_um`` or ``z [um]`` is read, and rows are sorted by a column ``slice`` if there is one.
    Commas, semicolons, tabs and blanks separate; what follows a ``#`` is passed over, but for a
    header in the first line, as numpy writes it. Without a unit, numbers are nanometres.

    Raises
    ------
    InputError
        For a file that cannot be read or is no such table.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path.name} is too large for a table of positions along Z.")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not a text file; save the table as CSV.") from error
    rows = text.splitlines()
    if rows and _HEADER.fullmatch(rows[0].lstrip("# \t").lower()):
        rows[0] = rows[0].lstrip("# \t")
    lines = [line for line in (row.split("#")[0].strip() for row in rows) if line]
    if not lines:
        raise InputError(f"{path.name} is empty; it should hold a position along Z per slice.")
    if lines[0][0] in "+-.0123456789":
        return tuple(_only(line, path) for line in lines)
    return _of_columns(lines, path)


def _of_columns(lines: list[str], path: Path) -> tuple[float, ...]:
    is_single = _HEADER.fullmatch(lines[0].lower()) is not None
    between = re.compile(r"[,;\t]" if is_single or re.search(r"[,;\t]", lines[0]) else r"\s+")
    header = [name.strip().lower() for name in between.split(lines[0])]
    found = [(k, match[1]) for k, name in enumerate(header) if (match := _HEADER.fullmatch(name))]
    if len(found) != 1:
        raise InputError(
            f"{path.name} needs one column called z, z_nm or z_um; its header is {lines[0]!r:.80}."
        )
    column, unit = found[0]
    nm = length_in_nm(unit or "nm")
    if nm is None:
        raise InputError(f"{path.name} gives z in {unit!r}, which is no unit of length; use nm.")
    by = next((k for k, name in enumerate(header) if name in _SLICE), None)
    rows = []
    for number, line in enumerate(lines[1:]):
        cells = [cell.strip() for cell in between.split(line)]
        if len(cells) != len(header):
            raise InputError(
                f"Row {number + 1} of {path.name} has {len(cells)} columns, its header "
                f"{len(header)}."
            )
        order = number if by is None else _cell(cells[by], number, path)
        rows.append((order, _cell(cells[column], number, path) * nm))
    if len({order for order, _ in rows}) != len(rows):
        raise InputError(f"{path.name} names a slice twice.")
    return tuple(z for _, z in sorted(rows))


def _only(line: str, path: Path) -> float:
    value = _number(line.strip(",; \t"))
    if value is None:
        raise InputError(
            f"{path.name} should hold one number per line, or columns under a header such as "
            f"'slice,z_nm'; got {line!r:.60}."
        )
    return value


def _cell(text: str, row: int, path: Path) -> float:
    value = _number(text)
    if value is None:
        raise InputError(f"Row {row + 1} of {path.name} holds {text!r:.40}, which is no number.")
    return value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
