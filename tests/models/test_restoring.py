"""Networks that are told to restore measured slices do so, the others return them."""

from __future__ import annotations

import pytest
import torch

from napari_d2r.models import build_network

SMALL = {"widths": [6, 8], "blocks": [1, 1]}
WIDE = {"width": 4}
NETWORKS = {"lateral": SMALL, "aenet-fast": SMALL, "aenet": WIDE, "dgean": WIDE}


@pytest.mark.parametrize("name", NETWORKS)
def test_measured_slices_are_restored_where_that_is_asked_for(name):
    shape = (1, 4, 16) if name == "lateral" else (1, 4, 16, 16)
    slices, ends = torch.rand(shape), torch.tensor([[0.0, 1.0]])
    gap = torch.tensor(3.0) if name == "lateral" else torch.tensor([3.0])
    for restores in (False, True):
        torch.manual_seed(0)
        network = build_network(name, NETWORKS[name] | {"restores_measured": restores}).eval()
        for parameter in network.parameters():
            if not parameter.any():  # heads that begin at zero
                torch.nn.init.normal_(parameter, std=0.1)
        with torch.no_grad():
            out = network(slices, ends, gap)
        bounds = (
            torch.stack([slices[:, :-1], slices[:, 1:]], dim=2)
            if name == "lateral"
            else slices[:, 1:3]
        )
        assert torch.equal(out, bounds) is not restores
