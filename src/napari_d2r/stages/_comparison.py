"""What comparing two volumes needs, whatever is measured: one grid, one box, one format."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.jobs import CancelToken, Event, Progress
from napari_d2r.metrics import FSCCurve, ResolutionCurves, Steps, Threshold
from napari_d2r.volumes import Volume, centred_box, require_finite

# Half, as the papers on this task report it, and 0.143 (Rosenthal and Henderson 2003).
THRESHOLDS = (0.5, 0.143)
# And above which there is half a bit per voxel of the spectrum (van Heel and Schatz 2005).
ALL_THRESHOLDS: tuple[Threshold, ...] = (*THRESHOLDS, "half-bit")
# Larger volumes are measured in a central cube: 1 GB per transform in complex64.
MAX_VOXELS = 2**28
_CUBE_EDGE = 640

_PROGRESS_EVERY_S = 0.1
_Result = TypeVar("_Result")
Box = tuple[slice, slice, slice]


class Stopped(Exception):
    """Raised between two steps of a measurement when its cancel token is set."""


def require_same_voxel_size(a: Volume, b: Volume) -> None:
    """Refuse volumes whose voxels differ by more than half a per cent along any axis."""
    if not all(
        math.isclose(p, q, rel_tol=5e-3) for p, q in zip(a.voxel_size, b.voxel_size, strict=True)
    ):
        raise InputError(
            f"Voxel sizes differ: {a.name} has {a.voxel_size}, {b.name} has {b.voxel_size}; "
            "only volumes on one grid can be compared (--voxel-size corrects a wrong one)."
        )


def comparison_box(shape: tuple[int, int, int], z_step: int = 1) -> Box:
    """All of ``shape``, or its central cube when that holds more than 2**28 voxels.

    Along Z a cube starts and ends on multiples of ``z_step``, so that its first and last
    slice are measured ones.
    """
    if math.prod(shape) <= MAX_VOXELS:
        return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])
    z, y, x = centred_box(shape, (_CUBE_EDGE,) * 3)
    if z.stop - z.start < shape[0]:
        start = z.start // z_step * z_step
        z = slice(start, start + (_CUBE_EDGE - 1) // z_step * z_step + 1)
    return z, y, x


def load_box(volume: Volume, box: Box) -> NDArray[Any]:
    """Read a box as stored.

    Raises
    ------
    InputError
        When it holds NaN or infinite voxels, or one value only.
    """
    values = volume.read(*box)
    require_content(values, volume.name)
    return values


def require_content(values: NDArray[Any], name: str) -> None:
    """Refuse voxels that are NaN, infinite or all the same."""
    require_finite(values, name)
    if values.min() == values.max():
        raise InputError(
            f"{name} is constant (every voxel is {values.flat[0]:g}) where it is compared; "
            "check that it was written completely."
        )


def told(
    steps: Steps[_Result], first: float, total: float, cancel: CancelToken | None
) -> Generator[Event, None, _Result]:
    """Steps as progress from ``first`` to ``first + 1`` of ``total``; returns their result.

    Raises
    ------
    Stopped
        Between two steps, when ``cancel`` is set.
    """
    last = -math.inf
    while True:
        if cancel:
            raise Stopped
        try:
            done = next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result
        if time.monotonic() - last >= _PROGRESS_EVERY_S:
            last = time.monotonic()
            yield Progress(first + done, total, "steps")


def curves_object(curves: ResolutionCurves) -> dict[str, object]:
    """The four curves as JSON objects, by name."""
    return {
        name: curve_object(getattr(curves, name)) for name in ("plain", "hann", "cone_z", "cone_xy")
    }


def curve_object(curve: FSCCurve) -> dict[str, object]:
    return {
        "resolution_nm": {str(level): curve.resolution_at(level) for level in ALL_THRESHOLDS},
        "frequency_per_nm": np.round(curve.frequency_per_nm, 8).tolist(),
        "correlation": np.round(curve.correlation, 6).tolist(),
        "num_voxels": curve.num_voxels.tolist(),
    }


def json_text(fields: dict[str, object]) -> str:
    """Indented JSON that any reader accepts: no NaN, no Infinity."""
    return json.dumps(fields, indent=2, allow_nan=False) + "\n"


def aligned_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns also line up on a terminal."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        first = cells[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *rest]) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), line(rule), *map(line, rows)])
