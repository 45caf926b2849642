"""An audit on one page: what was found, where, and how it was made."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from napari_d2r.figures._crops import draw_crops, read_crops
from napari_d2r.figures._curves import draw_curve, finish_fsc_axes, last_frequency
from napari_d2r.figures._style import (
    DPI,
    FOURTH,
    INK,
    LINEAR,
    MEASURED,
    RESULT,
    SMALL,
    TEXT,
    require_format,
)
from napari_d2r.metrics import PATCH, STRIDE, DepthScores, Interval
from napari_d2r.stages.audit import AuditReport

_PAGE = (8.27, 11.69)  # inches: A4
_TINY, _HEADLINE, _TITLE = 6.5, 10.5, 15.0
_GREY = "#777777"
_HEAT = LinearSegmentedColormap.from_list("listed", ["#f3f3f3", MEASURED])
_ROWS = {"linear": LINEAR, "result": RESULT}


def draw_audit(report: AuditReport, path: Path) -> None:
    """Draw the page: headline, crops, tables, curves, the map of patches, provenance.

    Raises
    ------
    InputError
        Unless ``path`` ends in .png, .pdf or .svg.
    """
    require_format(path)
    margins = ConstrainedLayoutEngine(rect=(0.045, 0.03, 0.91, 0.945))
    figure = Figure(figsize=_PAGE, dpi=DPI, facecolor="white", layout=margins)
    rows = figure.add_gridspec(5, 1, height_ratios=(1.75, 4.7, 1.3, 2.55, 0.85))
    head, middle, table, curves, foot = (figure.add_subfigure(rows[k]) for k in range(5))
    _write_head(head, report)
    columns = middle.add_gridspec(1, 2, width_ratios=(2.05, 1))
    crops = read_crops(report.evaluation, report.result, report.reference)
    draw_crops(middle.add_subfigure(columns[0]), crops, report.evaluation)
    _draw_side(middle.add_subfigure(columns[1]), report)
    _write_table(table, report)
    by_depth, spectra, along_z = curves.subplots(1, 3)
    _draw_depths(by_depth, report)
    _draw_spectra(spectra, report)
    _draw_fsc(along_z, report)
    _write_foot(foot, report)
    figure.savefig(path)


def _write_head(figure: SubFigure, report: AuditReport) -> None:
    figure.text(
        0.0, 0.95, f"Audit of {report.stack}", fontsize=_TITLE, weight="bold", color=INK, va="top"
    )
    figure.text(
        0.0,
        0.74,
        f"{report.judged}, every {report.drop}th slice kept; model “{report.provenance.model}”",
        fontsize=SMALL,
        color=_GREY,
        va="top",
    )
    headline = textwrap.fill(report.headline(), 90)
    figure.text(0.0, 0.58, headline, fontsize=_HEADLINE, weight="bold", color=RESULT, va="top")
    findings = textwrap.fill(" ".join(report.findings()), 136)
    below = 0.58 - 0.14 * (headline.count("\n") + 1)
    figure.text(0.0, below, findings, fontsize=SMALL + 0.5, color=INK, va="top", linespacing=1.35)


def _draw_side(figure: SubFigure, report: AuditReport) -> None:
    trials, *maps = figure.subplots(3, 1, height_ratios=(1, 1, 1))
    _draw_trials(trials, report)
    _draw_maps(maps, report)


def _draw_trials(axes: Axes, report: AuditReport) -> None:
    places = -np.arange(len(report.all_trials))
    for place, trial in zip(places, report.all_trials, strict=True):
        gain = trial.gain
        colour = RESULT if gain.low > 0 else MEASURED if gain.high < 0 else _GREY
        axes.plot([gain.low, gain.high], [place, place], color=colour, linewidth=2.5)
        axes.plot(gain.value, place, "o", color=colour, markersize=4.5)
        label = f"{trial.name}  {gain.value:+.2f}"
        axes.text(gain.value, place + 0.22, label, fontsize=_TINY + 0.5, color=INK, ha="center")
    axes.axvline(0, color=LINEAR, linewidth=1)
    axes.set_ylim(places[-1] - 0.5, 0.8)
    axes.margins(x=0.35)
    axes.set_yticks([])
    axes.set_xlabel("dB above linear, 95 % interval", fontsize=SMALL, color=INK)
    axes.set_title("as it is, and out of the model’s domain", fontsize=TEXT, color=INK)
    _plain(axes, left=False)


def _draw_maps(panels: list[Axes], report: AuditReport) -> None:
    """Over each place, the share of inserted slices whose patch is listed there."""
    controls = report.controls
    found = [controls.listed(scores) for scores in (controls.linear, controls.result)]
    shares = [None if listed is None else listed.mean(axis=0) for listed in found]
    highest = max((float(share.max()) for share in shares if share is not None), default=0)
    names = ("linear", "result")
    for axes, name, listed, share in zip(panels, names, found, shares, strict=True):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        if listed is None or share is None:
            axes.text(0.5, 0.5, f"slices below {PATCH} x {PATCH} pixels", ha="center", fontsize=7)
            continue
        axes.imshow(share, cmap=_HEAT, vmin=0, vmax=max(highest, 1e-9), interpolation="nearest")
        for (row, column), value in np.ndenumerate(share):
            if value > 0:
                text = f"{100 * value:.0f}"
                axes.text(column, row, text, fontsize=5, ha="center", va="center", color=INK)
        axes.set_title(
            f"sFRC, {name}: {listed.sum()} of {listed.size} listed", fontsize=TEXT, color=INK
        )
    panels[-1].set_xlabel(
        f"% of inserted slices in which this patch is listed\n({PATCH} pixels, every {STRIDE})",
        fontsize=_TINY,
        color=_GREY,
    )


def _write_table(figure: SubFigure, report: AuditReport) -> None:
    axes = figure.subplots()
    axes.axis("off")
    controls, evaluation = report.controls, report.evaluation
    header = (
        "",
        "PSNR (dB)",
        "above linear (dB)",
        "PSNR XZ",
        "SSIM",
        "attainable",
        "MicroSSIM",
        "sFRC listed",
        "pulsing",
        "detail",
        "FSC Z 0.5",
    )
    cells = []
    for scores, whole in zip(controls.volumes, evaluation.volumes, strict=True):
        listed = controls.listed(scores)
        cells.append(
            (
                scores.name if scores is not controls.result else "result",
                f"{scores.psnr.value:.2f}",
                "" if scores is controls.linear else _gain_text(scores.gain),
                f"{whole.plane('XZ').psnr_db:.2f}",
                f"{scores.ssim.value:.3f}",
                f"{scores.ssim.value / controls.attainable_ssim:.0%}",
                f"{scores.micro_ssim.similarity:.3f}",
                "" if listed is None else f"{listed.sum()}",
                f"{scores.pulsing.strength:.2f}",
                f"{scores.detail:.2f}",
                whole.curves.cone_z.resolution_text(0.5).replace("not crossed", "none"),
            )
        )
    places = (0.0, 0.235, 0.415, 0.49, 0.58, 0.655, 0.735, 0.81, 0.865, 0.915, 1.0)
    step = 1 / (len(cells) + 1)
    for number, row in enumerate((header, *cells)):
        is_result, at = number == 2, 1 - step * (number + 0.5)
        for place, cell in zip(places, row, strict=True):
            axes.text(
                place,
                at,
                cell,
                fontsize=_TINY if number == 0 else SMALL,
                color=_GREY if number == 0 else RESULT if is_result else INK,
                weight="bold" if is_result else "normal",
                ha="left" if place == 0 else "right",
                va="center",
                transform=axes.transAxes,
            )
    axes.axhline(1 - step, color=_GREY, linewidth=0.6)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _gain_text(gain: Interval) -> str:
    return f"{gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"


def _draw_depths(axes: Axes, report: AuditReport) -> None:
    depths = range(1, report.drop)
    for scores, name in zip(report.controls.volumes[:2], _ROWS, strict=True):
        inner = [scores.inserted.at_depth(depth) for depth in depths]
        values = [_psnr(found) for found in inner]
        axes.plot(depths, values, "o-", color=_ROWS[name], markersize=3, linewidth=1.5, label=name)
        ends = _psnr(scores.inserted.in_end_gaps())
        axes.plot(report.drop + 0.4, ends, "D", color=_ROWS[name], markersize=4)
    ticks = [*depths, report.drop + 0.4] if report.drop <= 10 else [1, report.drop // 2]
    labels = [*map(str, depths), "end\ngaps"] if report.drop <= 10 else [str(t) for t in ticks]
    axes.set_xticks(ticks, labels)
    axes.set_xlabel("slices from a measured one", fontsize=SMALL, color=INK)
    axes.set_ylabel("PSNR (dB)", fontsize=SMALL, color=INK)
    axes.legend(
        title="depth in the gap",
        fontsize=SMALL,
        frameon=False,
        labelcolor=INK,
        ncols=2,
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
    ).get_title().set(fontsize=TEXT, color=INK)
    _plain(axes)


def _psnr(scores: DepthScores | None) -> float:
    return float("nan") if scores is None else scores.psnr_db


def _draw_spectra(axes: Axes, report: AuditReport) -> None:
    controls = report.controls
    frequency = controls.spectra.frequency_per_nm
    axes.loglog(frequency, controls.spectra.power["XY"], ":", color=INK, label="truth, XY")
    for scores, name in zip(controls.volumes[:2], _ROWS, strict=True):
        axial = (scores.spectra.power["XZ"] + scores.spectra.power["YZ"]) / 2
        axes.loglog(frequency, axial, color=_ROWS[name], linewidth=1.5, label=name)
    finest = 0.5 / (report.drop * report.reference.voxel_size.z)
    axes.axvline(finest, color=FOURTH, linewidth=0.8)
    axes.text(
        finest,
        0.98,
        " finest along Z\n of the kept slices",
        fontsize=_TINY,
        color=FOURTH,
        transform=axes.get_xaxis_transform(),
        va="top",
    )
    ticks = [
        f
        for f in (1 / 1000, 1 / 300, 1 / 100, 1 / 50, 1 / 20, 1 / 10)
        if frequency[0] <= f <= frequency[-1]
    ]
    axes.set_xticks(ticks, [f"{1 / f:.0f}" for f in ticks])
    axes.minorticks_off()
    axes.set_xlabel("period (nm)", fontsize=SMALL, color=INK)
    axes.set_ylabel("power (grey levels²)", fontsize=SMALL, color=INK)
    axes.legend(
        title="spectra of XZ and YZ",
        fontsize=SMALL,
        frameon=False,
        labelcolor=INK,
        ncols=3,
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        columnspacing=1,
        handlelength=1.4,
    ).get_title().set(fontsize=TEXT, color=INK)
    _plain(axes)


def _draw_fsc(axes: Axes, report: AuditReport) -> None:
    for scores, name in zip(report.evaluation.volumes[:2], _ROWS, strict=True):
        draw_curve(axes, scores.curves.cone_z, _ROWS[name], name)
    finish_fsc_axes(axes, last_frequency(report.evaluation.result.curves.cone_z), "FSC along Z", "")


def _plain(axes: Axes, *, left: bool = True) -> None:
    axes.tick_params(labelsize=SMALL, color=INK, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines["left"].set_visible(left)


def _write_foot(figure: SubFigure, report: AuditReport) -> None:
    made = report.provenance
    controls = report.controls
    notes = (
        "Rows are of inserted XY slices but for PSNR XZ and FSC. Intervals: 95 % of bootstrap "
        "samples over sub-cubes. Attainable: share of the SSIM that the noise of the stack "
        f"({controls.noise_sigma:.3g} grey levels) leaves to be reached. sFRC: patches whose "
        "Fourier ring correlation with the truth ends below the 5 % point of linear’s. Pulsing: "
        "how far the detail of inserted slices is from that of kept ones, at the worst depth. "
        "Detail: power seen from the side beyond what the kept slices carry, over that seen from "
        "above. Domain: noise doubled, grey values inverted, stack turned about Z; each judged "
        "against its truth."
    )
    learned = f", learned from {made.trained_on}" if made.trained_on else ""
    origin = (
        f"napari-d2r {made.version} · {made.model} ({made.architecture}{learned}) · weights "
        f"{made.weights_sha256[:16]} · {made.device}, {made.engine} · {report.seconds / 60:.0f} min"
    )
    figure.text(0.0, 0.95, textwrap.fill(notes, 158), fontsize=_TINY, color=_GREY, va="top")
    figure.text(0.0, 0.05, textwrap.fill(origin, 158), fontsize=_TINY, color=INK, va="bottom")
