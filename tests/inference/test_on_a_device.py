"""On a device other than the processor nothing waits in the midst of a prediction.

The device is torch's meta device, which computes nothing, but refuses what is on another one.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from napari_d2r.inference import GapRequest, _predictors, predictor_for
from napari_d2r.models import architecture_named, build_network

SIZES: dict[str, dict[str, Any]] = {
    "aenet": {"width": 4},
    "aenet-fast": {"widths": [6, 8], "blocks": [1, 1]},
    "lateral": {"widths": [6, 8], "blocks": [1, 1]},
}


class Crossings(TorchDispatchMode):
    """Names of the operations in which two devices met, and of the convolutions, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = call(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, found)) if isinstance(t, torch.Tensor)]
        if len({tensor.device for tensor in tensors}) > 1:
            self.names.append("crossing")
        elif "convolution" in str(call) or "conv2d" in str(call):
            self.names.append("convolution")
        return found


@pytest.mark.parametrize("name", SIZES)
def test_depths_go_there_first_and_then_the_device_is_left_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_predictors._PIXELS_AT_ONCE, "meta", 4_000)  # in several parts
    network = build_network(name, SIZES[name]).to("meta")
    predictor = predictor_for(network, architecture_named(name).contract)
    depths = (torch.arange(1, 4) / 4).expand(4, -1)
    with Crossings() as met:
        found = predictor.predict(torch.empty(5, 40, 40, device="meta"), GapRequest(0, depths, 2.0))
    assert found.shape == (4, 3, 40, 40)
    assert found.device.type == "meta"
    assert "convolution" in met.names
    of_one_direction = [name for name in met.names if name == "crossing"]
    assert len(of_one_direction) == (2 if name == "lateral" else 1)  # XZ and YZ, each its depths
    assert met.names[0] == "crossing"
