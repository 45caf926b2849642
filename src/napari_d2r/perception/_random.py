"""A stand-in for Inception: convolutions that nobody trained."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

_CHANNELS = (1, 16, 32, 64)
_KERNELS = (7, 5, 3)


class RandomFeatures:
    """Mean responses of three layers of random convolutions: 112 features per image.

    They see texture, contrast and sharpness at three scales, need no download, and are the same
    everywhere for one seed. Distances between them compare methods on one volume; they are on no
    published scale.

    Parameters
    ----------
    seed
        Of the weights, which are normal with the variance of He et al. (2015).
    """

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._layers = []
        for inputs, outputs, edge in zip(_CHANNELS[:-1], _CHANNELS[1:], _KERNELS, strict=True):
            weight = torch.randn(outputs, inputs, edge, edge, generator=generator)
            self._layers.append(weight * math.sqrt(2 / (inputs * edge**2)))

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, Y, X) in unit intensity to (N, 112)."""
        values = torch.from_numpy(np.ascontiguousarray(images))[:, None] - 0.5
        found = []
        with torch.inference_mode():
            for weight in self._layers:
                values = nn.functional.conv2d(
                    values, weight, stride=2, padding=weight.shape[-1] // 2
                ).relu()
                found.append(values.mean(dim=(2, 3)))
            features: NDArray[np.float32] = torch.cat(found, dim=1).numpy()
        return features
