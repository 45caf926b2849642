"""LPIPS: the distance of two images in the eyes of AlexNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_d2r.errors import InputError, ModelFileError
from napari_d2r.metrics import feature_distance

SMALLEST_EDGE = 32
_WIDTHS = (64, 192, 384, 256, 256)
# Where the five convolutions stand in the weights of AlexNet as published for torch.
_PLACES = (0, 3, 6, 8, 10)
_MEAN = (-0.030, -0.088, -0.188)  # of the colours that AlexNet learned from, in -1 .. 1
_SPREAD = (0.458, 0.448, 0.450)


class LPIPS:
    """LPIPS version 0.1 with AlexNet, for grey images.

    Parameters
    ----------
    trunk
        Weights of AlexNet (Krizhevsky 2014): ``features.0.weight`` and so on.
    heads
        The learned channel weights: ``lin0.model.1.weight`` (1, 64, 1, 1) and so on.

    Raises
    ------
    ModelFileError
        When weights are missing or of another shape.

    References
    ----------
    Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR
    (2018).
    """

    def __init__(self, trunk: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        self._layers = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, stride=4, padding=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
            ]
        ).requires_grad_(False)
        try:
            for place, layer in zip(_PLACES, self._layers, strict=True):
                names = ("weight", "bias")
                layer.load_state_dict({n: trunk[f"features.{place}.{n}"] for n in names})
            self._heads = [
                heads[f"lin{k}.model.1.weight"].reshape(width).numpy()
                for k, width in enumerate(_WIDTHS)
            ]
        except (KeyError, RuntimeError) as error:
            raise ModelFileError(
                f"These are not the weights of AlexNet and LPIPS 0.1 ({error}); download them anew."
            ) from error

    def __call__(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N,) distances of pairs of images (N, Y, X) in unit intensity.

        Raises
        ------
        InputError
            For images below 32 x 32 pixels.
        """
        _require_large(a.shape)
        return feature_distance(self._seen(a), self._seen(b), self._heads)

    def loss(self, a: Tensor, b: Tensor) -> Tensor:
        """The same of tensors (N, H, W) in unit intensity, to be differentiated: (N,)."""
        _require_large(a.shape)
        total = a.new_zeros(len(a))
        for p, q, head in zip(self._features(a), self._features(b), self._heads, strict=True):
            difference = nn.functional.normalize(p, dim=1) - nn.functional.normalize(q, dim=1)
            weight = torch.from_numpy(head).to(a)
            total = total + torch.einsum("nchw,c->nhw", difference.square(), weight).mean((1, 2))
        return total

    def _seen(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            return [f.numpy() for f in self._features(torch.from_numpy(images.copy()))]

    def _features(self, images: Tensor) -> list[Tensor]:
        """What each layer makes of (N, H, W), in three equal colours."""
        grey = images[:, None] * 2 - 1
        shift, spread = (torch.tensor(v).to(images).view(1, 3, 1, 1) for v in (_MEAN, _SPREAD))
        values, found = (grey - shift) / spread, []
        for index, layer in enumerate(self._layers.to(images.device)):
            if index in (1, 2):
                values = nn.functional.max_pool2d(values, 3, stride=2)
            values = layer(values).relu()
            found.append(values)
        return found


def _require_large(shape: Sequence[int]) -> None:
    if min(shape[1:]) < SMALLEST_EDGE:
        raise InputError(
            f"LPIPS needs slices of at least {SMALLEST_EDGE} x {SMALLEST_EDGE} pixels; these "
            f"have {tuple(shape[1:])}."
        )
