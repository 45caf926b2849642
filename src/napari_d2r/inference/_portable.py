"""Networks with everything fixed but the slices: what other programs can run without us.

Factor and depths become part of the network, and a network that can tell up from down is asked
both ways, as `SequencePredictor` does. Each stands alone as TorchScript, for any number of pixels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from napari_d2r.inference._predictors import NUM_SLICES, log2_of
from napari_d2r.models import Contract, interleave_rows

__all__ = ["PORTABLE", "FillGap", "FillRows", "as_torchscript", "example_of"]

_LARGEST_CHANGE = 1e-4  # of unit intensity; the order of sums may differ


class FillGap(nn.Module):
    """Four slices around a gap in, the ``factor - 1`` slices in the gap out.

    Parameters
    ----------
    network
        Of AENet's contract.
    factor
        How many times finer the output is sampled along z; a whole number, 2 or more.
    """

    depths: Tensor
    log2_gap: Tensor

    def __init__(self, network: nn.Module, factor: int) -> None:
        super().__init__()
        self.network, self.is_symmetric = network, bool(getattr(network, "is_symmetric", False))
        self.register_buffer("depths", _depths(factor))
        self.register_buffer("log2_gap", torch.tensor([log2_of(factor)]))

    def forward(self, slices: Tensor) -> Tensor:
        """(B, 4, H, W) -> (B, factor - 1, H, W), unit intensity."""
        depths = self.depths.expand(slices.shape[0], -1)
        log2_gap = self.log2_gap.expand(slices.shape[0])
        upright: Tensor = self.network(slices, depths, log2_gap)
        if self.is_symmetric:
            return upright
        upside_down: Tensor = self.network(slices.flip(1), 1 - depths, log2_gap)
        return (upright + upside_down) / 2


class FillRows(nn.Module):
    """The measured rows of an XZ slice in, the whole slice out.

    Parameters
    ----------
    network
        A lateral regressor.
    factor
        As of `FillGap`.
    """

    depths: Tensor
    log2_gap: Tensor

    def __init__(self, network: nn.Module, factor: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("depths", _depths(factor))
        self.register_buffer("log2_gap", torch.tensor(log2_of(factor)))

    def forward(self, rows: Tensor) -> Tensor:
        """(B, J, W) -> (B, (J - 1) factor + 1, W), unit intensity; measured rows return."""
        return interleave_rows(rows, self.network(rows, self.depths, self.log2_gap))


# Networks that answer in one pass; samplers do not.
PORTABLE: Mapping[Contract, Callable[[nn.Module, int], nn.Module]] = {
    "sequence": FillGap,
    "rows": FillRows,
}


def example_of(contract: Contract, size: tuple[int, int], seed: int = 0) -> Tensor:
    """Grey values 0 to 255 of blobs, to try a network on: (1, 4, H, W), or rows (1, H, W)."""
    shape = (NUM_SLICES, *size) if contract == "sequence" else size
    noise = torch.rand((1, 1, *shape), generator=torch.Generator().manual_seed(seed))
    coarse = noise[..., ::4, ::4] if contract == "sequence" else noise[..., ::4]
    mode = "trilinear" if contract == "sequence" else "bilinear"
    smooth = nn.functional.interpolate(coarse, noise.shape[2:], mode=mode, align_corners=True)
    return (255 * (0.9 * smooth + 0.1 * noise))[0].round()


@torch.no_grad()
def as_torchscript(module: nn.Module, example: Tensor, other: Tensor) -> bytes:
    """A module as a file that torch alone can run.

    Parameters
    ----------
    example
        What it is traced with.
    other
        Another input, of another size, on which the two must agree.

    Raises
    ------
    RuntimeError
        Where they do not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fixed branches, and that torch moves on
        traced = torch.jit.trace(module.eval(), example, check_trace=False)
        file = io.BytesIO()
        torch.jit.save(traced, file)
        again = torch.jit.load(io.BytesIO(file.getvalue()))
        change = float((again(other) - module(other)).abs().max())
    if not change <= _LARGEST_CHANGE:
        raise RuntimeError(f"the traced network differs by {change:g}")
    return file.getvalue()


def _depths(factor: int) -> Tensor:
    return torch.arange(1, factor)[None] / factor
