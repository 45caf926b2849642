"""What a correlation of two volumes found: a frozen value, its words, JSON, CSV and table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from napari_d2r.metrics import FSCCurve, ResolutionCurves
from napari_d2r.stages._comparison import ALL_THRESHOLDS, aligned_table, curves_object, json_text
from napari_d2r.volumes import VoxelSize

# The curves of a report and what people call them.
DIRECTIONS = {
    "plain": "all directions",
    "hann": "all directions, Hann window",
    "cone_z": "within 30° of Z",
    "cone_xy": "within 30° of XY",
}
_COLUMNS = (
    "volume",
    "compared_with",
    "directions",
    "frequency_per_nm",
    "period_nm",
    "correlation",
    "half_bit",
    "num_voxels",
)


@dataclass(frozen=True, slots=True)
class FSCReport:
    """The correlation of two volumes, over the box that was compared.

    Parameters
    ----------
    first, second
        Names of the volumes; ``second`` is empty where one was correlated with itself.
    voxel_size
        Of the positions that were compared, in nm.
    start, shape
        The box (z, y, x): where it begins in voxels of ``first``, and its positions.
    curves
        The four curves.
    source
        Name of the stack that ``linear`` interpolates; empty where none was given.
    linear
        The four curves of aligned linear interpolation of the source with ``second``.
    is_whole
        Whether all that the volumes share was compared.
    """

    first: str
    second: str
    voxel_size: VoxelSize
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    curves: ResolutionCurves = field(repr=False)
    source: str = ""
    linear: ResolutionCurves | None = field(default=None, repr=False)
    is_whole: bool = True

    def named_curves(self) -> Iterator[tuple[str, str, FSCCurve]]:
        """Which pair (``first``, or ``linear``), which direction, and the curve, by direction."""
        for name in DIRECTIONS:
            for who, curves in ((self.first, self.curves), ("linear", self.linear)):
                if curves is not None:
                    yield who, name, getattr(curves, name)

    @property
    def compared(self) -> str:
        """Which voxels were compared, in words."""
        part = "all" if self.is_whole else "the central"
        z, y, x = self.shape
        whose = f"of {self.first}" if self.is_one_volume else "that both have"
        return f"{part} {z} x {y} x {x} voxels of {self.voxel_size} {whose}"

    @property
    def is_one_volume(self) -> bool:
        """Whether it is the correlation of a volume with itself."""
        return not self.second

    def sentence(self) -> str:
        """The finding in words."""
        along_z, in_xy = (self._reach(name) for name in ("cone_z", "cone_xy"))
        pair = f"{self.first} and {self.second} agree"
        if self.is_one_volume:
            pair = f"both halves of the voxels of {self.first} agree"
        return (
            f"At FSC 0.5, {pair} along Z down to {along_z}, and in "
            f"XY down to {in_xy}. Compared: {self.compared}."
        )

    def to_json(self) -> str:
        """The report as JSON; the keys are documented in ``docs/evaluation.md``."""
        return json_text(
            {
                "format": "napari-d2r fsc",
                "version": 1,
                "volumes": [self.first] if self.is_one_volume else [self.first, self.second],
                "voxel_size_nm": list(self.voxel_size),
                "start": list(self.start),
                "shape": list(self.shape),
                "fsc": curves_object(self.curves),
                "source": self.source or None,
                "fsc_linear": None if self.linear is None else curves_object(self.linear),
            }
        )

    def to_csv(self) -> str:
        """All curves, one line per shell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        other = self.second or self.first
        for who, name, curve in self.named_curves():
            who = f"linear interpolation of {self.source}" if who == "linear" else who
            shells = (curve.frequency_per_nm, curve.correlation, curve.half_bit, curve.num_voxels)
            for frequency, correlation, half_bit, count in zip(*shells, strict=True):
                period = f"{1 / frequency:.6g}" if frequency > 0 else ""
                numbers = f"{correlation:.6f}", f"{half_bit:.6f}", count
                writer.writerow(
                    [who, other, DIRECTIONS[name], f"{frequency:.8g}", period, *numbers]
                )
        return text.getvalue()

    def rows(self) -> list[list[str]]:
        """Directions, pair and the crossing of each threshold, as text."""
        return [
            [DIRECTIONS[name], who, *(curve.resolution_text(level) for level in ALL_THRESHOLDS)]
            for who, name, curve in self.named_curves()
        ]

    def table(self) -> str:
        """Crossings of the curves, aligned for a terminal."""
        levels = [str(level) for level in ALL_THRESHOLDS]
        if self.linear is None:
            rows = [[direction, *levels_] for direction, _, *levels_ in self.rows()]
            return aligned_table(["FSC", *levels], rows)
        return aligned_table(["FSC", "of", *levels], self.rows())

    def _reach(self, name: str) -> str:
        found = _reach(getattr(self.curves, name))
        if self.linear is not None:
            found += (
                f" (linear interpolation of {self.source}: {_reach(getattr(self.linear, name))})"
            )
        return found


def _reach(curve: FSCCurve) -> str:
    resolution = curve.resolution_at(0.5)
    if resolution is not None:
        return f"{resolution:.1f} nm"
    finest = 1 / curve.frequency_per_nm[-1]
    return f"{finest:.1f} nm or finer"
