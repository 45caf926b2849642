"""Faster ways to run the same network, each tested on the stack before it is used."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from napari_d2r.errors import explain
from napari_d2r.inference._device import faster_types
from napari_d2r.inference._predictors import AxialPredictor, GapRequest, log2_of

# Root mean square, unit intensity: a quarter of one of 256 grey levels. To an error of 12
# levels, which is 26.5 dB, that adds 0.002 dB.
MAX_CHANGE = 0.25 / 255


class NoVariant(Exception):
    """Plain torch does the work; the message says why, for the reader of a plan."""


class NotServed(NoVariant):
    """Something is missing, or this device or network is not one that the variant serves."""


class StandIn(nn.Module):
    """A network that is run in another way; everything else about it is its own.

    Not every predictor runs the whole of its network at once: ``is_used`` says whether this did.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.is_used = network, False

    def __getattr__(self, name: str) -> Any:
        """What is not found here is the network's: its strides, halos and symmetry."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)


class HalfNetwork(StandIn):
    """A network whose convolutions and products run in 16-bit floats; the rest in float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__(network)
        self.dtype = dtype

    def forward(self, *inputs: Tensor) -> Tensor:
        """As that of the network it stands for, in and out in float32."""
        self.is_used = True
        with torch.autocast(inputs[0].device.type, self.dtype):
            found: Tensor = self.network(*inputs)
        return found.float()


def in_half(full: Any, slabs: Sequence[Tensor], gap: float) -> tuple[AxialPredictor, str]:
    """A predictor in the fastest 16-bit floats that leave the result as it is, and its name.

    Parameters
    ----------
    full
        A predictor of a network, in float32.
    slabs
        (J, H, W) pieces of the stack in unit intensity.
    gap
        Lateral voxels from measured slice to measured slice.

    Raises
    ------
    NotServed
        Where the device is no faster in them, or the predictor does not run its network whole.
    NoVariant
        Where the result would change.
    """
    device = next(full.network.parameters()).device
    types = faster_types(device)
    if not types:
        raise NotServed(f"The {device} device is no faster in 16-bit floats.")
    if device.type == "cuda":
        _channels_last(full.network)
    for dtype in types:
        half = with_network(full, HalfNetwork(full.network, dtype))
        try:
            is_sound = change(full, half, slabs, gap, device) <= MAX_CHANGE
        except RuntimeError:  # an operation that this type does not have
            is_sound = False
        if not half.network.is_used:
            raise NotServed("A model of this kind runs in float32 only.")
        if is_sound:
            return half, f"torch in {str(dtype).removeprefix('torch.')}"
    raise NoVariant(
        "16-bit floats would change the result on this stack, so the model runs in float32."
    )


def with_network(predictor: Any, network: nn.Module) -> Any:
    """The same predictor of another network."""
    other = copy.copy(predictor)
    other.network = network.eval()
    return other


def require_sound(full: Any, slabs: Sequence[Tensor], gap: float) -> None:
    """Compare a predictor on its device with the same on the CPU.

    Raises
    ------
    NoVariant
        Where they differ, or the device cannot run the network at all.
    """
    device = next(full.network.parameters()).device
    on_cpu = with_network(full, copy.deepcopy(full.network).cpu())
    try:
        is_sound = change(on_cpu, full, slabs, gap, device) <= MAX_CHANGE
        reason = "computes another result than the processor"
    except (RuntimeError, NotImplementedError) as error:
        is_sound, reason = False, f"cannot run this model ({explain(error)})"
    if not is_sound:
        raise NoVariant(f"The {device.type} device {reason}; use --device cpu.")


def change(
    first: AxialPredictor,
    second: AxialPredictor,
    slabs: Sequence[Tensor],
    gap: float,
    device: torch.device,
) -> float:
    """Root mean square difference of two predictors; infinite where one is not finite.

    ``first`` runs where its network is, ``second`` on ``device``.
    """
    where = next(first.network.parameters()).device  # type: ignore[attr-defined]
    depths = torch.arange(1, 8)[None] / 8
    squares, count = 0.0, 0
    for slab in slabs:
        request = GapRequest(0, depths.expand(len(slab) - 1, -1), log2_of(gap))
        pair = (first.predict(slab.to(where), request), second.predict(slab.to(device), request))
        difference = pair[0].cpu() - pair[1].cpu()
        squares += float(difference.double().square().sum())
        count += difference.numel()
    rms = (squares / count) ** 0.5
    return rms if rms == rms else float("inf")


def _channels_last(network: nn.Module) -> None:
    """Lay weights out as tensor cores read them; activations follow."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
