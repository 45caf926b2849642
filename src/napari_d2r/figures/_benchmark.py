"""Figures of a benchmark: every method in each plane, with a zoom, and all FSC curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from napari_d2r.figures._curves import draw_curve, finish_fsc_axes, last_frequency
from napari_d2r.figures._style import DPI, INK, LINEAR, MEASURED, SMALL, TEXT, WIDTH
from napari_d2r.io import open_volume
from napari_d2r.metrics import FSCCurve
from napari_d2r.stages.benchmark import RESULT, TRUTH, BenchmarkReport, BenchmarkRow
from napari_d2r.volumes import Volume

_CROP, _ZOOM = 128, 40  # pixels per edge
_MOST_COLUMNS = 6
_Image = NDArray[Any]


def draw_benchmark(report: BenchmarkReport) -> tuple[Path, ...]:
    """Draw ``XY.png``, ``XZ.png``, ``YZ.png`` and ``fsc.png`` into the folder of each case.

    Sections cross in the middle of the volume, XY in the middle of a gap. One grey scale
    serves all methods, that of the truth; below each is the square that is marked in it.

    Returns
    -------
    tuple of Path
        What was drawn; nothing for a case of which no row is done.
    """
    truth = open_volume(report.folder / TRUTH)
    drawn: list[Path] = []
    for case in report.cases:
        done = [row for row in report.of_case(case) if row.outcome == "done"]
        if not done:
            continue
        how = next(c for c in report.suite.cases if c.name == case)
        results = {row.method: open_volume(row.folder / RESULT) for row in done}
        ahead = how.degradation.value.first(how.factor)  # slices of the truth before a result
        end = ahead + min(volume.shape[0] for volume in results.values())
        end = min(end, truth.shape[0])
        sections = {"truth": _sections(truth, how.factor, ahead, end)}
        for name, volume in results.items():
            sections[name] = _sections(volume, how.factor, 0, end - ahead)
        for plane in ("XY", "XZ", "YZ"):
            images = {name: found[plane] for name, found in sections.items()}
            drawn.append(report.folder / case / f"{plane}.png")
            _draw_plane(plane, images, 0 if plane == "XY" else how.factor, drawn[-1])
        drawn.append(report.folder / case / "fsc.png")
        _draw_curves(done, drawn[-1])
    return tuple(drawn)


def _sections(volume: Volume, factor: int, start: int, stop: int) -> dict[str, _Image]:
    """Central sections of slices ``start`` to ``stop``, of which every ``factor``-th is measured.

    Those along z begin at a measured slice.
    """
    _, height, width = volume.shape
    y, x = (_centred(0, length) for length in (height, width))
    gap = start + (stop - 1 - start) // 2 // factor * factor
    between = gap + factor // 2
    z = _centred(start, stop - start)
    z = slice(start + (z.start - start) // factor * factor, z.stop)
    return {
        "XY": volume.read(slice(between, between + 1), y, x)[0],
        "XZ": volume.read(z, slice(height // 2, height // 2 + 1), x)[:, 0],
        "YZ": volume.read(z, y, slice(width // 2, width // 2 + 1))[..., 0],
    }


def _centred(start: int, length: int) -> slice:
    size = min(length, _CROP)
    first = start + (length - size) // 2
    return slice(first, first + size)


def _draw_plane(plane: str, images: Mapping[str, _Image], factor: int, path: Path) -> None:
    columns = min(_MOST_COLUMNS, len(images))
    lines = math.ceil(len(images) / columns)
    size = (WIDTH, (3.6 * lines) * WIDTH / _MOST_COLUMNS / 1.62)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    grid = figure.subplots(2 * lines, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    low, high = np.percentile(images["truth"], [0.5, 99.5])
    for index, (name, image) in enumerate(images.items()):
        line, column = divmod(index, columns)
        whole, zoom = grid[2 * line, column], grid[2 * line + 1, column]
        edge = min(_ZOOM, *image.shape)
        top, left = ((length - edge) // 2 for length in image.shape)
        _show(whole, image, low, high)
        _show(zoom, image[top : top + edge, left : left + edge], low, high)
        box = Rectangle((left, top), edge, edge, fill=False, edgecolor=MEASURED, linewidth=0.8)
        whole.add_patch(box)
        whole.set_title(name, fontsize=SMALL, color=INK)
    said = f"{plane} through the middle of the volume; below, the marked square"
    said += f"; every {factor}th row was measured" if factor else ", in the middle of a gap"
    figure.supxlabel(said, fontsize=TEXT, color=INK)
    figure.savefig(path)


def _show(axes: Axes, image: _Image, low: float, high: float) -> None:
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1), interpolation="nearest")


def _draw_curves(rows: list[BenchmarkRow], path: Path) -> None:
    height = 3.6 + 0.09 * len(rows)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", layout="constrained")
    colours = mpl.colormaps["turbo"](np.linspace(0.05, 0.95, len(rows)))
    for axes, key, title in zip(
        figure.subplots(1, 2),
        ("plain", "cone_z"),
        ("all directions", "within 30° of Z"),
        strict=True,
    ):
        for row, colour in zip(rows, colours, strict=True):
            is_linear = row.method == "linear"
            shade = LINEAR if is_linear else mpl.colors.to_hex(colour)
            curve = _curve_of(row.scores["fsc"][key])
            draw_curve(axes, curve, shade, row.method, dashed=is_linear)
        finish_fsc_axes(axes, last_frequency(curve), title)
    figure.savefig(path)


def _curve_of(fields: Mapping[str, Any]) -> FSCCurve:
    names = ("frequency_per_nm", "correlation", "num_voxels")
    return FSCCurve(*(np.asarray(fields[name]) for name in names))
