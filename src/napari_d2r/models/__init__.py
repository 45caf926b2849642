"""Networks: pure torch, one file each with its config, and the closed registry of names."""

from napari_d2r.models._depth import (
    DepthEmbedding,
    DepthHead,
    interleave_rows,
    linear_base,
    linear_rows,
)
from napari_d2r.models._pooling import GlobalPool
from napari_d2r.models._precision import has_bfloat16, training_type
from napari_d2r.models._registry import (
    ARCHITECTURES,
    LATERAL,
    OF_CHANNELS,
    SAMPLED,
    UNEVEN,
    Architecture,
    Contract,
    architecture_named,
    build_network,
    describe_config,
)
from napari_d2r.models.aenet import AENet, AENetConfig
from napari_d2r.models.aenet_fast import AENetFast, AENetFastConfig
from napari_d2r.models.care_unet import CareUNet, CareUNetConfig
from napari_d2r.models.lateral import LateralNet, LateralNetConfig
from napari_d2r.models.midpoint import MidpointConfig, MidpointDenoiserConfig, midpoint
from napari_d2r.models.nafnet import ConditionalNAFNet, NAFNetConfig
from napari_d2r.models.srunet import SRUNet, SRUNetConfig
from napari_d2r.models.time_unet import TimeUNet, TimeUNetConfig

__all__ = [
    "ARCHITECTURES",
    "LATERAL",
    "OF_CHANNELS",
    "SAMPLED",
    "UNEVEN",
    "AENet",
    "AENetConfig",
    "AENetFast",
    "AENetFastConfig",
    "Architecture",
    "CareUNet",
    "CareUNetConfig",
    "ConditionalNAFNet",
    "Contract",
    "DepthEmbedding",
    "DepthHead",
    "GlobalPool",
    "LateralNet",
    "LateralNetConfig",
    "MidpointConfig",
    "MidpointDenoiserConfig",
    "NAFNetConfig",
    "SRUNet",
    "SRUNetConfig",
    "TimeUNet",
    "TimeUNetConfig",
    "architecture_named",
    "build_network",
    "describe_config",
    "has_bfloat16",
    "interleave_rows",
    "linear_base",
    "linear_rows",
    "midpoint",
    "training_type",
]
