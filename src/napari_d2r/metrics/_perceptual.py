r"""Distances between what a network sees in two sets of images.

The arithmetic only: a network, any function from images to features, is handed in, so that these
numbers can be checked without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.metrics._pixelwise import ACROSS, PLANES, Plane

Extractor = Callable[[NDArray[np.float32]], NDArray[Any]]
"""From images (N, Y, X) in unit intensity to features (N, F), one row per image."""

Distance = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[Any]]
"""From two stacks of images (N, Y, X) in unit intensity to (N,) distances."""

BORDER = 4  # voxels that are left out at each face, as in MSDSR
_AT_ONCE, _MOST_SLICES = 16, 64


@dataclass(frozen=True, slots=True, eq=False)
class Perception:
    """Networks to judge by: ``extract`` for SliceFID, ``distance`` for LPIPS; None: without."""

    name: str
    extract: Extractor | None
    distance: Distance | None


@dataclass(frozen=True, slots=True)
class SliceFID:
    """Fréchet distance of the slices of each plane; lower is more alike.

    Parameters
    ----------
    planes
        By plane.
    mean
        Over the three planes.
    """

    planes: dict[Plane, float]
    mean: float


def frechet_distance(features_a: NDArray[Any], features_b: NDArray[Any]) -> float:
    r"""Distance of two Gaussians fitted to two sets of features.

    .. math:: |\mu_a - \mu_b|^2 + tr(C_a + C_b - 2 (C_a^{1/2} C_b C_a^{1/2})^{1/2})

    Parameters
    ----------
    features_a, features_b
        (N, F) and (M, F), at least two rows each. With fewer rows than columns the covariances are
        not of full rank: numbers are then comparable only among sets of one size.

    Returns
    -------
    float
        0 or more, in squared units of the features.

    References
    ----------
    Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium", NeurIPS (2017), equation 6.
    """
    a, b = features_a.astype(np.float64), features_b.astype(np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise InputError(
            f"A Fréchet distance needs two sets of at least two features of one length; these have "
            f"{a.shape} and {b.shape}."
        )
    covariance_a, covariance_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariance_b @ root), 0)).sum()
    apart = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return max(0.0, float(apart + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap))


def slice_fid(
    reference: NDArray[Any], test: NDArray[Any], extract: Extractor, *, low: float, high: float
) -> SliceFID:
    """Fréchet distance between slices of the test volume and XY slices of the reference.

    XY slices of the reference are what an image of this tissue looks like; XY, XZ and YZ slices
    of the test volume are each compared with them. Four voxels at each face are left out.

    Parameters
    ----------
    reference, test
        (Z, Y, X) of isotropic voxels, at least 24 along each axis.
    extract
        From images in unit intensity to features.
    low, high
        Grey values that become 0 and 1; what lies beyond is clipped.

    References
    ----------
    Jiang et al., "Super-resolution of biomedical volumes with 2D supervision" (MSDSR), CVPR
    workshops (2024).
    """
    if min(*reference.shape, *test.shape) < 6 * BORDER:
        raise InputError(
            f"SliceFID needs at least {6 * BORDER} voxels along each axis; the volumes have "
            f"{reference.shape} and {test.shape}."
        )

    def features(volume: NDArray[Any], plane: Plane) -> NDArray[np.float64]:
        inner = volume[(slice(BORDER, -BORDER),) * 3]
        slices = np.moveaxis(inner, ACROSS[plane], 0)
        parts = (slices[k : k + _AT_ONCE] for k in range(0, len(slices), _AT_ONCE))
        return np.concatenate([extract(_unit(part, low, high)) for part in parts])

    truth = features(reference, "XY")
    planes = {plane: frechet_distance(truth, features(test, plane)) for plane in PLANES}
    return SliceFID(planes, float(np.mean(list(planes.values()))))


def slice_distance(
    reference: NDArray[Any], test: NDArray[Any], distance: Distance, *, low: float, high: float
) -> dict[Plane, float]:
    """Mean distance of the slices of each plane, at most 64 of each, evenly spread.

    Parameters
    ----------
    reference, test
        (Z, Y, X), one shape; for LPIPS at least 32 voxels along each axis.
    distance
        Of pairs of images in unit intensity.
    low, high
        Grey values that become 0 and 1; what lies beyond is clipped.
    """
    found: dict[Plane, float] = {}
    for plane in PLANES:
        a, b = (np.moveaxis(volume, ACROSS[plane], 0) for volume in (reference, test))
        picks = np.unique(np.linspace(0, len(a) - 1, _MOST_SLICES).round().astype(int))
        picks = picks[[not np.array_equal(a[k], b[k]) for k in picks]]  # copies are no guesses
        parts = (picks[k : k + _AT_ONCE] for k in range(0, len(picks), _AT_ONCE))
        values = [distance(*(_unit(v[part], low, high) for v in (a, b))) for part in parts]
        found[plane] = float(np.concatenate(values).mean()) if values else 0.0
    return found


def _unit(values: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = ((values.astype(np.float32) - low) / (high - low)).clip(0, 1)
    return unit.astype(np.float32)


def feature_distance(
    layers_a: Sequence[NDArray[Any]],
    layers_b: Sequence[NDArray[Any]],
    weights: Sequence[NDArray[Any]],
) -> NDArray[np.float64]:
    r"""LPIPS of pairs of images, from what each layer of a network makes of them.

    .. math:: \sum_l \mathrm{mean}_{yx} \sum_c w_{lc} (\hat a_{lcyx} - \hat b_{lcyx})^2,
       \qquad \hat a = a / |a|_c

    Parameters
    ----------
    layers_a, layers_b
        Per layer (N, C, Y, X), of N pairs of images.
    weights
        Per layer (C,), not negative.

    Returns
    -------
    ndarray
        (N,) distances from 0 on; 0 for identical images.

    References
    ----------
    Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR
    (2018), equation 1.
    """
    total = np.zeros(len(layers_a[0]))
    for a, b, weight in zip(layers_a, layers_b, weights, strict=True):
        difference = np.square(_unit_length(a) - _unit_length(b))
        total += np.einsum("c,ncyx->n", weight, difference) / (a.shape[2] * a.shape[3])
    return total


def _unit_length(features: NDArray[Any]) -> NDArray[np.float64]:
    values = features.astype(np.float64)
    return np.asarray(values / (np.sqrt(np.square(values).sum(axis=1, keepdims=True)) + 1e-10))
