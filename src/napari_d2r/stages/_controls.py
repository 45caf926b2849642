"""What a reviewer asks for beside PSNR: control rows, depth by depth, and how sure it all is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.metrics import (
    PATCH,
    InsertedScores,
    Interval,
    MicroSSIM,
    PatchScan,
    PlaneSpectra,
    Pulsing,
    Steps,
    attainable_ssim,
    axial_noise_sigma,
    gain_interval,
    micro_ssim,
    plane_spectra,
    psnr_interval,
    pulsing,
    scan_patches,
    score_inserted,
    ssim_interval,
)
from napari_d2r.volumes import AxialGrid, VoxelSize, interpolate_axial

MISPHASED = "bicubic, mis-phased"


@dataclass(frozen=True, slots=True, eq=False)
class ControlScores:
    """One volume under the controls.

    Parameters
    ----------
    name
        As in the other tables.
    psnr, gain, ssim
        Of inserted slices with 95 % intervals: PSNR in dB of all voxels together, the same above
        linear interpolation, mean SSIM.
    micro_ssim
        Of inserted slices.
    inserted
        Slice by slice and block by block.
    pulsing
        Detail of every slice over that of the reference.
    spectra, detail
        Power spectra of each plane; power of XZ and YZ over that of the reference in XY beyond
        what the measured slices can carry along Z.
    scan
        Scanning FRC; None for slices smaller than a patch.
    """

    name: str
    psnr: Interval
    gain: Interval
    ssim: Interval
    micro_ssim: MicroSSIM
    inserted: InsertedScores = field(repr=False)
    pulsing: Pulsing = field(repr=False)
    spectra: PlaneSpectra = field(repr=False)
    detail: float
    scan: PatchScan | None = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Controls:
    """All volumes under the controls, and what the reference allows.

    Parameters
    ----------
    noise_sigma
        Of the reference, in grey levels: what is new in every slice.
    attainable_ssim
        Of inserted slices, from that noise.
    spectra
        Of the reference.
    volumes
        In the order of the report: linear first, the result second.
    """

    noise_sigma: float
    attainable_ssim: float
    spectra: PlaneSpectra = field(repr=False)
    volumes: tuple[ControlScores, ...]

    @property
    def linear(self) -> ControlScores:
        """The baseline."""
        return self.volumes[0]

    @property
    def result(self) -> ControlScores:
        """The volume that was asked about."""
        return self.volumes[1]

    @property
    def threshold(self) -> float | None:
        """Cycles per pixel below which a patch is listed; None where nothing was scanned."""
        scan = self.linear.scan
        return None if scan is None else scan.threshold()

    def listed(self, scores: ControlScores) -> NDArray[np.bool_] | None:
        """(S, rows, columns) patches of a volume that are listed; None where not scanned."""
        if scores.scan is None or self.threshold is None:
            return None
        return scores.scan.listed(self.threshold)

    def listed_anew(self, scores: ControlScores) -> NDArray[np.bool_] | None:
        """Those among `listed` that are not listed for linear interpolation."""
        listed, baseline = self.listed(scores), self.listed(self.linear)
        return None if listed is None or baseline is None else listed & ~baseline


def control_rows(measured: NDArray[Any], factor: int) -> dict[str, NDArray[Any]]:
    """Nearest, cubic, and what is published as bicubic, by the name of their rows.

    The last is cubic interpolation on the grid that image libraries take unless told otherwise:
    output m stands at (m + 1/2) / factor - 1/2, which is (factor - 1) / 2 slices off.
    """
    grid = AxialGrid(len(measured), factor)
    positions = grid.positions()
    shifted = (np.arange(grid.num_output) + 0.5) / factor - 0.5
    return {
        "nearest": interpolate_axial(measured, positions, "nearest"),
        "cubic": interpolate_axial(measured, positions, "cubic"),
        MISPHASED: interpolate_axial(measured, shifted.clip(0, len(measured) - 1), "cubic"),
    }


@dataclass(slots=True, eq=False)
class ControlBench:
    """Measures volumes against one reference; the first one measured is the baseline."""

    truth: NDArray[Any]
    factor: int
    data_range: float
    voxel_size: VoxelSize
    measured: list[ControlScores] = field(default_factory=list)
    spectra: PlaneSpectra = field(init=False)

    def __post_init__(self) -> None:
        self.spectra = plane_spectra(self.truth, self.voxel_size)

    def measure(self, name: str, test: NDArray[Any]) -> Steps[None]:
        """All controls of one volume, a few seconds at a time."""
        truth, factor = self.truth, self.factor
        inserted = score_inserted(truth, test, factor=factor, data_range=self.data_range)
        yield 0.3
        has_patches = min(truth.shape[1:]) >= PATCH
        scan = scan_patches(truth, test, factor=factor) if has_patches else None
        yield 0.5
        between = inserted.slices
        micro = micro_ssim(truth[between], test[between], data_range=self.data_range)
        yield 0.8
        breath = pulsing(truth, test, factor=factor)
        spectra = plane_spectra(test, self.voxel_size)
        finest_measured = 0.5 / (factor * self.voxel_size.z)
        baseline = self.measured[0].inserted if self.measured else inserted
        self.measured.append(
            ControlScores(
                name=name,
                psnr=psnr_interval(inserted),
                gain=gain_interval(inserted, baseline),
                ssim=ssim_interval(inserted),
                micro_ssim=micro,
                inserted=inserted,
                pulsing=breath,
                spectra=spectra,
                detail=spectra.detail(self.spectra, finest_measured),
                scan=scan,
            )
        )

    def controls(self) -> Controls:
        """What was measured."""
        sigma = axial_noise_sigma(self.truth)
        between = self.measured[0].inserted.slices
        ceiling = attainable_ssim(self.truth[between], sigma, data_range=self.data_range)
        return Controls(sigma, ceiling, self.spectra, tuple(self.measured))
