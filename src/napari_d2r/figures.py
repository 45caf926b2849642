"""Pictures of reports, for a talk or a paper: matplotlib without a window or global state."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.metrics import CONE_HALF_ANGLE, FSCCurve
from napari_d2r.stages.evaluate import THRESHOLDS, EvaluationReport, VolumeScores
from napari_d2r.stages.fsc import FSCReport
from napari_d2r.stages.gain import GainReport
from napari_d2r.volumes import AxialGrid, Volume, interpolate_axial

_FORMATS = (".png", ".pdf", ".svg")
_DPI = 300
_WIDTH = 10.0  # inches: a slide's width at full quality, two columns of a page at 70 %
_CROP = 144  # pixels per edge: membranes stay visible at the printed size
# Colours that survive colour blindness and a grey print (Okabe and Ito).
_LINEAR, _RESULT, _MEASURED = "#8a8a8a", "#0072b2", "#d55e00"
_THIRD, _FOURTH = "#009e73", "#cc79a7"
_INK = "#333333"
_SMALL, _TEXT = 7.5, 9.0


def draw_evaluation(
    report: EvaluationReport, result: Volume, reference: Volume, path: Path
) -> None:
    """Draw crops of linear, result and reference, and their FSC.

    XY is an inserted slice in the middle of the middle gap, the worst place there is; XZ
    and YZ cross it. One grey scale serves all nine crops.

    Parameters
    ----------
    report
        What `napari_d2r.stages.evaluate.evaluate` made of these volumes.
    result, reference
        The volumes; only the crops are read.
    path
        Ends in .png, .pdf or .svg.

    Raises
    ------
    InputError
        For any other ending.
    """
    _require_format(path)
    crops = _read_crops(report, result, reference)
    figure = Figure(figsize=(_WIDTH, 6.6), dpi=_DPI, facecolor="white", layout="constrained")
    columns = figure.add_gridspec(1, 2, width_ratios=(1.62, 1))
    left, right = figure.add_subfigure(columns[0]), figure.add_subfigure(columns[1])
    _draw_crops(left, crops, report)
    whole, along_z = right.subplots(2, 1)
    for label, scores, colour in (
        ("linear", report.linear, _LINEAR),
        ("result", report.result, _RESULT),
    ):
        _draw_curve(whole, scores.curves.plain, colour, label)
        _draw_curve(whole, scores.curves.hann, colour, f"{label}, Hann", dashed=True)
        _draw_curve(along_z, scores.curves.cone_z, colour, label)
    nyquist = 0.5 / max(report.voxel_size)
    _finish_fsc_axes(whole, nyquist, "all directions")
    _finish_fsc_axes(along_z, nyquist, "within 30° of Z")
    figure.supxlabel(_caption(report), fontsize=_TEXT, color=_INK)
    figure.savefig(path)


def draw_fsc(report: FSCReport, path: Path) -> None:
    """Draw an FSC report: all directions on the left, along Z and in XY on the right.

    Linear interpolation of the source, where there is one, is dashed; the half-bit
    threshold is a thin line in the colour of its curve.

    Raises
    ------
    InputError
        Unless ``path`` ends in .png, .pdf or .svg.
    """
    _require_format(path)
    figure = Figure(figsize=(_WIDTH, 4.2), dpi=_DPI, facecolor="white", layout="constrained")
    whole, directed = figure.subplots(1, 2)
    own, linear = report.curves, report.linear
    _draw_curve(whole, own.plain, _INK, "no window", half_bit=True)
    _draw_curve(whole, own.hann, _RESULT, "Hann window")
    _draw_curve(directed, own.cone_z, _FOURTH, "along Z", half_bit=True)
    _draw_curve(directed, own.cone_xy, _THIRD, "in XY", half_bit=True)
    if linear is not None:
        _draw_curve(whole, linear.plain, _INK, "linear", dashed=True)
        _draw_curve(whole, linear.hann, _RESULT, "linear, Hann", dashed=True)
        _draw_curve(directed, linear.cone_z, _FOURTH, "linear, along Z", dashed=True)
        _draw_curve(directed, linear.cone_xy, _THIRD, "linear, in XY", dashed=True)
    _finish_fsc_axes(whole, _last(own.plain), "all directions")
    last = max(_last(own.cone_z), _last(own.cone_xy))
    _finish_fsc_axes(directed, last, f"within {CONE_HALF_ANGLE:g}° of Z, of XY")
    names = f"{report.first} and {report.second}"
    source = f"; dashed: linear interpolation of {report.source}" if report.source else ""
    figure.supxlabel(f"{names}{source}\n{report.compared}", fontsize=_TEXT, color=_INK)
    figure.savefig(path)


def draw_gain(report: GainReport, path: Path) -> None:
    """Draw what leaving slices out found: PSNR slice by slice, and the mean FRC.

    Raises
    ------
    InputError
        Unless ``path`` ends in .png, .pdf or .svg.
    """
    _require_format(path)
    figure = Figure(figsize=(_WIDTH, 4.4), dpi=_DPI, facecolor="white", layout="constrained")
    by_slice, rings = figure.subplots(1, 2)
    slices, psnr, linear = zip(*report.gain.psnr_by_slice(), strict=True)
    by_slice.plot(slices, linear, "s--", color=_LINEAR, linewidth=1, markersize=3, label="linear")
    by_slice.plot(
        slices, psnr, "o-", color=_RESULT, linewidth=1.5, markersize=3, label=report.model
    )
    by_slice.set_xlabel("left-out slice", fontsize=_TEXT, color=_INK)
    by_slice.set_ylabel("PSNR (dB)", fontsize=_TEXT, color=_INK)
    by_slice.tick_params(labelsize=_SMALL, color=_INK, labelcolor=_INK)
    by_slice.spines[["top", "right"]].set_visible(False)
    by_slice.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=_SMALL, frameon=False
    )
    _draw_curve(rings, report.frc, _RESULT, report.model)
    _draw_curve(rings, report.frc_linear, _LINEAR, "linear", dashed=True)
    _finish_fsc_axes(rings, _last(report.frc), "left-out slices", "Fourier ring correlation")
    text = textwrap.fill(report.sentence(), 130)
    figure.supxlabel(text, fontsize=_TEXT, color=_INK)
    figure.savefig(path)


def _last(curve: FSCCurve) -> float:
    return float(curve.frequency_per_nm[-1])


def _require_format(path: Path) -> None:
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"A figure ends in {', '.join(_FORMATS)}; {path.name} does not.")


@dataclass(frozen=True, slots=True)
class _Crop:
    """One section through the three volumes, rows by columns, with its scale."""

    title: str
    images: tuple[NDArray[Any], ...]  # linear, result, reference
    pixel_nm: tuple[float, float]  # height, width
    measured_rows: tuple[int, ...]


def _read_crops(report: EvaluationReport, result: Volume, reference: Volume) -> tuple[_Crop, ...]:
    step, voxel = report.factor, report.voxel_size
    edge_nm = _CROP * voxel.lateral
    z, y, x = (
        _centred(start, length, round(edge_nm / size))
        for start, length, size in zip(report.start, report.shape, voxel, strict=True)
    )
    gap = report.start[0] + (report.shape[0] - 1) // step // 2 * step
    inserted = gap + step // 2
    middle_y, middle_x = (y.start + y.stop) // 2, (x.start + x.stop) // 2
    row, column = slice(middle_y, middle_y + 1), slice(middle_x, middle_x + 1)

    # Linear needs whole gaps: from the measured slice before the crop to the one after.
    last = report.start[0] + report.shape[0] - 1
    outer = slice(z.start // step * step, min(-(-(z.stop - 1) // step) * step, last) + 1)
    inner = slice(z.start - outer.start, z.stop - outer.start)

    def linear(stack: NDArray[Any]) -> NDArray[Any]:
        measured = stack[::step]
        return interpolate_axial(measured, AxialGrid(len(measured), step).positions())

    around = reference.read(slice(gap, gap + step + 1), y, x)
    xz, yz = reference.read(outer, row, x)[:, 0], reference.read(outer, y, column)[..., 0]
    rows = tuple(k - z.start for k in range(z.start, z.stop) if k % step == 0)
    return (
        _Crop(
            f"XY  (slice {inserted}, inserted)",
            (
                linear(around)[inserted - gap],
                result.read(slice(inserted, inserted + 1), y, x)[0],
                around[inserted - gap],
            ),
            (voxel.y, voxel.x),
            (),
        ),
        _Crop(
            f"XZ  (y = {middle_y})",
            (linear(xz)[inner], result.read(z, row, x)[:, 0], xz[inner]),
            (voxel.z, voxel.x),
            rows,
        ),
        _Crop(
            f"YZ  (x = {middle_x})",
            (linear(yz)[inner], result.read(z, y, column)[..., 0], yz[inner]),
            (voxel.z, voxel.y),
            rows,
        ),
    )


def _centred(start: int, length: int, most: int) -> slice:
    size = min(length, most)
    first = start + (length - size) // 2
    return slice(first, first + size)


def _draw_crops(figure: SubFigure, crops: tuple[_Crop, ...], report: EvaluationReport) -> None:
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
            axes.tick_params(axis="y", length=3, width=0.9, color=_MEASURED)
            axes.spines[:].set_visible(False)
        cells[0].set_ylabel(crop.title, fontsize=_TEXT, color=_INK)
    for axes, title in zip(grid[0], ("linear interpolation", "result", "reference"), strict=True):
        axes.set_title(title, fontsize=_TEXT, color=_INK)
    _draw_scale_bar(grid[0][0], crops[0])
    figure.supxlabel(
        f"orange ticks: measured slices, one in {report.factor}", fontsize=_SMALL, color=_MEASURED
    )


def _draw_scale_bar(axes: Axes, crop: _Crop) -> None:
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
        0.05 * width + pixels / 2,
        0.935 * height,
        f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm",
        color="white",
        fontsize=_SMALL,
        ha="center",
        va="bottom",
    )


def _draw_curve(
    axes: Axes,
    curve: FSCCurve,
    colour: str,
    label: str,
    *,
    dashed: bool = False,
    half_bit: bool = False,
) -> None:
    """One curve, its crossing of 0.5 as a dot, and that period in nm in the legend."""
    if half_bit:
        axes.plot(curve.frequency_per_nm[1:], curve.half_bit[1:], color=colour, linewidth=0.5)
    axes.plot(
        curve.frequency_per_nm,
        curve.correlation,
        color=colour,
        linewidth=1.0 if dashed else 1.8,
        linestyle=(0, (4, 2)) if dashed else "-",
        label=f"{label}: {curve.resolution_text(0.5)}",
    )
    resolution = curve.resolution_at(0.5)
    if resolution is not None:
        filling = "white" if dashed else colour
        axes.plot(1 / resolution, 0.5, "o", color=colour, markerfacecolor=filling, markersize=4.5)


def _finish_fsc_axes(
    axes: Axes, highest: float, title: str, quantity: str = "Fourier shell correlation"
) -> None:
    """Limits, thresholds, and an axis linear in frequency (1/nm) but labelled in nm."""
    ticks = highest * np.arange(1, 6) / 5
    axes.set_xlim(0, highest)
    axes.set_xticks(ticks, [f"{1 / tick:.3g}" for tick in ticks])
    axes.set_xlabel("period (nm)", fontsize=_TEXT, color=_INK)
    axes.set_ylim(-0.05, 1.03)
    axes.set_yticks([0, 0.143, 0.5, 1], ["0", "0.143", "0.5", "1"])
    axes.set_ylabel(quantity, fontsize=_TEXT, color=_INK)
    for level in THRESHOLDS:
        axes.axhline(level, color=_INK, linewidth=0.7, linestyle=":", zorder=0)
    axes.axhline(0, color=_INK, linewidth=0.4, zorder=0)
    axes.tick_params(labelsize=_SMALL, color=_INK, labelcolor=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    # Above the curves: a good result fills the whole panel.
    legend = axes.legend(
        title=f"{title}: 0.5 crossed at",
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=2,
        fontsize=_SMALL,
        labelcolor=_INK,
        frameon=False,
    )
    legend.get_title().set(fontsize=_TEXT, color=_INK)


def _caption(report: EvaluationReport) -> str:
    def numbers(scores: VolumeScores) -> str:
        psnr = " / ".join(f"{plane.psnr_db:.2f}" for plane in scores.planes)
        ssim = " / ".join(f"{plane.ssim:.3f}" for plane in scores.planes)
        return f"PSNR {psnr} dB, SSIM {ssim}, z shift {scores.axial_shift:+.3f} voxel"

    return (
        f"{report.result.name} against {report.reference}, {report.compared}, "
        f"factor {report.factor}; numbers in XY / XZ / YZ\n"
        f"linear: {numbers(report.linear)}\n"
        f"result: {numbers(report.result)}"
    )
