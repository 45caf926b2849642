from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.samples import make_phantom, phantom_sample
from napari_d2r.volumes import AxialGrid, VoxelSize, interpolate_axial

SHAPE = (129, 128, 128)


@pytest.fixture(scope="module")
def phantom() -> NDArray[np.uint8]:
    return make_phantom(SHAPE, seed=0)


def autocorrelation(volume: NDArray[np.uint8], axis: int, lag: int) -> float:
    values = np.moveaxis(volume.astype(np.float64) - volume.mean(), axis, 0)
    return float((values[:-lag] * values[lag:]).mean() / values.var())


def test_the_seed_alone_decides_the_phantom() -> None:
    small = (33, 40, 48)
    first = make_phantom(small, seed=3)
    assert first.shape == small
    assert first.dtype == np.uint8
    assert np.array_equal(first, make_phantom(small, seed=3))
    other = make_phantom(small, seed=4)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.5


def test_a_finer_grid_samples_the_same_structures() -> None:
    coarse = make_phantom((31, 41, 51), seed=1, voxel_nm=20.0)
    fine = make_phantom((61, 81, 101), seed=1, voxel_nm=10.0)[::2, ::2, ::2]
    assert np.corrcoef(coarse.ravel(), fine.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("lag", [1, 2, 4, 8])
def test_statistics_are_the_same_along_every_axis(phantom: NDArray[np.uint8], lag: int) -> None:
    z, y, x = (autocorrelation(phantom, axis, lag) for axis in range(3))
    # One phantom holds few cells, so the axes differ by chance; noise alone would give 0 here.
    assert z == pytest.approx((y + x) / 2, abs=0.06)
    assert z > 0.2


def test_noise_is_the_same_along_every_axis(phantom: NDArray[np.uint8]) -> None:
    # Second differences see little but noise and the edges of structures.
    roughness = [np.diff(phantom.astype(np.float64), 2, axis=axis).std() for axis in range(3)]
    assert np.ptp(roughness) / np.mean(roughness) < 0.05
    assert min(roughness) > 4


def test_it_looks_like_fib_sem(phantom: NDArray[np.uint8]) -> None:
    dark, median, bright = np.percentile(phantom, [1, 50, 99])
    assert 50 < dark < 95
    assert 125 < median < 165
    assert 170 < bright < 215


@pytest.mark.parametrize("seed", [0, 1])
def test_linear_interpolation_fails_on_it(seed: int) -> None:
    measured, truth = phantom_sample(SHAPE, factor=8, seed=seed)
    positions = AxialGrid(measured.shape[0], 8).positions()
    linear = interpolate_axial(measured.read(), positions)
    between = np.arange(len(linear)) % 8 != 0
    error = (linear.astype(np.float64) - truth.read())[between]
    psnr = 10 * np.log10(255**2 / np.mean(error**2))
    assert 22 < psnr < 26
    # ... and not for the noise: a wrong guess is off by far more than a grey level or two.
    assert np.percentile(np.abs(error), 95) > 25


def test_the_sample_is_every_eighth_slice_with_its_voxel_size() -> None:
    measured, truth = phantom_sample((33, 40, 48), factor=8, seed=2)
    assert measured.shape == (5, 40, 48)
    assert measured.voxel_size == VoxelSize(80, 10, 10)
    assert truth.voxel_size == VoxelSize(10, 10, 10)
    assert np.array_equal(measured.read(), truth.read()[::8])


def test_too_small_a_phantom_is_refused() -> None:
    with pytest.raises(InputError, match="fewer than 4"):
        phantom_sample((17, 40, 40), factor=8)
    with pytest.raises(InputError, match="longer than 160 nm"):
        make_phantom((8, 64, 64))
