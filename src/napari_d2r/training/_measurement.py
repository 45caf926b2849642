"""What a microscope would measure of a run of slices, and the slices that it would miss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

POINT = np.ones(1)  # the kernel of slices that are samples


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Measured slices, ``gap`` steps apart, of a run of slices one step apart.

    Measured slice j is the mean, weighted by the ``kernel``, of the slices from j ``gap`` on.

    Parameters
    ----------
    kernel
        (K,) symmetric weights, as `Degradation.kernel` gives them.
    gap
        From centre to centre; wider than the kernel was made for where slices are left out.
    """

    kernel: NDArray[np.float64]
    gap: int

    @property
    def is_sampling(self) -> bool:
        """Whether measured slices are slices of the run."""
        return len(self.kernel) == 1

    @property
    def wanted(self) -> Tensor:
        """(D,) the slices of the run that are to be restored in the first gap.

        Those between two centres and, where measured slices are blurred, at the centres.
        """
        centre = (len(self.kernel) - 1) / 2
        slices = torch.arange(math.ceil(centre), math.floor(centre + self.gap) + 1)
        return slices[1:-1] if self.is_sampling else slices

    @property
    def depths(self) -> Tensor:
        """(D,) where those slices stand between the two centres, 0 to 1."""
        return (self.wanted - (len(self.kernel) - 1) / 2) / self.gap

    def length(self, num_slices: int) -> int:
        """Slices of the run that so many measured ones come from."""
        return (num_slices - 1) * self.gap + len(self.kernel)

    def num_gaps(self, length: int) -> int:
        """Gaps that fit into a run."""
        return (length - len(self.kernel)) // self.gap

    def of(self, run: Tensor) -> Tensor:
        """(B, length, ...) -> (B, J, ...) measured slices."""
        if self.is_sampling:
            return run[:, :: self.gap]
        num_slices, kernel = self.num_gaps(run.shape[1]) + 1, torch.from_numpy(self.kernel)
        weights = torch.zeros(num_slices, run.shape[1])
        for j in range(num_slices):
            weights[j, j * self.gap : j * self.gap + len(kernel)] = kernel
        measured: Tensor = (weights.to(run) @ run.flatten(2)).unflatten(2, run.shape[2:])
        return measured

    def truth(self, run: Tensor) -> Tensor:
        """(B, length, ...) -> (B, J - 1, D, ...) the slices to be restored, gap by gap."""
        starts = torch.arange(self.num_gaps(run.shape[1])) * self.gap
        return run[:, starts[:, None] + self.wanted]


def longest_gap(length: int, kernel: NDArray[np.float64], num_gaps: int = 3) -> int:
    """The widest gap of which ``num_gaps`` fit into so many slices."""
    return (length - len(kernel)) // num_gaps
