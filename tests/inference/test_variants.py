"""16-bit floats: used where they are faster and change nothing, else refused in words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_d2r.inference import BlockPredictor, GapRequest, NotServed, _device, _variants
from napari_d2r.inference._variants import HalfNetwork, NoVariant, in_half, require_sound
from napari_d2r.models import build_network

CPU = torch.device("cpu")
REQUEST = GapRequest(0, torch.tensor([[0.25, 0.5, 0.75]]).repeat(4, 1), 2.0)


@pytest.fixture
def slab() -> torch.Tensor:
    return torch.rand(5, 40, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_variants, "faster_types", lambda _: (torch.bfloat16,))


@pytest.fixture
def calm(regressor):
    """Random weights exaggerate: a trained residual is a few grey levels."""
    with torch.no_grad():
        regressor.network.head.generate.weight.mul_(0.02)
        regressor.network.head.generate.bias.mul_(0.02)
    return regressor


@pytest.mark.usefixtures("has_bfloat16")
def test_half_is_close_but_not_equal_and_returns_float32(calm, slab):
    half, name = in_half(calm, [slab], 4)
    assert name == "torch in bfloat16"
    assert half.halo == calm.halo
    found, full = half.predict(slab, REQUEST), calm.predict(slab, REQUEST)
    assert found.dtype is torch.float32
    assert 0 < (found - full).abs().max() < 4 * _variants.MAX_CHANGE


@pytest.mark.usefixtures("has_bfloat16")
def test_where_the_result_would_change_float32_goes_on(regressor, slab):
    with torch.no_grad():
        regressor.network.head.generate.weight.mul_(100)
    with pytest.raises(NoVariant, match="16-bit floats would change the result"):
        in_half(regressor, [slab], 4)


@pytest.mark.usefixtures("has_bfloat16")
def test_not_a_number_is_a_change(calm, slab, monkeypatch):
    monkeypatch.setattr(HalfNetwork, "forward", lambda self, *x: self.network(*x) * torch.nan)
    with pytest.raises(NoVariant):
        in_half(calm, [slab], 4)


def test_a_device_that_is_no_faster_is_told(calm, slab, monkeypatch):
    monkeypatch.setattr(_variants, "faster_types", lambda _: ())
    with pytest.raises(NotServed, match="no faster in 16-bit floats"):
        in_half(calm, [slab], 4)


@pytest.mark.usefixtures("has_bfloat16")
def test_a_predictor_that_takes_its_network_to_pieces_stays_in_float32(slab):
    blocks = BlockPredictor(build_network("srunet", {"factor": 4, "widths": [3, 4, 4]}))
    with pytest.raises(NotServed, match="float32 only"):
        in_half(blocks, [slab], 4)


@pytest.mark.parametrize(
    ("seconds", "faster"),
    [
        ({torch.float32: 1, torch.bfloat16: 0.5, torch.float16: 9}, (torch.bfloat16,)),
        ({torch.float32: 1, torch.bfloat16: 300, torch.float16: 300}, ()),  # emulated
        ({torch.float32: 1, torch.bfloat16: 0.9, torch.float16: 0.9}, ()),
    ],
)
def test_types_are_known_by_their_speed(seconds, faster, monkeypatch):
    monkeypatch.setattr(_device, "_known", {})
    monkeypatch.setattr(_device, "_product_seconds", lambda _, dtype: seconds[dtype])
    assert _device.faster_types(CPU) == faster


def test_a_device_that_agrees_with_the_processor_is_sound(calm, slab):
    require_sound(calm, [slab], 4)


class Elsewhere(nn.Module):
    """A network on a device that adds something; its copy on the processor does not."""

    def __init__(self, network: nn.Module, error: Exception | None = None) -> None:
        super().__init__()
        self.network, self.error = network, error

    def __deepcopy__(self, memo: object) -> nn.Module:
        return self.network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        if self.error is not None:
            raise self.error
        return self.network(*inputs) + 0.01


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (None, r"computes another result than the processor; use --device cpu\."),
        (NotImplementedError("no conv3d"), "cannot run this model"),
    ],
)
def test_a_device_that_errs_is_refused(calm, slab, error, words):
    calm.network = Elsewhere(calm.network, error)
    with pytest.raises(NoVariant, match=words):
        require_sound(calm, [slab], 4)


def test_channels_last_changes_no_voxel(calm, slab):
    before = calm.predict(slab, REQUEST)
    _variants._channels_last(calm.network)
    torch.testing.assert_close(calm.predict(slab, REQUEST), before, rtol=0, atol=1e-5)
