"""Numbers about volumes: array in, number or curve out. numpy, scipy and scikit-image only."""

from napari_d2r.metrics._curve import FSCCurve, Threshold
from napari_d2r.metrics._fsc import (
    ResolutionCurves,
    fourier_ring_correlation,
    fourier_shell_correlation,
    resolution_curve_steps,
    resolution_curves,
    ring_correlation_steps,
)
from napari_d2r.metrics._intervals import (
    IntervalShape,
    coverage,
    fit_interval_shape,
    interval_scale,
    share_removed,
)
from napari_d2r.metrics._leave_one_out import (
    GainOverLinear,
    gain_over_linear,
    linear_between_neighbours,
)
from napari_d2r.metrics._noise import noise_sigma
from napari_d2r.metrics._pixelwise import (
    PLANES,
    Plane,
    PlaneScores,
    peak_signal_noise_ratio,
    score_plane,
    score_planes,
)
from napari_d2r.metrics._registration import axial_shift
from napari_d2r.metrics._segmentation import (
    Overlap,
    SegmentationScores,
    mask_overlap,
    neuron_overlap,
    segmentation_scores,
)
from napari_d2r.metrics._shells import CONE_HALF_ANGLE, Cone, Steps

__all__ = [
    "CONE_HALF_ANGLE",
    "PLANES",
    "Cone",
    "FSCCurve",
    "GainOverLinear",
    "IntervalShape",
    "Overlap",
    "Plane",
    "PlaneScores",
    "ResolutionCurves",
    "SegmentationScores",
    "Steps",
    "Threshold",
    "axial_shift",
    "coverage",
    "fit_interval_shape",
    "fourier_ring_correlation",
    "fourier_shell_correlation",
    "gain_over_linear",
    "interval_scale",
    "linear_between_neighbours",
    "mask_overlap",
    "neuron_overlap",
    "noise_sigma",
    "peak_signal_noise_ratio",
    "resolution_curve_steps",
    "resolution_curves",
    "ring_correlation_steps",
    "score_plane",
    "score_planes",
    "segmentation_scores",
    "share_removed",
]
