"""Filling gaps: predictors, and the sliding window that carries them over a volume."""

from napari_d2r.inference._blocks import BlockPredictor
from napari_d2r.inference._channels import OfOneSlab, SideBySide
from napari_d2r.inference._compiled import compiled
from napari_d2r.inference._ddnm import DDNMPredictor
from napari_d2r.inference._device import faster_types, synchronize
from napari_d2r.inference._diffusion import DiffusionPredictor
from napari_d2r.inference._eight_bits import (
    EightBits,
    in_eight_bits,
    sample_slabs,
)
from napari_d2r.inference._factory import PREDICTORS, Feeding, predictor_for, predictor_of
from napari_d2r.inference._fallback import FallbackPredictor
from napari_d2r.inference._intervals import (
    LINEAR_FEATURES,
    IntervalPredictor,
    calibrate,
    interval_features,
)
from napari_d2r.inference._judge import leave_one_out, measure_halo
from napari_d2r.inference._learn_intervals import learn_uncertainty, seen_at_gap
from napari_d2r.inference._masked import MaskedDiffusionPredictor, MaskedPredictor
from napari_d2r.inference._measured_again import measured_again
from napari_d2r.inference._memory import fill_in_parts, is_out_of_memory
from napari_d2r.inference._midpoint import MidpointDiffusionPredictor, MidpointPredictor
from napari_d2r.inference._plan import CHUNK, ShardPlan, choose_shard, fastest_shard, measure_rate
from napari_d2r.inference._portable import PORTABLE, as_torchscript, example_of
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
from napari_d2r.inference._rounding import to_stored
from napari_d2r.inference._slice import predict_slice
from napari_d2r.inference._variants import NotServed, NoVariant, in_half, require_sound
from napari_d2r.inference._window import Box, begin_shard, fill_shard
from napari_d2r.inference._workers import share_out

__all__ = [
    "CHUNK",
    "LINEAR_FEATURES",
    "PORTABLE",
    "PREDICTORS",
    "AxialPredictor",
    "BlockPredictor",
    "Box",
    "DDNMPredictor",
    "DiffusionPredictor",
    "EightBits",
    "FallbackPredictor",
    "Feeding",
    "GapRequest",
    "Halo",
    "InterpolationPredictor",
    "Interrupted",
    "IntervalPredictor",
    "LateralPredictor",
    "MaskedDiffusionPredictor",
    "MaskedPredictor",
    "MidpointDiffusionPredictor",
    "MidpointPredictor",
    "NoVariant",
    "NotServed",
    "OfOneSlab",
    "SequencePredictor",
    "ShardPlan",
    "SideBySide",
    "as_torchscript",
    "begin_shard",
    "calibrate",
    "choose_shard",
    "compiled",
    "example_of",
    "faster_types",
    "fastest_shard",
    "fill_in_parts",
    "fill_shard",
    "in_eight_bits",
    "in_half",
    "interval_features",
    "is_out_of_memory",
    "learn_uncertainty",
    "leave_one_out",
    "log2_of",
    "measure_halo",
    "measure_rate",
    "measured_again",
    "predict_slice",
    "predictor_for",
    "predictor_of",
    "require_sound",
    "sample_slabs",
    "seen_at_gap",
    "share_out",
    "synchronize",
    "to_stored",
]
