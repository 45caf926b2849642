"""Patches that disagree, and spectra seen from above and from the side."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from napari_d2r.errors import InputError
from napari_d2r.metrics import plane_spectra, scan_patches
from napari_d2r.metrics._scanning import _crossings, _ring_members
from napari_d2r.volumes import AxialGrid, VoxelSize, interpolate_axial

FACTOR = 4
CUBIC = VoxelSize(10, 10, 10)


def texture(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Coarse structures of contrast 30 and fine ones of contrast 10, alike in all directions."""
    random = np.random.default_rng(seed)
    coarse, fine = (gaussian_filter(random.normal(size=shape), sigma) for sigma in (4, 1))
    return 128 + 30 * coarse / coarse.std() + 10 * fine / fine.std()


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return texture((9, 128, 160))


@pytest.fixture(scope="module")
def linear(truth) -> np.ndarray:
    return interpolate_axial(truth[::FACTOR], AxialGrid(3, FACTOR).positions())


def test_a_crossing_is_that_of_an_independent_frc() -> None:
    a = texture((64, 64), 1)
    b = a + np.random.default_rng(2).normal(size=a.shape) * 20
    window = np.hanning(64)[:, None] * np.hanning(64)
    fa, fb = (np.fft.fft2((v - v.mean()) * window) for v in (a, b))
    k = np.fft.fftfreq(64, 1 / 64)
    ring = np.rint(np.hypot(k[:, None], k)).astype(int)

    def correlation(n: int) -> float:
        near = (abs(ring - n) <= 1) & (ring > 0)
        cross = (fa * fb.conj()).real[near].sum()
        return cross / np.sqrt((abs(fa[near]) ** 2).sum() * (abs(fb[near]) ** 2).sum())

    curve = [1.0, *(correlation(n) for n in range(1, 33))]
    after = next(n for n, value in enumerate(curve) if value < 0.5)
    part = (curve[after - 1] - 0.5) / (curve[after - 1] - curve[after])
    found = _crossings(a, b, _ring_members())
    assert found.shape == (1, 1)
    assert found[0, 0] == pytest.approx((after - 1 + part) / 64, abs=1e-4)
    assert _crossings(a, a, _ring_members())[0, 0] == 0.5


def test_a_made_up_blob_is_listed_where_it_is(truth, linear) -> None:
    baseline = scan_patches(truth, linear, factor=FACTOR)
    threshold = baseline.threshold()
    assert baseline.crossing.shape == (6, 3, 4)
    assert baseline.listed(threshold).mean() == pytest.approx(0.05, abs=0.02)
    # Nearly right everywhere, but for one thing that is not there.
    good = truth + np.random.default_rng(3).normal(size=truth.shape) * 3
    assert not scan_patches(truth, good, factor=FACTOR).listed(threshold).any()
    y, x = np.mgrid[:128, :160]
    blob = 250 * np.exp(-((y - 96) ** 2 + (x - 32) ** 2) / (2 * 9**2))
    good[2] += blob
    listed = scan_patches(truth, good, factor=FACTOR).listed(threshold)
    (index,) = np.unique(np.argwhere(listed)[:, 0])
    assert baseline.slices[index] == 2
    assert listed[index, 2, 0], "the patch of rows 64 to 128 and columns 0 to 64"
    assert not listed[index, :, 2:].any(), "patches that do not touch the blob"


def test_a_shifted_result_lists_more_than_linear(truth, linear) -> None:
    threshold = scan_patches(truth, linear, factor=FACTOR).threshold()
    shifted = np.roll(truth, 4, axis=2)
    assert scan_patches(truth, shifted, factor=FACTOR).listed(threshold).mean() > 0.3


def test_slices_smaller_than_a_patch_are_refused(truth) -> None:
    with pytest.raises(InputError, match="64 x 64"):
        scan_patches(truth[:, :60], truth[:, :60], factor=FACTOR)


def test_spectra_of_white_noise_are_flat_at_its_variance() -> None:
    noise = np.random.default_rng(4).normal(size=(48, 50, 52)) * 7
    spectra = plane_spectra(noise, CUBIC)
    assert len(spectra.frequency_per_nm) == 24
    assert spectra.frequency_per_nm[-1] == pytest.approx(0.05)
    for power in spectra.power.values():
        assert power[2:] == pytest.approx(49, rel=0.15)


def test_blur_along_z_takes_detail_and_noise_brings_it() -> None:
    cube = texture((64, 64, 64), 5) + np.random.default_rng(6).normal(size=(64, 64, 64))
    reference = plane_spectra(cube, CUBIC)
    assert reference.detail(reference, 1 / 60) == pytest.approx(1, abs=0.15)
    blurred = plane_spectra(gaussian_filter1d(cube, 2, axis=0), CUBIC)
    assert blurred.detail(reference, 1 / 60) < 0.6
    noisy = cube + np.random.default_rng(7).normal(size=cube.shape) * 30
    assert plane_spectra(noisy, CUBIC).detail(reference, 1 / 60) > 2
    assert np.isnan(reference.detail(reference, 1.0))
