"""Slice by slice: whether a result is worse, or softer, far from the measured slices."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from napari_d2r.figures._style import INK, LINEAR, MEASURED, RESULT, SMALL, TEXT
from napari_d2r.stages._controls import Controls


def draw_slices(figure: SubFigure, controls: Controls, first: int) -> None:
    """PSNR and detail of every output slice, of linear and of the result.

    Measured slices, of which there is no PSNR, are orange: ticks, and dots on the result.

    Parameters
    ----------
    controls
        Of linear and the result, at least.
    first
        Where the compared slices begin in the reference.
    """
    similarity, detail = figure.subplots(1, 2)
    ratio, factor = controls.result.pulsing.ratio, controls.result.inserted.factor
    slices = first + np.arange(len(ratio))
    measured = slices[::factor]
    for scores, name, colour in (
        (controls.linear, "linear", LINEAR),
        (controls.result, "result", RESULT),
    ):
        psnr = np.full(len(slices), np.nan)  # a line ends where a slice was measured
        psnr[scores.inserted.slices] = scores.inserted.psnr_by_slice
        psnr[np.isinf(psnr)] = np.nan
        similarity.plot(slices, psnr, ".-", color=colour, linewidth=1, markersize=2, label=name)
        detail.plot(slices, scores.pulsing.ratio, color=colour, linewidth=1, label=name)
    dots = {"color": MEASURED, "markersize": 3, "linestyle": "none", "label": "measured"}
    detail.plot(measured, ratio[::factor], "o", **dots)
    low = similarity.get_ylim()[0]
    similarity.plot(measured, np.full(len(measured), low), "|", **dots)
    detail.axhline(1, color=INK, linewidth=0.7, linestyle=":", zorder=0)
    _finish(similarity, "PSNR of inserted slices (dB)")
    _finish(detail, "detail over that of the reference")


def _finish(axes: Axes, quantity: str) -> None:
    axes.set_xlabel("slice of the reference", fontsize=TEXT, color=INK)
    axes.set_ylabel(quantity, fontsize=TEXT, color=INK)
    axes.tick_params(labelsize=SMALL, color=INK, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=3,
        fontsize=SMALL,
        labelcolor=INK,
        frameon=False,
    )
