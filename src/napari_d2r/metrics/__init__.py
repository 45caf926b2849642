"""Numbers about volumes: array in, number or curve out. numpy, scipy and scikit-image only."""

from napari_d2r.metrics._ceiling import attainable_ssim, axial_noise_sigma
from napari_d2r.metrics._curve import FSCCurve, Threshold
from napari_d2r.metrics._fsc import (
    ResolutionCurves,
    fourier_ring_correlation,
    fourier_shell_correlation,
    resolution_curve_steps,
    resolution_curves,
    ring_correlation_steps,
)
from napari_d2r.metrics._inserted import (
    DepthScores,
    InsertedScores,
    Interval,
    gain_interval,
    psnr_interval,
    score_inserted,
    ssim_interval,
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
from napari_d2r.metrics._micro_ssim import MicroSSIM, micro_ssim
from napari_d2r.metrics._multiscale import multiscale_ssim
from napari_d2r.metrics._noise import noise_sigma
from napari_d2r.metrics._one_volume import one_volume_curve_steps
from napari_d2r.metrics._perceptual import (
    Extractor,
    Perception,
    SliceFID,
    feature_distance,
    frechet_distance,
    slice_distance,
    slice_fid,
)
from napari_d2r.metrics._pixelwise import (
    PLANES,
    Plane,
    PlaneScores,
    peak_signal_noise_ratio,
    score_plane,
    score_planes,
)
from napari_d2r.metrics._pulsing import Pulsing, pulsing
from napari_d2r.metrics._registration import axial_shift
from napari_d2r.metrics._scanning import PATCH, STRIDE, PatchScan, scan_patches
from napari_d2r.metrics._segmentation import (
    Overlap,
    SegmentationScores,
    mask_overlap,
    neuron_overlap,
    segmentation_scores,
)
from napari_d2r.metrics._shells import CONE_HALF_ANGLE, Cone, Steps
from napari_d2r.metrics._spectra import PlaneSpectra, plane_spectra

__all__ = [
    "CONE_HALF_ANGLE",
    "PATCH",
    "PLANES",
    "STRIDE",
    "Cone",
    "DepthScores",
    "Extractor",
    "FSCCurve",
    "GainOverLinear",
    "InsertedScores",
    "Interval",
    "IntervalShape",
    "MicroSSIM",
    "Overlap",
    "PatchScan",
    "Perception",
    "Plane",
    "PlaneScores",
    "PlaneSpectra",
    "Pulsing",
    "ResolutionCurves",
    "SegmentationScores",
    "SliceFID",
    "Steps",
    "Threshold",
    "attainable_ssim",
    "axial_noise_sigma",
    "axial_shift",
    "coverage",
    "feature_distance",
    "fit_interval_shape",
    "fourier_ring_correlation",
    "fourier_shell_correlation",
    "frechet_distance",
    "gain_interval",
    "gain_over_linear",
    "interval_scale",
    "linear_between_neighbours",
    "mask_overlap",
    "micro_ssim",
    "multiscale_ssim",
    "neuron_overlap",
    "noise_sigma",
    "one_volume_curve_steps",
    "peak_signal_noise_ratio",
    "plane_spectra",
    "psnr_interval",
    "pulsing",
    "resolution_curve_steps",
    "resolution_curves",
    "ring_correlation_steps",
    "scan_patches",
    "score_inserted",
    "score_plane",
    "score_planes",
    "segmentation_scores",
    "share_removed",
    "slice_distance",
    "slice_fid",
    "ssim_interval",
]
