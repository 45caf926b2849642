"""Small predictors with random weights that are large enough to be seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from napari_d2r.checkpoints import HaloCard
from napari_d2r.inference import (
    AxialPredictor,
    BlockPredictor,
    DiffusionPredictor,
    LateralPredictor,
    MaskedDiffusionPredictor,
    MaskedPredictor,
    MidpointDiffusionPredictor,
    MidpointPredictor,
    SequencePredictor,
)
from napari_d2r.jobs import SamplerSettings
from napari_d2r.models import build_network

SMALL = {"widths": [6, 8], "blocks": [1, 1]}


def _regressor(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = build_network(name, SMALL)
    nn.init.normal_(network.head.generate.weight, std=0.2)
    nn.init.normal_(network.head.generate.bias, std=0.2)
    return network


def _denoiser() -> nn.Module:
    """One level, residual scales opened and channel means frozen, as after training."""
    torch.manual_seed(0)
    network = build_network("nafnet", {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]})
    for name, parameter in network.named_parameters():
        if name.endswith(("beta", "gamma")):
            nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        network.train()(torch.rand(20, 2, 16, 16), torch.linspace(1, 100, 20))
    return network


def _diffusion(steps: int = 1, shared: bool = False) -> DiffusionPredictor:
    """Its exact halo: every step looks as far as the network does."""
    network = _denoiser()
    sampler = SamplerSettings(steps=steps, shared_noise=shared)
    reach = steps * int(network.halo)
    return DiffusionPredictor(network, sampler, halo=HaloCard(slices=reach // 2 + 1, lateral=reach))


def _refined() -> DiffusionPredictor:
    """One late step, from what another network predicts."""
    network, base = _denoiser(), SequencePredictor(_regressor("aenet-fast"))
    reach = int(network.halo)
    halo = HaloCard(slices=reach // 2 + 1, lateral=reach)
    sampler = SamplerSettings(steps=1, start=30)
    return DiffusionPredictor(network, sampler, halo=halo, base=base)


def _blocks() -> BlockPredictor:
    torch.manual_seed(0)
    network = build_network("srunet", {"factor": 4, "widths": [3, 4, 4]})
    nn.init.normal_(network.head.weight, std=0.3)
    return BlockPredictor(network)


def _u_net(name: str, levels: int = 2) -> nn.Module:
    torch.manual_seed(0)
    multipliers = [1, 2][:levels]
    network = build_network(name, {"width": 4, "multipliers": multipliers, "blocks": 1})
    nn.init.normal_(network.ending.weight, std=0.2)
    return network


def _masked_diffusion() -> MaskedDiffusionPredictor:
    """Two steps, noise of its own for every slice, with the exact halo."""
    network = _u_net("msdsr-unet", levels=1)
    reach = 2 * int(network.halo)
    halo = HaloCard(slices=reach // 2 + 1, lateral=reach)
    return MaskedDiffusionPredictor(
        network, SamplerSettings(steps=2, eta=1, shared_noise=False), halo=halo
    )


def _midpoint_diffusion() -> MidpointDiffusionPredictor:
    """Two steps in each of two halvings, with the exact halo."""
    network = _u_net("emdiffuse-unet", levels=1)
    halo = HaloCard(slices=0, lateral=4 * int(network.halo))
    return MidpointDiffusionPredictor(
        network, SamplerSettings(steps=2, eta=1, shared_noise=False), halo=halo
    )


MAKERS: dict[str, Callable[[], AxialPredictor]] = {
    "lateral": lambda: LateralPredictor(_regressor("lateral")),
    "sequence": lambda: SequencePredictor(_regressor("aenet-fast")),
    "blocks": _blocks,
    "diffusion, one step": _diffusion,
    "diffusion, refining": _refined,
    "diffusion, two steps": lambda: _diffusion(steps=2, shared=True),
    "masked": lambda: MaskedPredictor(_u_net("ms-unet")),
    "masked, diffusion": _masked_diffusion,
    "midpoint": lambda: MidpointPredictor(_u_net("e2e-unet")),
    "midpoint, diffusion": _midpoint_diffusion,
}


@pytest.fixture(params=MAKERS)
def predictor(request: pytest.FixtureRequest) -> AxialPredictor:
    """Every kind of network, with the halo that is exact for it."""
    return MAKERS[request.param]()


@pytest.fixture(params=["lateral", "sequence"])
def regressor(request: pytest.FixtureRequest) -> AxialPredictor:
    """The deterministic ones."""
    return MAKERS[request.param]()


@pytest.fixture(scope="session")
def lateral() -> LateralPredictor:
    """The one that restores XZ and YZ slices."""
    return LateralPredictor(_regressor("lateral"))


@pytest.fixture
def diffusion() -> DiffusionPredictor:
    """Two steps, noise of its own for every slice."""
    return _diffusion(steps=2)
