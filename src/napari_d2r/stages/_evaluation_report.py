"""What an evaluation found: a frozen value, its JSON and its table."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

from napari_d2r.metrics import PlaneScores, ResolutionCurves
from napari_d2r.stages._comparison import aligned_table, curves_object, json_text
from napari_d2r.stages._controls import Controls
from napari_d2r.stages._controls_report import controls_object, controls_tables
from napari_d2r.stages._perceptual_scores import PerceptualScores, perceptual_table
from napari_d2r.stages._trial import Trial, trial_table, with_the_stack_as_it_is
from napari_d2r.volumes import Degradation, Volume, VoxelSize


@dataclass(frozen=True, slots=True)
class VolumeScores:
    """How one volume compares with the reference.

    Parameters
    ----------
    name
        ``linear`` for the baseline, else the volume's name.
    planes
        Scores in XY (inserted slices), XZ and YZ (all rows).
    axial_shift
        Voxels along Z by which the volume stands off the reference.
    num_measured, num_exact
        Measured slices in the box, and those that the volume holds bit-exact.
    curves
        Fourier shell correlation with the reference.
    perceptual
        What networks make of it, where they were asked.
    """

    name: str
    planes: tuple[PlaneScores, ...]
    axial_shift: float
    num_measured: int
    num_exact: int
    curves: ResolutionCurves = field(repr=False)
    perceptual: PerceptualScores | None = None

    def plane(self, name: str) -> PlaneScores:
        """The scores of one plane: XY, XZ or YZ."""
        return next(scores for scores in self.planes if scores.plane == name)


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """A result and aligned linear interpolation, measured against one reference.

    Parameters
    ----------
    reference
        Name of the reference.
    factor
        Every ``factor``-th slice of the reference counts as measured.
    voxel_size
        Of the reference, in nm.
    reference_shape
        Of the whole reference (z, y, x).
    start, shape
        The box that was compared, in voxels (z, y, x).
    data_range
        Grey levels between black and white.
    volumes
        Aligned linear first, the result second, then any others.
    controls
        The same volumes under the controls, where these were asked for.
    degradation
        How the slices were measured; where they are blurred, none can be kept bit-exact.
    trials
        A model on the reference made unlike what it knows, where this was asked for.
    """

    reference: str
    factor: int
    voxel_size: VoxelSize
    reference_shape: tuple[int, int, int]
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    data_range: float
    volumes: tuple[VolumeScores, ...]
    controls: Controls | None = field(default=None, repr=False)
    degradation: Degradation = field(default_factory=Degradation)
    trials: tuple[Trial, ...] = ()

    @property
    def linear(self) -> VolumeScores:
        """The baseline."""
        return self.volumes[0]

    @property
    def result(self) -> VolumeScores:
        """The volume that was asked about."""
        return self.volumes[1]

    @property
    def compared(self) -> str:
        """Which slices were compared, in words."""
        count, total, first = self.shape[0], self.reference_shape[0], self.start[0]
        if count == total:
            where = f"on all {total} slices"
        elif first == 0:
            where = f"on the first {count} of {total} slices"
        else:
            where = f"on slices {first} to {first + count - 1} of {total}"
        if self.shape[1:] != self.reference_shape[1:]:
            where += f", within the central {self.shape[1]} x {self.shape[2]} voxels (y, x)"
        return where

    def compared_part(self, reference: Volume) -> Volume:
        """The compared box of the reference."""
        z, y, x = (slice(at, at + n) for at, n in zip(self.start, self.shape, strict=True))
        return Volume(reference.read(z, y, x), self.voxel_size, reference.name, reference.source)

    def to_json(self) -> str:
        """The report as JSON; the keys are documented in ``docs/evaluation.md``."""
        return json_text(self.to_object())

    def to_object(self) -> dict[str, object]:
        """The report as plain values."""
        fields: dict[str, object] = {
            "format": "napari-d2r evaluation",
            "version": 1,
            "reference": self.reference,
            "factor": self.factor,
            "degradation": asdict(self.degradation),
            "voxel_size_nm": list(self.voxel_size),
            "compared": self.compared,
            "reference_shape": list(self.reference_shape),
            "start": list(self.start),
            "shape": list(self.shape),
            "data_range": self.data_range,
            "volumes": [_volume_object(scores) for scores in self.volumes],
        }
        if self.controls is not None:
            fields["controls"] = controls_object(self.controls, self.data_range)
        if self.trials:
            fields["trials"] = [asdict(trial) for trial in self.trials]
        return fields

    def table(self) -> str:
        """Two aligned Markdown tables, grey values then resolution, and what they compare."""
        has_scales = any(plane.ms_ssim is not None for plane in self.linear.planes)
        scales = ["MS-SSIM XY", "XZ", "YZ"] if has_scales else []
        similarity = ["SSIM XY", "XZ", "YZ", *scales]
        grey = aligned_table(
            ["", "PSNR XY", "XZ", "YZ (dB)", *similarity, "measured", "z shift"],
            [
                [
                    scores.name,
                    *(_decibels(plane.psnr_db) for plane in scores.planes),
                    *(f"{plane.ssim:.3f}" for plane in scores.planes),
                    *(_similarity(plane.ms_ssim) for plane in scores.planes if has_scales),
                    f"{scores.num_exact}/{scores.num_measured}",
                    f"{scores.axial_shift:+.3f}",
                ]
                for scores in self.volumes
            ],
        )
        resolution = aligned_table(
            ["", "FSC 0.5", "0.143", "Hann 0.5", "0.143", "along Z 0.5", "in XY 0.5"],
            [
                [
                    scores.name,
                    scores.curves.plain.resolution_text(0.5),
                    scores.curves.plain.resolution_text(0.143),
                    scores.curves.hann.resolution_text(0.5),
                    scores.curves.hann.resolution_text(0.143),
                    scores.curves.cone_z.resolution_text(0.5),
                    scores.curves.cone_xy.resolution_text(0.5),
                ]
                for scores in self.volumes
            ],
        )
        parts = [grey, resolution, self._explanation()]
        seen = [(s.name, s.perceptual) for s in self.volumes if s.perceptual is not None]
        if seen:
            parts.append(perceptual_table(seen))
        if self.controls is not None:
            parts.append(controls_tables(self.controls, self.voxel_size, self.data_range))
            if self.trials:
                parts.append(trial_table(with_the_stack_as_it_is(self.controls, self.trials)))
        return "\n\n".join(parts)

    def _explanation(self) -> str:
        count, how = self.result.plane("XY").num_slices, self.degradation
        one_in, slices = f"one in {self.factor} measured", f"the {count} inserted slices"
        if not how.is_sampling:
            one_in, slices = f"{one_in}, {how}", f"all {count} slices"
        return (
            f"Against {self.reference} {self.compared}, {one_in}. "
            f"XY over {slices}, XZ and YZ over all rows; "
            f"data range {self.data_range:g}; measured: slices kept bit-exact; z shift in voxels."
        )


def _volume_object(scores: VolumeScores) -> dict[str, object]:
    planes = {}
    for plane in scores.planes:
        numbers = asdict(plane)
        del numbers["plane"]
        # JSON has no infinity: null where every slice is identical.
        numbers["psnr_db"] = plane.psnr_db if math.isfinite(plane.psnr_db) else None
        planes[plane.plane] = numbers
    fields: dict[str, object] = {
        "name": scores.name,
        "planes": planes,
        "axial_shift_voxels": scores.axial_shift,
        "num_measured": scores.num_measured,
        "num_measured_exact": scores.num_exact,
        "fsc": curves_object(scores.curves),
    }
    if scores.perceptual is not None:
        fields["perceptual"] = scores.perceptual.to_object()
    return fields


def _similarity(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _decibels(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "identical"
