"""One interface for every method that fills the gaps between measured slices.

A predictor gets a slab of measured slices in unit intensity, the gaps wanted and the
depths within each, and returns the slices in those gaps. It does not know where the slab
came from, so a shard, a whole stack and a leave-one-out test call it alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_d2r.checkpoints import HaloCard
from napari_d2r.inference._directions import Origin, in_directions
from napari_d2r.inference._transfer import to_device
from napari_d2r.inference._workers import share_out
from napari_d2r.jobs import CancelToken, Direction
from napari_d2r.volumes import Interpolation, Widths, interpolate_axial

NUM_SLICES = 4  # that a network of AENet's contract sees
# Columns of activations computed at once: bounds memory and the time to honour a cancel.
_PIXELS_AT_ONCE = {"cpu": 40_000, "cuda": 8_000_000, "mps": 1_000_000}


class Interrupted(Exception):
    """Raised inside a prediction when its cancel token is set."""


@dataclass(frozen=True, slots=True)
class Halo:
    """Context that a predictor needs around what it predicts.

    ``slices`` beyond the two that bound a gap, ``lateral`` pixels on every side, and the
    ``stride`` (pixels) and ``slice_stride`` that tile origins must be multiples of.
    """

    slices: int = 0
    lateral: int = 0
    stride: int = 1
    slice_stride: int = 1

    def beyond(self, other: Halo) -> Halo:
        """What a method needs that reads the predictions of another."""
        return Halo(
            self.slices + other.slices,
            self.lateral + other.lateral,
            math.lcm(self.stride, other.stride),
            math.lcm(self.slice_stride, other.slice_stride),
        )


@dataclass(frozen=True, slots=True, eq=False)
class GapRequest:
    """Gaps ``first`` .. ``first + G - 1`` of a slab, and ``depths`` (G, D) in each.

    ``origin`` is where the slab stands in its volume (measured slice, y, x), for methods
    that key their noise by position. ``widths`` of all gaps of the slab, in lateral voxels, are
    given where they differ; ``log2_gap`` is that of their mean in the volume then.
    """

    first: int
    depths: Tensor
    log2_gap: float
    origin: tuple[int, int, int] = (0, 0, 0)
    widths: Widths | None = None

    def log2_gaps(self, num_slices: int, device: torch.device) -> Tensor:
        """Of each gap of a slab of so many slices: (J - 1,)."""
        if self.widths is None:  # made there: nothing crosses over
            return torch.full((num_slices - 1,), self.log2_gap, device=device)
        return to_device(torch.tensor([log2_of(width) for width in self.widths]), device)


class AxialPredictor(Protocol):
    """A method that fills gaps."""

    @property
    def halo(self) -> Halo:
        """What must surround a tile for it to equal the whole."""
        ...

    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """``slab`` (J, H, W) -> (G, D, H, W), unit intensity, on the slab's device."""
        ...


class InterpolationPredictor:
    """Nearest, linear or cubic: the baselines, through the same door as the networks."""

    def __init__(self, kind: Interpolation) -> None:
        self.kind = kind
        self.halo = Halo(slices=1 if kind == "cubic" else 0)

    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """Interpolate on the CPU in float32."""
        gaps = torch.arange(len(request.depths), dtype=torch.float64) + request.first
        positions: NDArray[np.float64] = (gaps[:, None] + request.depths.double().cpu()).numpy()
        filled = interpolate_axial(slab.cpu().numpy(), positions.ravel(), self.kind, request.widths)
        return torch.from_numpy(filled).reshape(*positions.shape, *slab.shape[1:]).to(slab)


