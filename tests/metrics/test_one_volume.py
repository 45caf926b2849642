"""FSC within one volume: the sub-volumes of another package, and curves whose answer is known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_d2r.errors import InputError
from napari_d2r.metrics import (
    ResolutionCurves,
    fourier_shell_correlation,
    one_volume_curve_steps,
    resolution_curves,
)
from napari_d2r.metrics._one_volume import split_like_a_chessboard
from napari_d2r.metrics._shells import finished
from napari_d2r.volumes import VoxelSize

EDGE = 64
SIZE, COARSE = VoxelSize(10, 10, 10), VoxelSize(20, 20, 20)


def noise(seed: int, shape: tuple[int, ...] = (EDGE,) * 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def band_limited(sigma: tuple[float, float, float] = (2.0, 1.5, 1.5)) -> np.ndarray:
    """Detail that ends long before four voxels, and does not go round at the faces."""
    inner = (slice(16, -16),) * 3
    values = gaussian_filter(noise(0, (EDGE + 32,) * 3), sigma)[inner]
    return values / values.std()


def one_volume(volume: np.ndarray, size: VoxelSize = SIZE) -> ResolutionCurves:
    return finished(one_volume_curve_steps(volume, size))


@pytest.mark.parametrize("diagonal", [0, 1])
def test_sub_volumes_are_those_of_another_package(diagonal: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU
        cubic = pytest.importorskip("cubic.image_utils")
    volume = noise(1, (12, 14, 16)).astype(np.float32)
    split = (cubic.checkerboard_split, cubic.reverse_checkerboard_split)[diagonal]
    sums = sorted(split(volume), key=lambda part: float(part[0, 0, 0]))
    ours = sorted(split_like_a_chessboard(volume, diagonal), key=lambda part: float(part[0, 0, 0]))
    for found, expected in zip(ours, sums, strict=True):
        np.testing.assert_allclose(found, expected / 2, rtol=1e-5)


def test_it_is_the_curve_of_two_measurements_of_one_place() -> None:
    """With noise of their own, each as coarse as a sub-volume."""
    truth = band_limited()
    first, second = truth + 0.7 * noise(2), truth + 0.7 * noise(3)
    found = one_volume(first)
    two = resolution_curves(
        *(split_like_a_chessboard(volume, 0)[0] for volume in (first, second)), COARSE
    )
    for name in ("plain", "hann", "cone_z", "cone_xy"):
        one, other = getattr(found, name), getattr(two, name)
        np.testing.assert_allclose(one.frequency_per_nm, other.frequency_per_nm)
        assert one.num_voxels.tolist() == (2 * other.num_voxels).tolist()
        assert one.resolution_at(0.5) == pytest.approx(other.resolution_at(0.5), rel=0.08)
    assert found.cone_z.resolution_at(0.5) > 1.15 * found.cone_xy.resolution_at(0.5)


def test_the_axis_is_in_nm() -> None:
    """Detail ends between the tenth shell and the next, noise does not; the voxels are 10 nm."""
    period = 10 * EDGE / 10.5
    frequency = np.meshgrid(*[np.fft.fftfreq(EDGE, 10)] * 3, indexing="ij")
    inside = sum(f**2 for f in frequency) <= 1 / period**2
    detail = np.fft.ifftn(np.where(inside, np.fft.fftn(noise(4)), 0)).real
    volume = detail / detail.std() + 0.2 * noise(5)
    curve = one_volume(volume).plain
    assert curve.resolution_at(0.5) == pytest.approx(period, rel=0.03)
    assert curve.frequency_per_nm[-1] == pytest.approx(1 / 40)
    larger = one_volume(volume, VoxelSize(30, 30, 30)).plain
    assert larger.resolution_at(0.5) == pytest.approx(3 * curve.resolution_at(0.5))


def test_noise_alone_agrees_with_nothing() -> None:
    found = one_volume(noise(6))
    assert np.abs(found.plain.correlation[4:]).max() < 0.15
    two = fourier_shell_correlation(noise(6), noise(7), SIZE)
    assert np.abs(two.correlation[4:]).max() < 0.15


def test_detail_finer_than_four_voxels_counts_as_coarser() -> None:
    """It disagrees in XY, where sub-volumes stand apart, and agrees along Z, where they do not."""
    frequency = np.meshgrid(*[np.fft.fftfreq(EDGE)] * 3, indexing="ij")
    inside = sum(f**2 for f in frequency) <= 0.4**2
    found = one_volume(np.fft.ifftn(np.where(inside, np.fft.fftn(noise(10)), 0)).real)
    assert found.cone_xy.resolution_at(0.5) == pytest.approx(93, rel=0.05)
    assert found.cone_z.resolution_at(0.5) is None


def test_what_is_interpolated_agrees_with_itself() -> None:
    """Why it is for measured volumes: slices 40 nm apart know nothing finer than 80 nm along Z."""
    measured = gaussian_filter(noise(8), (0, 1.5, 1.5))[::4]
    repeated = np.repeat(measured, 4, axis=0) + 0.01 * noise(9)
    along_z = one_volume(repeated).cone_z.resolution_at(0.5)
    assert along_z is None or along_z < 70


def test_too_small_a_volume_is_refused() -> None:
    with pytest.raises(InputError, match="at least 8 voxels"):
        one_volume(noise(0, (7, 20, 20)))
