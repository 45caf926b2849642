"""Fréchet distance, SliceFID and LPIPS as arithmetic, with stand-ins for networks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from napari_d2r.errors import InputError
from napari_d2r.metrics import feature_distance, frechet_distance, slice_fid


def test_frechet_distance_is_that_of_matrix_square_roots() -> None:
    random = np.random.default_rng(0)
    a = random.normal(size=(200, 6)) @ random.normal(size=(6, 6))
    b = random.normal(size=(150, 6)) @ random.normal(size=(6, 6)) + 0.5
    ca, cb = np.cov(a.T), np.cov(b.T)
    root = sqrtm(ca @ cb).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(ca + cb - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(24)


def test_frechet_distance_of_fewer_images_than_features_is_finite() -> None:
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, 10, 64))
    assert 0 < frechet_distance(a, b) < 1000
    one = frechet_distance(random.normal(0, 1, (4000, 1)), random.normal(0, 3, (4000, 1)))
    assert one == pytest.approx(4, rel=0.1), "(3 - 1) squared"
    with pytest.raises(InputError, match="one length"):
        frechet_distance(a, b[:, :5])


def moments(images: np.ndarray) -> np.ndarray:
    """A stand-in for a network: mean, contrast, and contrast along rows."""
    return np.stack(
        [images.mean((1, 2)), images.std((1, 2)), np.diff(images, axis=1).std((1, 2))], axis=1
    )


def test_slice_fid_sees_blur_from_the_side_and_leaves_out_the_border() -> None:
    cube = np.random.default_rng(2).uniform(0, 255, (40, 40, 40))
    blurred = cube.copy()
    blurred[1:] = (cube[1:] + cube[:-1]) / 2  # along Z: seen from above, only less contrast
    found = slice_fid(cube, blurred, moments, low=0, high=255)
    assert found.planes["XZ"] > 1.5 * found.planes["XY"]
    assert found.mean == pytest.approx(np.mean(list(found.planes.values())))
    framed = cube.copy()
    framed[:4] = framed[:, :4] = framed[:, :, -4:] = 255
    same = slice_fid(cube, cube, moments, low=0, high=255)
    assert slice_fid(cube, framed, moments, low=0, high=255) == same
    assert same.planes["XY"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="24 voxels"):
        slice_fid(cube[:20], cube[:20], moments, low=0, high=255)


def test_feature_distance_by_hand() -> None:
    a = np.zeros((1, 2, 1, 2))
    a[0, 0], b = 3.0, np.zeros((1, 2, 1, 2))
    b[0, 1, 0, 0], b[0, 0, 0, 1] = 5.0, 1.0
    # Pixel 0: unit vectors (1, 0) and (0, 1); pixel 1: the same.
    found = feature_distance([a], [b], [np.array([0.3, 0.5])])
    assert found == pytest.approx([(0.3 + 0.5) / 2])
    twice = feature_distance([a, a], [b, b], [np.array([0.3, 0.5])] * 2)
    assert twice == pytest.approx(2 * found)
    assert feature_distance([a], [7 * a], [np.array([0.3, 0.5])]) == pytest.approx([0], abs=1e-12)
