"""Filling gaps: predictors, and the sliding window that carries them over a volume."""

from napari_d2r.inference._diffusion import DiffusionPredictor
from napari_d2r.inference._factory import predictor_for
from napari_d2r.inference._eight_bits import (
    EightBits,
    NotInEightBits,
    NotServed,
    in_eight_bits,
    sample_slabs,
)
from napari_d2r.inference._judge import leave_one_out, measure_halo
from napari_d2r.inference._memory import fill_in_parts, is_out_of_memory
from napari_d2r.inference._plan import CHUNK, ShardPlan, choose_shard, measure_rate
from napari_d2r.inference._predictors import (
    AxialPredictor,
    GapRequest,
    Halo,
    InterpolationPredictor,
    Interrupted,
    LateralPredictor,
    SequencePredictor,
    log2_of,
)
from napari_d2r.inference._slice import predict_slice
from napari_d2r.inference._window import Box, fill_shard

__all__ = [
    "CHUNK",
    "AxialPredictor",
    "Box",
    "DiffusionPredictor",
    "GapRequest",
    "Halo",
    "EightBits",
    "InterpolationPredictor",
    "Interrupted",
    "LateralPredictor",
    "SequencePredictor",
    "ShardPlan",
    "NotInEightBits",
    "NotServed",
    "choose_shard",
    "fill_in_parts",
    "fill_shard",
    "is_out_of_memory",
    "leave_one_out",
    "in_eight_bits",
    "log2_of",
    "measure_halo",
    "measure_rate",
    "predict_slice",
    "predictor_for",
]
    "sample_slabs",
