"""XZ slices, YZ slices or the mean of both; and a prediction that diffusion refines."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from napari_d2r.inference import (
    AxialPredictor,
    DDNMPredictor,
    DiffusionPredictor,
    GapRequest,
    InterpolationPredictor,
    LateralPredictor,
    MaskedDiffusionPredictor,
    MaskedPredictor,
)
from napari_d2r.jobs import DDNMSettings, SamplerSettings
from napari_d2r.models import build_network

DEPTHS = torch.tensor([0.25, 0.5, 0.75])
REQUEST = GapRequest(0, DEPTHS.expand(4, -1), 2.0)
FAST = {
    "steps": 1,
    "ddnm": DDNMSettings(encode_steps=1, first_steps=1),
    "shared_noise": False,
}


def network(name: str, options: dict[str, object]) -> torch.nn.Module:
    torch.manual_seed(0)
    made = build_network(name, options)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    return made


SMALL = {"width": 4, "multipliers": [1, 2], "blocks": 1}
MADE: dict[str, Callable[[SamplerSettings], AxialPredictor]] = {
    "rows": lambda how: LateralPredictor(
        network("lateral", {"widths": [6, 8], "blocks": [1, 1]}), direction=how.direction
    ),
    "denoiser": lambda how: DiffusionPredictor(
        network("nafnet", {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]}), how
    ),
    "unconditional": lambda how: DDNMPredictor(network("ddpm-unet", SMALL), how),
    "masked": lambda how: MaskedPredictor(network("ms-unet", SMALL), direction=how.direction),
    "masked-denoiser": lambda how: MaskedDiffusionPredictor(network("msdsr-unet", SMALL), how),
}


@pytest.mark.parametrize("contract", MADE)
def test_one_direction_or_the_mean_of_both(contract: str) -> None:
    slab = torch.rand(5, 16, 24, generator=torch.Generator().manual_seed(1))
    found = {
        direction: MADE[contract](SamplerSettings(direction=direction, **FAST)).predict(
            slab, REQUEST
        )
        for direction in ("xz", "yz", "mean")
    }
    torch.testing.assert_close(found["mean"], (found["xz"] + found["yz"]) / 2)
    assert not torch.allclose(found["xz"], found["yz"], atol=1e-3)


@pytest.mark.parametrize("contract", [name for name in MADE if name != "unconditional"])
def test_a_slice_of_one_direction_is_restored_by_itself(contract: str) -> None:
    """Chains excepted, whose slices follow from each other."""
    slab = torch.rand(5, 16, 24, generator=torch.Generator().manual_seed(1))
    for direction, first in (("xz", (slice(None), slice(0, 1))), ("yz", (..., slice(0, 1)))):
        predictor = MADE[contract](SamplerSettings(direction=direction, **FAST))
        changed = slab.clone()
        changed[first] = 1 - changed[first]
        before, after = (predictor.predict(one, REQUEST) for one in (slab, changed))
        differs = (before - after).abs().amax(dim=(0, 1, 3) if direction == "xz" else (0, 1, 2))
        assert float(differs[0]) > 1e-3
        assert float(differs[1:].max()) < 1e-6


class Trusting(torch.nn.Module):
    """A denoiser that takes the state for the clean slice: what it is given, it leaves."""

    halo, stride = 0, 1

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return x[:, :1]


def test_a_refinement_begins_with_the_prediction_it_refines() -> None:
    slab = torch.rand(5, 16, 24, generator=torch.Generator().manual_seed(1))
    base = InterpolationPredictor("nearest")
    expected = base.predict(slab, REQUEST)
    linear = InterpolationPredictor("linear").predict(slab, REQUEST)
    for solver in ("dpm++", "ddim", "posterior", "reverse_sde"):
        late = SamplerSettings(solver=solver, steps=1, start=1)  # next to no noise
        refined = DiffusionPredictor(Trusting(), late, base=base).predict(slab, REQUEST)
        alone = DiffusionPredictor(Trusting(), late).predict(slab, REQUEST)
        torch.testing.assert_close(refined, expected, rtol=0, atol=0.03)
        torch.testing.assert_close(alone, linear, rtol=0, atol=0.03)
    assert float((expected - linear).abs().max()) > 0.2


def test_a_refinement_reads_as_far_as_both() -> None:
    base = LateralPredictor(network("lateral", {"widths": [6, 8], "blocks": [1, 1]}))
    denoiser = network("nafnet", {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]})
    alone = DiffusionPredictor(denoiser, SamplerSettings(start=30)).halo
    both = DiffusionPredictor(denoiser, SamplerSettings(start=30), base=base).halo
    assert both.lateral == alone.lateral + base.halo.lateral
    assert both.slices == alone.slices + base.halo.slices
    assert both.stride % alone.stride == both.stride % base.halo.stride == 0
