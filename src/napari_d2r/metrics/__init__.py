"""Numbers about volumes: array in, number or curve out. numpy, scipy and scikit-image only."""

from napari_d2r.metrics._fsc import (
    CONE_HALF_ANGLE,
    Cone,
    FSCCurve,
    ResolutionCurves,
    fourier_shell_correlation,
    resolution_curves,
)
from napari_d2r.metrics._leave_one_out import GainOverLinear, gain_over_linear
from napari_d2r.metrics._pixelwise import (
    PLANES,
    Plane,
    PlaneScores,
    peak_signal_noise_ratio,
    score_plane,
    score_planes,
)
from napari_d2r.metrics._registration import axial_shift

__all__ = [
    "CONE_HALF_ANGLE",
    "PLANES",
    "Cone",
    "FSCCurve",
    "GainOverLinear",
    "Plane",
    "PlaneScores",
    "ResolutionCurves",
    "axial_shift",
    "fourier_shell_correlation",
    "gain_over_linear",
    "peak_signal_noise_ratio",
    "resolution_curves",
    "score_plane",
    "score_planes",
]