class SequencePredictor:
    """Networks of AENet's contract: four slices and depths in, slices out.

    A network that is not symmetric by construction predicts each gap as it stands and
    upside down, and the average counts: if it leans to one side along z, it leans the other
    way there.
    """

    def __init__(self, network: nn.Module, halo: HaloCard | None = None) -> None:
        self.network = network.eval()
        self._is_symmetric = bool(getattr(network, "is_symmetric", False))
        lateral = halo.lateral if halo else int(network.lateral_halo)  # type: ignore[arg-type]
        self.halo = Halo(1, lateral, int(network.lateral_stride))  # type: ignore[arg-type]

    @torch.inference_mode()
    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """On the CPU one gap per core, elsewhere as many at once as fit.

        Outer slices are replicated at the ends of the slab.
        """
        device = slab.device  # where indices are made too: nothing waits for the processor
        all_depths = to_device(request.depths.to(slab.dtype), device)
        log2_gaps = request.log2_gaps(len(slab), device)

        def fill(offsets: Tensor) -> Tensor:
            stop_if_asked(cancel)
            around = torch.arange(-1, NUM_SLICES - 1, device=device)
            taps = (request.first + offsets[:, None] + around).clamp(0, len(slab) - 1)
            slices, depths = slab[taps], all_depths[offsets]
            log2_gap = log2_gaps[request.first + offsets]
            if not self._is_symmetric:
                slices = torch.cat([slices, slices.flip(1)])
                depths = torch.cat([depths, 1 - depths])
                log2_gap = torch.cat([log2_gap, log2_gap])
            filled: Tensor = self.network(slices, depths, log2_gap)
            if self._is_symmetric:
                return filled
            upright, upside_down = filled.chunk(2)
            return (upright + upside_down) / 2

        at_once = 1 if device.type == "cpu" else pixels_at_once(device)
        gaps = torch.arange(len(all_depths), device=device)
        parts = gaps.split(max(1, at_once // slab[0].numel()))
        return torch.cat(share_out(fill, parts, device))


class LateralPredictor:
    """A row network applied to XZ slices, to YZ slices, and averaged, or to one of them.

    YZ slices are restored upside down: a network that leans to one side along z leans
    the other way there, and the average stands where it should.
    """

    def __init__(
        self,
        network: nn.Module,
        halo: HaloCard | None = None,
        direction: Direction = "mean",
    ) -> None:
        self.network, self.direction = network.eval(), direction
        slices = halo.slices if halo else int(network.axial_halo)  # type: ignore[arg-type]
        lateral = halo.lateral if halo else int(network.lateral_halo)  # type: ignore[arg-type]
        self.halo = Halo(slices, lateral, int(network.lateral_stride))  # type: ignore[arg-type]

    @torch.inference_mode()
    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """Both directions, or the one that is wanted, a few lateral slices at a time."""

        def restore(slices: Tensor, origin: Origin, index: int) -> Tensor:
            return self.restore(slices, request, cancel, upside_down=index == 1)

        return in_directions(slab, request.origin, self.direction, restore)

    @torch.inference_mode()
    def restore(
        self,
        slices: Tensor,
        request: GapRequest,
        cancel: CancelToken | None = None,
        *,
        upside_down: bool = False,
    ) -> Tensor:
        """One direction alone: XZ or YZ slices (N, J, W) -> (N, G, D, W)."""
        if not upside_down:
            return self._restore(slices, request, cancel)
        last = slices.shape[1] - 2 - (request.first + len(request.depths) - 1)
        widths = None if request.widths is None else request.widths[::-1]
        mirrored = GapRequest(last, 1 - request.depths.flip(0), request.log2_gap, widths=widths)
        return self._restore(slices.flip(1), mirrored, cancel).flip(1)

    def _restore(self, slices: Tensor, request: GapRequest, cancel: CancelToken | None) -> Tensor:
        """(N, J, W) lateral slices -> (N, G, D, W)."""
        wanted = slice(request.first, request.first + len(request.depths))
        depths = self._depths_of_all_gaps(request, slices)
        log2_gap = torch.full((), request.log2_gap, dtype=slices.dtype, device=slices.device)
        if request.widths is not None:
            log2_gap = request.log2_gaps(slices.shape[1], slices.device).to(slices.dtype)
        at_once = max(1, pixels_at_once(slices.device) // slices[0].numel())
        if slices.device.type == "cpu":  # a part for every core
            at_once = min(at_once, -(-len(slices) // torch.get_num_threads()))

        def fill(rows: Tensor) -> Tensor:
            stop_if_asked(cancel)
            filled: Tensor = self.network(rows.contiguous(), depths, log2_gap)[:, wanted]
            return filled

        return torch.cat(share_out(fill, torch.split(slices, at_once), slices.device))

    @staticmethod
    def _depths_of_all_gaps(request: GapRequest, slices: Tensor) -> Tensor:
        """One row of depths where all gaps want the same, else a row for every gap."""
        wanted = request.depths.to(slices.dtype)
        if request.widths is None and bool((wanted == wanted[:1]).all()):
            return to_device(wanted[:1], slices.device)
        depths = wanted[:1, :1].repeat(slices.shape[1] - 1, wanted.shape[1])
        depths[request.first : request.first + len(wanted)] = wanted
        return to_device(depths, slices.device)


def log2_of(factor: float) -> float:
    """How networks are told the gap width; rounding keeps equal factors equal."""
    return round(math.log2(factor), 6)


def stop_if_asked(cancel: CancelToken | None) -> None:
    """Raise `Interrupted` when a stop was asked for."""
    if cancel:
        raise Interrupted


def pixels_at_once(device: torch.device) -> int:
    """Input pixels whose activations are held at once."""
    return _PIXELS_AT_ONCE[device.type]
