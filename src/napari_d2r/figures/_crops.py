"""Sections through linear, result and reference, side by side on one grey scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from napari_d2r.figures._style import INK, MEASURED, SMALL, TEXT
from napari_d2r.stages._measured_slices import measured_slices
from napari_d2r.stages.evaluate import EvaluationReport
from napari_d2r.volumes import Volume, interpolate_axial

_CROP = 144  # pixels per edge: membranes stay visible at the printed size


@dataclass(frozen=True, slots=True)
class Crop:
    """One section through the three volumes, rows by columns, with its scale."""

    title: str
    images: tuple[NDArray[Any], ...]  # linear, result, reference
    pixel_nm: tuple[float, float]  # height, width
    measured_rows: tuple[int, ...]


def read_crops(report: EvaluationReport, result: Volume, reference: Volume) -> tuple[Crop, ...]:
    step, voxel, how = report.factor, report.voxel_size, report.degradation
    begin = how.first(step)  # the slice of the reference at which the result begins
    edge_nm = _CROP * voxel.lateral
    z, y, x = (
        _centred(start, length, round(edge_nm / size))
        for start, length, size in zip(
            (report.start[0] - begin, *report.start[1:]), report.shape, voxel, strict=True
        )
    )
    inserted = report.start[0] - begin + (report.shape[0] - 1) // step // 2 * step + step // 2
    middle_y, middle_x = (y.start + y.stop) // 2, (x.start + x.stop) // 2

    def images(*box: slice) -> tuple[NDArray[Any], ...]:
        """One section, (rows, columns): linear, result, reference."""
        whole = box[0], box[1], box[2]
        there = slice(box[0].start + begin, box[0].stop + begin), box[1], box[2]
        linear = interpolate_axial(*measured_slices(reference, how, step, whole))
        return tuple(
            np.squeeze(part) for part in (linear, result.read(*whole), reference.read(*there))
        )

    rows = tuple(
        k - z.start for k in range(z.start, z.stop) if k % step == 0 and begin == how.phase(step)
    )
    at = slice(inserted, inserted + 1)
    row, column = slice(middle_y, middle_y + 1), slice(middle_x, middle_x + 1)
    return (
        Crop(f"XY  (slice {inserted + begin}, inserted)", images(at, y, x), (voxel.y, voxel.x), ()),
        Crop(f"XZ  (y = {middle_y})", images(z, row, x), (voxel.z, voxel.x), rows),
        Crop(f"YZ  (x = {middle_x})", images(z, y, column), (voxel.z, voxel.y), rows),
    )


def _centred(start: int, length: int, most: int) -> slice:
    size = min(length, most)
    first = start + (length - size) // 2
    return slice(first, first + size)


def draw_crops(figure: SubFigure, crops: tuple[Crop, ...], report: EvaluationReport) -> None:
    heights = [crop.images[0].shape[0] * crop.pixel_nm[0] for crop in crops]
    grid = figure.subplots(3, 3, height_ratios=heights)
    truth = np.concatenate([crop.images[2].ravel() for crop in crops]).astype(np.float64)
    low, high = np.percentile(truth, [0.5, 99.5])
    if high <= low:
        low, high = truth.min(), truth.max() + 1
    for crop, cells in zip(crops, grid, strict=True):
        for image, axes in zip(crop.images, cells, strict=True):
            axes.imshow(
                image,
                cmap="gray",
                vmin=low,
                vmax=high,
                aspect=crop.pixel_nm[0] / crop.pixel_nm[1],
                interpolation="nearest",
            )
            axes.set_xticks([])
            axes.set_yticks(crop.measured_rows, [""] * len(crop.measured_rows))
            axes.tick_params(axis="y", length=3, width=0.9, color=MEASURED)
            axes.spines[:].set_visible(False)
        cells[0].set_ylabel(crop.title, fontsize=TEXT, color=INK)
    for axes, title in zip(grid[0], ("linear interpolation", "result", "reference"), strict=True):
        axes.set_title(title, fontsize=TEXT, color=INK)
    draw_scale_bar(grid[0][0], crops[0])
    figure.supxlabel(
        f"orange ticks: measured slices, one in {report.factor}", fontsize=SMALL, color=MEASURED
    )


def draw_scale_bar(axes: Axes, crop: Crop) -> None:
    """A bar of a round length near a quarter of the crop's width, lower left."""
    height, width = crop.images[0].shape
    target = width * crop.pixel_nm[1] / 4
    power = 10.0 ** math.floor(math.log10(target))
    length = max(step * power for step in (1, 2, 5) if step * power <= target)
    pixels = length / crop.pixel_nm[1]
    backing = (0.02 * width, 0.86 * height), pixels + 0.06 * width, 0.12 * height
    axes.add_patch(Rectangle(*backing, facecolor="black", alpha=0.55, linewidth=0))
    bar = (0.05 * width, 0.945 * height), pixels, 0.018 * height
    axes.add_patch(Rectangle(*bar, facecolor="white", linewidth=0))
    axes.text(
        0.05 * width,
        0.935 * height,
        f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm",
        color="white",
        fontsize=SMALL,
        ha="left",
        va="bottom",
    )
