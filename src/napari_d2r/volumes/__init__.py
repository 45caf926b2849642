"""What is processed: volumes, voxel sizes, intensity, axial geometry. numpy only."""

from napari_d2r.volumes._axial import (
    MAX_FACTOR,
    MIN_FACTOR,
    AxialGrid,
    Interpolation,
    Widths,
    interpolate_axial,
    resolve_factor,
    resolve_gap,
    to_dtype,
)
from napari_d2r.volumes._crop import crop
from napari_d2r.volumes._degradation import Degradation, DegradationKind, weighted_mean
from napari_d2r.volumes._intensity import (
    HIGH_PERCENTILE,
    LOW_PERCENTILE,
    ChannelRanges,
    IntensityRange,
    require_finite,
)
from napari_d2r.volumes._uneven import axial_positions, uneven_grid
from napari_d2r.volumes._volume import (
    MIN_SLICES,
    SUPPORTED_DTYPES,
    ArrayLike,
    Volume,
    VoxelSize,
    centred_box,
)

__all__ = [
    "HIGH_PERCENTILE",
    "LOW_PERCENTILE",
    "MAX_FACTOR",
    "MIN_FACTOR",
    "MIN_SLICES",
    "SUPPORTED_DTYPES",
    "ArrayLike",
    "AxialGrid",
    "ChannelRanges",
    "Degradation",
    "DegradationKind",
    "IntensityRange",
    "Interpolation",
    "Volume",
    "VoxelSize",
    "Widths",
    "axial_positions",
    "centred_box",
    "crop",
    "interpolate_axial",
    "require_finite",
    "resolve_factor",
    "resolve_gap",
    "to_dtype",
    "uneven_grid",
    "weighted_mean",
]
