"""SRUNet as a predictor: upright and upside down, whole factors and depths between them."""

from __future__ import annotations

import pytest
import torch

from napari_d2r.inference import BlockPredictor, GapRequest, _blocks, log2_of
from napari_d2r.models import SRUNet, SRUNetConfig


def network(factor: int = 4) -> SRUNet:
    torch.manual_seed(0)
    made = SRUNet(SRUNetConfig(factor=factor, widths=(3, 4, 4)))
    torch.nn.init.normal_(made.head.weight, std=0.3)
    return made


def request(first: int, count: int, factor: int = 4) -> GapRequest:
    depths = (torch.arange(1, factor) / factor).expand(count, -1)
    return GapRequest(first, depths, log2_of(factor))


def test_a_gap_is_the_mean_of_both_ways_up():
    predictor, slab = BlockPredictor(network()), torch.rand(6, 16, 17)
    found = predictor.predict(slab, request(1, 3))
    with torch.no_grad():
        upright = predictor.network(slab[None])[0]
        mirrored = predictor.network(slab.flip(0)[None])[0].flip(0, 1)
    torch.testing.assert_close(found, ((upright + mirrored) / 2)[1:4])
    turned = predictor.predict(slab.flip(0), request(1, 3)).flip(0, 1)
    torch.testing.assert_close(turned, found)


@pytest.mark.parametrize("factor", [3, 4])
def test_other_depths_lie_on_lines_between_those_it_knows(factor):
    predictor, slab = BlockPredictor(network(factor)), torch.rand(4, 8, 8)
    known = predictor.predict(slab, request(0, 3, factor))
    wanted = torch.tensor([[0.5 / factor, 1 / factor, 1.5 / factor, 1 - 0.25 / factor]])
    found = predictor.predict(slab, GapRequest(1, wanted, log2_of(factor)))[0]
    expected = [
        (slab[1] + known[1, 0]) / 2,
        known[1, 0],
        (known[1, 0] + known[1, 1]) / 2,
        0.25 * known[1, -1] + 0.75 * slab[2],
    ]
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-5)


def test_parts_equal_the_whole(monkeypatch):
    predictor, slab = BlockPredictor(network()), torch.rand(15, 8, 8)
    whole = predictor.predict(slab, request(0, 14))
    monkeypatch.setattr(
        _blocks, "_PIXELS_AT_ONCE", 8 * 8 * (2 * predictor.network.decoder_halo + 3)
    )
    calls, decode = [], predictor.network.decode

    def counted(slices, features):
        calls.append(slices.shape[1])
        return decode(slices, features)

    monkeypatch.setattr(predictor.network, "decode", counted)
    torch.testing.assert_close(predictor.predict(slab, request(0, 14)), whole, rtol=0, atol=1e-6)
    assert len(calls) == 10  # three gaps at a time, both ways up
