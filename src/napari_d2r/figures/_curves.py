"""Correlation curves: one axis linear in frequency, labelled in nm."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from napari_d2r.figures._style import INK, SMALL, TEXT
from napari_d2r.metrics import FSCCurve
from napari_d2r.stages.evaluate import THRESHOLDS


def last_frequency(curve: FSCCurve) -> float:
    """Where a curve ends, in 1/nm."""
    return float(curve.frequency_per_nm[-1])


def draw_curve(
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


def finish_fsc_axes(
    axes: Axes, highest: float, title: str, quantity: str = "Fourier shell correlation"
) -> None:
    """Limits, thresholds, and an axis linear in frequency (1/nm) but labelled in nm."""
    ticks = highest * np.arange(1, 6) / 5
    axes.set_xlim(0, highest)
    axes.set_xticks(ticks, [f"{1 / tick:.3g}" for tick in ticks])
    axes.set_xlabel("period (nm)", fontsize=TEXT, color=INK)
    axes.set_ylim(-0.05, 1.03)
    axes.set_yticks([0, 0.143, 0.5, 1], ["0", "0.143", "0.5", "1"])
    axes.set_ylabel(quantity, fontsize=TEXT, color=INK)
    for level in THRESHOLDS:
        axes.axhline(level, color=INK, linewidth=0.7, linestyle=":", zorder=0)
    axes.axhline(0, color=INK, linewidth=0.4, zorder=0)
    axes.tick_params(labelsize=SMALL, color=INK, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    # Above the curves: a good result fills the whole panel.
    legend = axes.legend(
        title=f"{title}: 0.5 crossed at",
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=2,
        fontsize=SMALL,
        labelcolor=INK,
        frameon=False,
    )
    legend.get_title().set(fontsize=TEXT, color=INK)
