"""Figures of the reports of evaluate, fsc and gain."""

from __future__ import annotations

import textwrap
from pathlib import Path

from matplotlib.figure import Figure

from napari_d2r.figures._crops import draw_crops, read_crops
from napari_d2r.figures._curves import draw_curve, finish_fsc_axes, last_frequency
from napari_d2r.figures._slices import draw_slices
from napari_d2r.figures._style import (
    DPI,
    FOURTH,
    INK,
    LINEAR,
    RESULT,
    SMALL,
    TEXT,
    THIRD,
    WIDTH,
    require_format,
)
from napari_d2r.metrics import CONE_HALF_ANGLE
from napari_d2r.stages.evaluate import EvaluationReport, VolumeScores
from napari_d2r.stages.fsc import FSCReport
from napari_d2r.stages.gain import GainReport
from napari_d2r.volumes import Volume


def draw_evaluation(
    report: EvaluationReport, result: Volume, reference: Volume, path: Path
) -> None:
    """Draw crops of linear, result and reference, and their FSC.

    XY is an inserted slice in the middle of the middle gap, the worst place there is; XZ
    and YZ cross it. One grey scale serves all nine crops. With controls, PSNR and detail of
    every slice stand below.

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
    require_format(path)
    crops = read_crops(report, result, reference)
    heights = [6.6] if report.controls is None else [6.6, 2.6]
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DPI, facecolor="white", layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, width_ratios=(1.62, 1), height_ratios=heights)
    left, right = figure.add_subfigure(grid[0, 0]), figure.add_subfigure(grid[0, 1])
    if report.controls is not None:
        draw_slices(figure.add_subfigure(grid[1, :]), report.controls, report.start[0])
    draw_crops(left, crops, report)
    whole, along_z = right.subplots(2, 1)
    for label, scores, colour in (
        ("linear", report.linear, LINEAR),
        ("result", report.result, RESULT),
    ):
        draw_curve(whole, scores.curves.plain, colour, label)
        draw_curve(whole, scores.curves.hann, colour, f"{label}, Hann", dashed=True)
        draw_curve(along_z, scores.curves.cone_z, colour, label)
    nyquist = 0.5 / max(report.voxel_size)
    finish_fsc_axes(whole, nyquist, "all directions")
    finish_fsc_axes(along_z, nyquist, "within 30° of Z")
    figure.supxlabel(_caption(report), fontsize=TEXT, color=INK)
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
    require_format(path)
    figure = Figure(figsize=(WIDTH, 4.2), dpi=DPI, facecolor="white", layout="constrained")
    whole, directed = figure.subplots(1, 2)
    own, linear = report.curves, report.linear
    draw_curve(whole, own.plain, INK, "no window", half_bit=True)
    draw_curve(whole, own.hann, RESULT, "Hann window")
    draw_curve(directed, own.cone_z, FOURTH, "along Z", half_bit=True)
    draw_curve(directed, own.cone_xy, THIRD, "in XY", half_bit=True)
    if linear is not None:
        draw_curve(whole, linear.plain, INK, "linear", dashed=True)
        draw_curve(whole, linear.hann, RESULT, "linear, Hann", dashed=True)
        draw_curve(directed, linear.cone_z, FOURTH, "linear, along Z", dashed=True)
        draw_curve(directed, linear.cone_xy, THIRD, "linear, in XY", dashed=True)
    finish_fsc_axes(whole, last_frequency(own.plain), "all directions")
    last = max(last_frequency(own.cone_z), last_frequency(own.cone_xy))
    finish_fsc_axes(directed, last, f"within {CONE_HALF_ANGLE:g}° of Z, of XY")
    names = f"{report.first} and {report.second or 'itself'}"
    source = f"; dashed: linear interpolation of {report.source}" if report.source else ""
    figure.supxlabel(f"{names}{source}\n{report.compared}", fontsize=TEXT, color=INK)
    figure.savefig(path)


def draw_gain(report: GainReport, path: Path) -> None:
    """Draw what leaving slices out found: PSNR slice by slice, and the mean FRC.

    Raises
    ------
    InputError
        Unless ``path`` ends in .png, .pdf or .svg.
    """
    require_format(path)
    figure = Figure(figsize=(WIDTH, 4.4), dpi=DPI, facecolor="white", layout="constrained")
    by_slice, rings = figure.subplots(1, 2)
    slices, psnr, linear = zip(*report.gain.psnr_by_slice(), strict=True)
    by_slice.plot(slices, linear, "s--", color=LINEAR, linewidth=1, markersize=3, label="linear")
    by_slice.plot(slices, psnr, "o-", color=RESULT, linewidth=1.5, markersize=3, label=report.model)
    by_slice.set_xlabel("left-out slice", fontsize=TEXT, color=INK)
    by_slice.set_ylabel("PSNR (dB)", fontsize=TEXT, color=INK)
    by_slice.tick_params(labelsize=SMALL, color=INK, labelcolor=INK)
    by_slice.spines[["top", "right"]].set_visible(False)
    by_slice.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=SMALL, frameon=False
    )
    draw_curve(rings, report.frc, RESULT, report.model)
    draw_curve(rings, report.frc_linear, LINEAR, "linear", dashed=True)
    finish_fsc_axes(
        rings, last_frequency(report.frc), "left-out slices", "Fourier ring correlation"
    )
    text = textwrap.fill(report.sentence(), 130)
    figure.supxlabel(text, fontsize=TEXT, color=INK)
    figure.savefig(path)


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
