"""Stage III from an isotropic reference: every direction is as good as any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_d2r.training._loop import Task
from napari_d2r.training._tasks import kept_back


class AnyDirectionTask:
    """A task of stage III on an isotropic volume as it stands and turned twice.

    Those tasks never look along the first axis of their volume; here each axis is looked along
    in two of three batches. Judged as the task judges the volume as it stands, on a part that no
    direction learns from.

    Parameters
    ----------
    teach
        From a volume (Z, Y, X) to its task.
    reference
        (Z, Y, X), isotropic, unit intensity.
    gap
        Lateral voxels from slice to slice.
    """

    def __init__(self, teach: Callable[[Tensor], Task], reference: Tensor, gap: float) -> None:
        learned, _ = kept_back(reference, max(2, round(gap)))
        turned = (learned.permute(1, 0, 2), learned.permute(2, 0, 1))
        self.tasks = [teach(volume) for volume in (reference, *turned)]

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        """Of one direction at random."""
        return self.tasks[rng.integers(len(self.tasks))].loss(network, rng)

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """As the task of the volume as it stands."""
        return self.tasks[0].validate(network)

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        """As the task of the volume as it stands."""
        return self.tasks[0].preview(network)
