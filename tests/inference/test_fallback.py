"""Damaged gaps are filled by another method, and are no context for the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_d2r.inference import (
    FallbackPredictor,
    GapRequest,
    InterpolationPredictor,
    SequencePredictor,
    log2_of,
)
from napari_d2r.models import build_network

DEPTHS = torch.tensor([0.25, 0.5])


@pytest.fixture(scope="module")
def network() -> SequencePredictor:
    torch.manual_seed(0)
    network = build_network("aenet-fast", {"widths": (8, 8), "blocks": (1, 1)})
    with torch.no_grad():  # a fresh network is linear interpolation
        for tensor in network.parameters():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return SequencePredictor(network)


def request(first: int, count: int, start: int = 0) -> GapRequest:
    return GapRequest(first, DEPTHS.expand(count, -1), log2_of(4), (start, 0, 0))


def test_a_damaged_gap_is_linear_and_the_rest_ends_there(network: SequencePredictor) -> None:
    slab = torch.rand(9, 16, 16)
    walled = FallbackPredictor(network, InterpolationPredictor("linear"), {3, 4})
    found = walled.predict(slab, request(0, 8))

    linear = InterpolationPredictor("linear").predict(slab, request(0, 8))
    assert torch.equal(found[3:5], linear[3:5])
    assert not torch.allclose(found[2], linear[2], atol=1e-3)
    assert torch.equal(found[:3], network.predict(slab[:4], request(0, 3)))
    assert torch.equal(found[5:], network.predict(slab[5:], request(0, 3)))


def test_what_lies_behind_a_wall_changes_nothing(network: SequencePredictor) -> None:
    slab = torch.rand(7, 16, 16)
    spoilt = slab.clone()
    spoilt[3] = 5.0
    walled = FallbackPredictor(network, InterpolationPredictor("linear"), {2, 3})
    before, after = (walled.predict(one, request(0, 6)) for one in (slab, spoilt))
    sound = [0, 1, 4, 5]
    assert torch.equal(before[sound], after[sound])
    assert not torch.equal(before[2:4], after[2:4])


def test_any_slab_gives_the_same(network: SequencePredictor) -> None:
    volume = torch.rand(12, 16, 16)
    walled = FallbackPredictor(network, InterpolationPredictor("linear"), {5})
    whole = walled.predict(volume, request(0, 11))
    for start in range(1, 9):
        slab = volume[start - 1 : start + 3]  # one slice of context on either side
        alone = walled.predict(slab, request(1, 1, start - 1))
        np.testing.assert_array_equal(alone[0], whole[start])
