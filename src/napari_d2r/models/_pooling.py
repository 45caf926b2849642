"""Global pooling that does not know where a tile ends.

A gate that pools over the tile would make a result depend on how the volume was cut. In
training a network pools over its crop, as published, and keeps the running average of what
it saw; afterwards the average takes the place of the pool, so that two tiles that share a
pixel agree on it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

# Share of a new batch in the running average, once the plain average has settled.
_MOMENTUM = 0.01


class GlobalPool(nn.Module):
    """Channel means: of the tile in training, frozen averages in evaluation.

    Parameters
    ----------
    num_channels
        C.
    num_bins
        How many averages to keep, such as one per range of diffusion times.
    frozen
        False pools over the tile in evaluation too.

    Attributes
    ----------
    add_up
        Sums a tensor over the processes that share a batch; of one process it is what it is.
    """

    running: Tensor
    seen: Tensor
    add_up: Callable[[Tensor], Tensor]

    def __init__(self, num_channels: int, num_bins: int = 1, *, frozen: bool = True) -> None:
        super().__init__()
        self.frozen = frozen
        self.add_up = _itself
        if frozen:
            self.register_buffer("running", torch.zeros(num_bins, num_channels))
            self.register_buffer("seen", torch.zeros(num_bins, dtype=torch.int64))

    def forward(self, x: Tensor, bins: Tensor) -> Tensor:
        """``x`` (B, C, ...) and ``bins`` (B,) integers -> (B, C)."""
        if self.frozen and not self.training:
            return self.running[bins].to(x.dtype)
        accurate = torch.promote_types(x.dtype, torch.float32)
        pooled = x.mean(dim=tuple(range(2, x.ndim)), dtype=accurate)
        if self.frozen:
            self._update(pooled.detach(), bins)
        return pooled.to(x.dtype)

    @torch.no_grad()
    def _update(self, pooled: Tensor, bins: Tensor) -> None:
        pooled = pooled.to(self.running.dtype)
        count = self.add_up(torch.zeros_like(self.seen).index_add_(0, bins, torch.ones_like(bins)))
        total = self.add_up(torch.zeros_like(self.running).index_add_(0, bins, pooled))
        mean = total / count.clamp_min(1)[:, None]
        self.seen += count
        share = (count / self.seen.clamp_min(1)).clamp_min(_MOMENTUM) * (count > 0)
        self.running += share[:, None] * (mean - self.running)


def _itself(tensor: Tensor) -> Tensor:
    return tensor
