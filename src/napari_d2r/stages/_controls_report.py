"""The controls as tables and as JSON."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_d2r.metrics import PATCH, STRIDE, DepthScores, Interval, PlaneSpectra
from napari_d2r.stages._comparison import aligned_table
from napari_d2r.stages._controls import Controls, ControlScores
from napari_d2r.volumes import VoxelSize

_LARGEST_DB = 200.0  # beyond, two volumes are one
_NONE = "-"


def controls_tables(controls: Controls, voxel_size: VoxelSize, data_range: float) -> str:
    """Two aligned Markdown tables and what they mean: the controls, then depth by depth."""
    return "\n\n".join(
        (
            aligned_table(
                [
                    "inserted slices",
                    "PSNR (dB)",
                    "above linear (dB)",
                    "SSIM",
                    "of attainable",
                    "MicroSSIM",
                    "sFRC listed",
                    "new",
                    "pulsing",
                    "detail",
                ],
                [_row(controls, scores) for scores in controls.volumes],
            ),
            depth_table(controls),
            _explanation(controls, voxel_size, data_range),
        )
    )


def depth_table(controls: Controls) -> str:
    """PSNR by depth in the gap, first and last gap apart."""
    depths = range(1, controls.linear.inserted.factor)
    return aligned_table(
        ["PSNR (dB) at depth", *map(str, depths), "end gaps"],
        [
            [
                scores.name,
                *(_depth_text(scores.inserted.at_depth(depth)) for depth in depths),
                _depth_text(scores.inserted.in_end_gaps()),
            ]
            for scores in controls.volumes
        ],
    )


def interval_text(interval: Interval, digits: int = 2, sign: str = "") -> str:
    """The number, and its interval in brackets."""
    if interval.value > _LARGEST_DB:
        return "identical"
    low, high = f"{interval.low:{sign}.{digits}f}", f"{interval.high:{sign}.{digits}f}"
    return f"{interval.value:{sign}.{digits}f} [{low}, {high}]"


def _row(controls: Controls, scores: ControlScores) -> list[str]:
    listed, anew = controls.listed(scores), controls.listed_anew(scores)
    is_linear = scores is controls.linear
    return [
        scores.name,
        interval_text(scores.psnr),
        _NONE if is_linear else interval_text(scores.gain, sign="+"),
        interval_text(scores.ssim, 3),
        f"{scores.ssim.value / controls.attainable_ssim:.0%}",
        f"{scores.micro_ssim.similarity:.3f}",
        _NONE if listed is None else f"{listed.sum()} of {listed.size}",
        _NONE if anew is None or is_linear else f"{anew.sum()}",
        f"{scores.pulsing.strength:.2f}",
        f"{scores.detail:.2f}",
    ]


def _depth_text(scores: DepthScores | None) -> str:
    if scores is None:
        return _NONE
    return f"{scores.psnr_db:.2f}" if math.isfinite(scores.psnr_db) else "identical"


def _explanation(controls: Controls, voxel_size: VoxelSize, data_range: float) -> str:
    words = [
        "Brackets: 95 % of bootstrap samples over sub-cubes of about 64 voxels.",
        f"The reference has noise of {controls.noise_sigma:.3g} grey levels, which leaves an SSIM "
        f"of {controls.attainable_ssim:.3f} to be reached"
        + _psnr_words(attainable_psnr(controls, data_range)),
    ]
    if controls.threshold:
        period = voxel_size.lateral / controls.threshold
        words.append(
            f"sFRC: patches of {PATCH} x {PATCH} pixels that agree with the reference in nothing "
            f"finer than {period:.0f} nm (FRC 0.5), as 5 % of linear's do; new: not listed for "
            "linear."
        )
    words.append(
        "Pulsing: by how much detail departs from that of measured slices, at the worst depth. "
        "Detail: power of XZ and YZ beyond what measured slices carry, over that of the reference "
        "in XY."
    )
    return " ".join(words)


def _psnr_words(psnr: float | None) -> str:
    return "." if psnr is None else f" and a PSNR of {psnr:.1f} dB."


def attainable_psnr(controls: Controls, data_range: float) -> float | None:
    """PSNR of the reference without its noise, in dB; None where there is no noise."""
    sigma = controls.noise_sigma
    return 20 * math.log10(data_range / sigma) if sigma > 0 else None


def controls_object(controls: Controls, data_range: float) -> dict[str, object]:
    """The controls as plain values; keys are documented in ``docs/evaluation.md``."""
    scan = controls.linear.scan
    return {
        "noise_sigma": controls.noise_sigma,
        "attainable_ssim": controls.attainable_ssim,
        "attainable_psnr_db": attainable_psnr(controls, data_range),
        "sfrc": None
        if scan is None
        else {
            "patch": PATCH,
            "stride": STRIDE,
            "num_patches": scan.crossing.size,
            "threshold_cycles_per_pixel": controls.threshold,
        },
        "spectra": _spectra_object(controls.spectra),
        "volumes": [_volume_object(controls, scores) for scores in controls.volumes],
    }


def _volume_object(controls: Controls, scores: ControlScores) -> dict[str, object]:
    inserted = scores.inserted
    listed, anew = controls.listed(scores), controls.listed_anew(scores)
    psnr = inserted.psnr_by_slice
    return {
        "name": scores.name,
        "psnr_db": _interval_object(scores.psnr),
        "gain_db": _interval_object(scores.gain),
        "ssim": _interval_object(scores.ssim),
        "share_of_attainable_ssim": scores.ssim.value / controls.attainable_ssim,
        "micro_ssim": scores.micro_ssim.similarity,
        "micro_ssim_scale": scores.micro_ssim.scale,
        "by_depth": [
            {"depth": depth, **_depth_object(inserted.at_depth(depth))}
            for depth in range(1, inserted.factor)
        ],
        "end_gaps": _depth_object(inserted.in_end_gaps()),
        "slices": inserted.slices.tolist(),
        "psnr_db_by_slice": [round(float(p), 4) if math.isfinite(p) else None for p in psnr],
        "sfrc": None
        if listed is None or anew is None
        else {
            "num_listed": int(listed.sum()),
            "num_listed_anew": int(anew.sum()),
            "listed": _places(scores, listed),
        },
        "pulsing": scores.pulsing.strength,
        "detail_by_slice": np.round(scores.pulsing.ratio, 4).tolist(),
        "detail": None if math.isnan(scores.detail) else scores.detail,
        "spectra": _spectra_object(scores.spectra),
    }


def _places(scores: ControlScores, listed: NDArray[np.bool_]) -> list[list[int]]:
    """Corner (z, y, x) of each listed patch, in voxels of the compared box."""
    return [
        [int(scores.inserted.slices[s]), int(row) * STRIDE, int(column) * STRIDE]
        for s, row, column in np.argwhere(listed)
    ]


def _interval_object(interval: Interval) -> dict[str, float | None]:
    values = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: None if abs(v) > _LARGEST_DB else v for name, v in values.items()}


def _depth_object(scores: DepthScores | None) -> dict[str, object]:
    if scores is None:
        return {"psnr_db": None, "ssim": None, "num_slices": 0}
    return {
        "psnr_db": scores.psnr_db if math.isfinite(scores.psnr_db) else None,
        "ssim": scores.ssim,
        "num_slices": scores.num_slices,
    }


def _spectra_object(spectra: PlaneSpectra) -> dict[str, object]:
    return {
        "frequency_per_nm": np.round(spectra.frequency_per_nm, 8).tolist(),
        "power": {plane: power.tolist() for plane, power in spectra.power.items()},
    }
