"""From a network to the predictor that feeds it."""

from __future__ import annotations

from typing import Literal

from torch import nn

from napari_d2r.checkpoints import HaloCard
from napari_d2r.inference._blocks import BlockPredictor
from napari_d2r.inference._diffusion import DiffusionPredictor
from napari_d2r.inference._predictors import AxialPredictor, LateralPredictor, SequencePredictor
from napari_d2r.jobs import SamplerSettings
from napari_d2r.models import Contract, SRUNet


def predictor_for(
    network: nn.Module,
    contract: Contract,
    *,
    halo: HaloCard | None = None,
    prediction: Literal["x0", "noise"] = "x0",
    sampler: SamplerSettings | None = None,
    seed: int = 0,
) -> AxialPredictor:
    """The predictor that feeds a network as its contract says."""
    if contract == "denoiser":
        return DiffusionPredictor(network, sampler or SamplerSettings(), prediction, seed, halo)
    if contract == "rows":
        return LateralPredictor(network, halo)
    if contract == "blocks":
        assert isinstance(network, SRUNet)
        return BlockPredictor(network, halo)
    return SequencePredictor(network, halo)
