"""From a network to the predictor that feeds it, by the contract of the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from napari_d2r.checkpoints import HaloCard, Model
from napari_d2r.inference._blocks import BlockPredictor
from napari_d2r.inference._ddnm import DDNMPredictor
from napari_d2r.inference._diffusion import DiffusionPredictor
from napari_d2r.inference._masked import MaskedDiffusionPredictor, MaskedPredictor
from napari_d2r.inference._midpoint import MidpointDiffusionPredictor, MidpointPredictor
from napari_d2r.inference._predictors import AxialPredictor, LateralPredictor, SequencePredictor
from napari_d2r.jobs import SamplerSettings
from napari_d2r.models import Contract, architecture_named
from napari_d2r.volumes import Degradation


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeding:
    """What a predictor may want to know beside its network; defaults as in a model card."""

    halo: HaloCard | None = None
    gap: float = 2.0  # narrower ones see less than the network reaches, where no halo is given
    prediction: Literal["x0", "noise"] = "x0"
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    seed: int = 0
    degradation: Degradation = field(default_factory=Degradation)
    base: AxialPredictor | None = None  # whose prediction a denoiser refines


# One line per contract; a network is any of those that the registry gives that contract.
PREDICTORS: Mapping[Contract, Callable[[Any, Feeding], AxialPredictor]] = {
    "rows": lambda network, how: LateralPredictor(network, how.halo, how.sampler.direction),
    "sequence": lambda network, how: SequencePredictor(network, how.halo),
    "blocks": lambda network, how: BlockPredictor(network, how.halo),
    "denoiser": lambda network, how: DiffusionPredictor(
        network,
        how.sampler,
        how.prediction,
        how.seed,
        how.halo,
        how.degradation,
        how.base,
    ),
    "unconditional": lambda network, how: DDNMPredictor(
        network, how.sampler, how.degradation, how.seed, how.halo, how.gap
    ),
    "masked": lambda network, how: MaskedPredictor(
        network, how.seed, how.halo, how.gap, how.sampler.direction
    ),
    "masked-denoiser": lambda network, how: MaskedDiffusionPredictor(
        network, how.sampler, how.seed, how.halo, how.gap
    ),
    "midpoint": lambda network, how: MidpointPredictor(network, how.halo),
    "midpoint-denoiser": lambda network, how: MidpointDiffusionPredictor(
        network, how.sampler, how.seed, how.halo
    ),
}


def predictor_for(
    network: nn.Module, contract: Contract, how: Feeding | None = None
) -> AxialPredictor:
    """The predictor that feeds a network as its contract says."""
    return PREDICTORS[contract](network, how or Feeding())


def predictor_of(
    model: Model,
    seed: int = 0,
    sampler: SamplerSettings | None = None,
    base: AxialPredictor | None = None,
) -> AxialPredictor:
    """The predictor of a model as its card describes it, but for another ``sampler`` if given."""
    card = model.card
    how = Feeding(
        halo=card.halo,
        prediction=card.prediction,
        sampler=sampler or card.sampler or SamplerSettings(),
        seed=seed,
        degradation=card.degradation.value,
        base=base,
    )
    return predictor_for(model.network, architecture_named(card.architecture).contract, how)
