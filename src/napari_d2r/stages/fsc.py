"""Fourier shell correlation of two volumes: ``napari-d2r fsc a.tif b.tif``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from napari_d2r.errors import InputError
from napari_d2r.jobs import Event, Finished, Outcome, Progress, StageStarted, Started, Warned
from napari_d2r.metrics import ResolutionCurves, resolution_curves
from napari_d2r.stages._comparison import (
    THRESHOLDS,
    aligned_table,
    comparison_box,
    curves_object,
    json_text,
    load_box,
    require_same_voxel_size,
)
from napari_d2r.volumes import Volume, VoxelSize

_LABELS = {
    "plain": "all directions",
    "hann": "all directions, Hann window",
    "cone_z": "within 30° of Z",
    "cone_xy": "within 30° of XY",
}


@dataclass(frozen=True, slots=True)
class FSCReport:
    """The correlation of two volumes, over the box that was compared.

    Parameters
    ----------
    first, second
        Names of the volumes.
    voxel_size
        Of both, in nm.
    start, shape
        The box in voxels (z, y, x).
    curves
        The four curves.
    """

    first: str
    second: str
    voxel_size: VoxelSize
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    curves: ResolutionCurves = field(repr=False)

    def to_json(self) -> str:
        """The report as JSON; the keys are documented in ``docs/evaluation.md``."""
        return json_text(
            {
                "format": "napari-d2r fsc",
                "version": 1,
                "volumes": [self.first, self.second],
                "voxel_size_nm": list(self.voxel_size),
                "start": list(self.start),
                "shape": list(self.shape),
                "fsc": curves_object(self.curves),
            }
        )

    def table(self) -> str:
        """Crossings of the four curves, aligned for a terminal."""
        rows = []
        for name, label in _LABELS.items():
            curve = getattr(self.curves, name)
            rows.append([label, *(curve.resolution_text(level) for level in THRESHOLDS)])
        return aligned_table(["FSC", *(f"{level:g}" for level in THRESHOLDS)], rows)


def fsc_stream(first: Volume, second: Volume) -> Iterator[Event]:
    """Correlate two volumes of one shape; ends in ``Finished(result=FSCReport)``.

    Raises
    ------
    InputError
        When shapes or voxel sizes differ, or a volume is constant or not finite.
    """
    for volume in (first, second):
        volume.require_single_channel()
    if first.shape != second.shape:
        raise InputError(
            f"Shapes differ: {first.name} has {first.shape}, {second.name} has {second.shape}; "
            "crop both to the same box first."
        )
    require_same_voxel_size(first, second)
    yield Started("fsc")
    box = comparison_box(first.shape)
    yield StageStarted("Correlating")
    a, b = load_box(first, box), load_box(second, box)
    if a.shape != first.shape:
        yield Warned(f"The volumes are large: a central box of {a.shape} voxels is compared.")
    yield Progress(1, 2, "steps")
    curves = resolution_curves(a, b, first.voxel_size)
    yield Progress(2, 2, "steps")
    z, y, x = box
    report = FSCReport(
        first=first.name,
        second=second.name,
        voxel_size=first.voxel_size,
        start=(z.start, y.start, x.start),
        shape=(a.shape[0], a.shape[1], a.shape[2]),
        curves=curves,
    )
    yield Finished(Outcome.COMPLETED, report)


def fsc(first: Volume, second: Volume) -> FSCReport:
    """Correlate two volumes and return the report; see `fsc_stream`."""
    *_, last = fsc_stream(first, second)
    assert isinstance(last, Finished) and isinstance(last.result, FSCReport)
    return last.result
