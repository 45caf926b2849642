"""What leaving measured slices out found: a frozen value, its words, JSON and CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

from napari_d2r.metrics import FSCCurve, GainOverLinear
from napari_d2r.stages._comparison import THRESHOLDS, curve_object, json_text
from napari_d2r.volumes import VoxelSize


@dataclass(frozen=True, slots=True)
class GainReport:
    """How a model predicts measured slices that it was not shown, beside linear.

    Parameters
    ----------
    stack, model
        Their names.
    voxel_size
        Of the stack, in nm.
    start, shape
        The box of the stack that was judged, in voxels (z, y, x).
    is_whole
        Whether that is all of the stack.
    gain
        Errors of the left-out slices, in unit intensity; slices are those of the stack.
    frc, frc_linear
        Fourier ring correlation with the measured slices, the mean over slices.
    caution
        What keeps the numbers from meaning what they seem to; empty where nothing does.
    """

    stack: str
    model: str
    voxel_size: VoxelSize
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    is_whole: bool
    gain: GainOverLinear
    frc: FSCCurve = field(repr=False)
    frc_linear: FSCCurve = field(repr=False)
    caution: str = ""

    @property
    def judged(self) -> str:
        """Which voxels were judged, in words."""
        z, y, x = self.shape
        part = "all" if self.is_whole else "the central"
        return f"{part} {z} x {y} x {x} voxels (z, y, x)"

    def sentence(self) -> str:
        """The finding in words, with the doubled gap."""
        gain, z = self.gain, self.voxel_size.z
        across = f"Predicting left-out slices across gaps twice as wide ({2 * z:g} nm, not {z:g})"
        if abs(gain.gain_db) < 0.005:
            finding = f"“{self.model}” is as close to the measured slices as linear interpolation"
        else:
            side = "closer to" if gain.gain_db > 0 else "further from"
            finding = (
                f"“{self.model}” is {abs(gain.gain_db):.2f} dB {side} the measured slices than "
                f"linear interpolation ({gain.psnr_db:.2f} against {gain.psnr_linear_db:.2f} dB), "
                f"and better in {gain.num_better} of {len(gain.slices)} slices"
            )
        detail = (
            f"Detail agrees down to {_reach(self.frc)}, with linear down to "
            f"{_reach(self.frc_linear)} (FRC 0.5)."
        )
        words = [f"{across}, {finding}.", detail, f"Judged on {self.judged}."]
        return " ".join([*words, self.caution]).strip()

    def to_json(self) -> str:
        """The report as JSON; the keys are documented in ``docs/evaluation.md``."""
        gain = self.gain
        return json_text(
            {
                "format": "napari-d2r gain",
                "version": 1,
                "stack": self.stack,
                "model": self.model,
                "voxel_size_nm": list(self.voxel_size),
                "start": list(self.start),
                "shape": list(self.shape),
                "psnr_db": _finite(gain.psnr_db),
                "psnr_linear_db": _finite(gain.psnr_linear_db),
                "gain_db": _finite(gain.gain_db),
                "slices": list(gain.slices),
                "mse": list(gain.mse),
                "mse_linear": list(gain.mse_linear),
                "frc": curve_object(self.frc),
                "frc_linear": curve_object(self.frc_linear),
                "caution": self.caution,
            }
        )

    def to_csv(self) -> str:
        """PSNR of each slice, then the mean FRC at each frequency."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["quantity", "at", "unit", "model", "linear"])
        for index, psnr, linear in self.gain.psnr_by_slice():
            writer.writerow(["PSNR (dB)", index, "slice", f"{psnr:.4f}", f"{linear:.4f}"])
        rings = (self.frc.frequency_per_nm, self.frc.correlation, self.frc_linear.correlation)
        for frequency, model, linear in zip(*rings, strict=True):
            numbers = f"{model:.6f}", f"{linear:.6f}"
            writer.writerow(["FRC", f"{frequency:.8g}", "1/nm", *numbers])
        return text.getvalue()

    def rows(self) -> list[list[str]]:
        """Of the model and of linear: name, PSNR, and where the FRC falls below each threshold."""
        both = (
            (self.model, self.gain.psnr_db, self.frc),
            ("linear", self.gain.psnr_linear_db, self.frc_linear),
        )
        return [
            [name, f"{psnr:.2f} dB", *(frc.resolution_text(level) for level in THRESHOLDS)]
            for name, psnr, frc in both
        ]


def _reach(curve: FSCCurve) -> str:
    resolution = curve.resolution_at(THRESHOLDS[0])
    if resolution is not None:
        return f"{resolution:.1f} nm"
    return f"{1 / curve.frequency_per_nm[-1]:.1f} nm or finer"


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None
