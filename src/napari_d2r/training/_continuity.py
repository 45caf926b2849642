"""The continuity loss of DGEAN: slices of a gap should change little, and evenly.

Chen et al., arXiv 2411.16792. With x_i the distance from predicted slice i to the next::

    L_cont = mean_i x_i + G(x),    G(x) = sum_ij |x_i - x_j| / (2 n^2 mean x)

The paper subtracts the Gini coefficient G from 1, which would reward uneven steps; what its text
asks for is G itself. Its distance is LPIPS, which is taken where a folder with its weights is
named; they are not part of this package, and otherwise edges are compared, which is what changes
from slice to slice. The measured slices at the ends of a gap are left out: their noise would count
as a step.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_d2r.errors import InputError
from napari_d2r.perception import LPIPS, load_perception

_LEVELS = 3  # pixels, and means of 2 x 2 and of 4 x 4
_TINY = 1e-6


def continuity_loss(slices: Tensor, perception: str = "") -> Tensor:
    """Mean distance of neighbours plus its Gini coefficient; a scalar.

    Parameters
    ----------
    slices
        (B, D, H, W), evenly spaced in one gap; of a single slice the loss is 0.
    perception
        Folder with the weights of LPIPS; empty: `gradient_distance`.

    Raises
    ------
    InputError
        Where the folder does not hold them, or slices are too small for LPIPS.
    """
    if slices.shape[1] < 2:
        return slices.new_zeros(())
    below, above = slices[:, :-1], slices[:, 1:]
    if perception:
        with torch.autocast(slices.device.type, enabled=False):
            flat = (part.flatten(0, 1).float() for part in (below, above))
            steps = load_lpips(perception).loss(*flat).unflatten(0, below.shape[:2])
    else:
        steps = gradient_distance(below, above)
    loss: Tensor = steps.mean() + gini(steps).mean()
    return loss


@lru_cache(maxsize=1)
def load_lpips(folder: str) -> LPIPS:
    """LPIPS with the weights in a folder, read once.

    Raises
    ------
    InputError
        Where they are not there.
    """
    found = load_perception(folder).distance
    if not isinstance(found, LPIPS):
        raise InputError(
            f"{folder} holds no weights of LPIPS; leave perception empty to compare edges."
        )
    return found


def gradient_distance(a: Tensor, b: Tensor) -> Tensor:
    """How far the edges of two images are apart, from 0 to 1: (B, D, H, W) -> (B, D).

    ``mean |grad a - grad b| / (mean |grad a| + mean |grad b|)`` over forward differences along both
    axes, averaged over three scales. Brightness and contrast that both share do not count.
    """
    a, b = a.float(), b.float()
    total = a.new_zeros(a.shape[:-2])
    for level in range(_LEVELS):
        if level:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        total = total + _edges(a - b) / (_edges(a) + _edges(b) + _TINY)
    return total / _LEVELS


def gini(steps: Tensor) -> Tensor:
    """Gini coefficient of the last axis: 0 where all are equal, (n - 1) / n where one has all."""
    differences = (steps[..., :, None] - steps[..., None, :]).abs().mean((-2, -1))
    return differences / (2 * steps.mean(-1) + _TINY)


def _edges(image: Tensor) -> Tensor:
    """Mean absolute forward difference along both axes."""
    return image.diff(dim=-2).abs().mean((-2, -1)) + image.diff(dim=-1).abs().mean((-2, -1))
