"""MS-SSIM, MicroSSIM and what noise leaves to be reached: against other hands and known cases."""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity

from napari_d2r.errors import InputError
from napari_d2r.metrics import attainable_ssim, axial_noise_sigma, micro_ssim, multiscale_ssim


@pytest.fixture(scope="module")
def cubic() -> ModuleType:
    """Another package's metrics, where it is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU
        return pytest.importorskip("cubic.metrics")


def smooth(shape: tuple[int, ...], seed: int = 0, sigma: float = 3.0) -> np.ndarray:
    values = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return 128 + 40 * values / values.std()


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    clean = smooth((190, 203))
    return clean, gaussian_filter(clean, 2) + np.random.default_rng(1).normal(size=clean.shape) * 6


def test_multiscale_ssim_is_the_product_over_scales(pair) -> None:
    a, b = pair
    offsets = np.arange(-5, 6)
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2

    def local(values: np.ndarray) -> np.ndarray:
        return convolve2d(values, window, mode="valid")

    expected, c1, c2 = 1.0, 2.55**2, 7.65**2
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        ma, mb = local(a), local(b)
        va, vb, vab = local(a * a) - ma**2, local(b * b) - mb**2, local(a * b) - ma * mb
        term = (2 * vab + c2) / (va + vb + c2)
        if scale == 4:
            term = term * (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
        expected *= term.mean() ** weight
        rows, columns = (n // 2 * 2 for n in a.shape)
        a, b = (sum(v[i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1)) / 4 for v in (a, b))
    assert multiscale_ssim(*pair, data_range=255) == pytest.approx(expected, rel=1e-9)


def test_multiscale_ssim_agrees_with_another_package(pair, cubic) -> None:
    # Which pads the coarsest scale: 11 of its 11 pixels see a border there.
    other = cubic.ms_ssim(*pair, data_range=255)
    assert multiscale_ssim(*pair, data_range=255) == pytest.approx(other, abs=0.01)
    assert multiscale_ssim(pair[0], pair[0], data_range=255) == pytest.approx(1)
    assert multiscale_ssim(pair[0], 255 - pair[0], data_range=255) == 0


def test_multiscale_ssim_needs_a_window_at_the_coarsest_scale() -> None:
    with pytest.raises(InputError, match="176 pixels"):
        multiscale_ssim(np.zeros((175, 200)), np.zeros((175, 200)), data_range=1)


def slices(seed: int) -> np.ndarray:
    """Four slices that share darkest and brightest grey: there the other package has one range."""
    values = smooth((4, 64, 70), seed)
    values[:, 0, 0], values[:, 0, 1] = values.min() - 1, values.max() + 1
    return values


def test_micro_ssim_agrees_with_the_published_one(cubic) -> None:
    truth = slices(3)
    test = 0.6 * gaussian_filter(truth, (0, 1.5, 1.5)) + 55
    expected = np.mean(cubic.micro_structural_similarity(truth, test))
    found = micro_ssim(truth, test, data_range=float(np.ptp(truth)))
    # Its factor is fitted with another window than it is judged with.
    assert found.similarity == pytest.approx(expected, abs=2e-3)


def test_micro_ssim_takes_the_third_percentile_for_background() -> None:
    truth = slices(3)
    test = 0.6 * gaussian_filter(truth, (0, 1.5, 1.5)) + 55
    found = micro_ssim(truth, test, data_range=255)
    a, b = truth - np.percentile(truth, 3), found.scale * (test - np.percentile(test, 3))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    maps = [
        structural_similarity(*pair, data_range=255, full=True, **options)[1]
        for pair in zip(a, b, strict=True)
    ]
    expected = np.mean([one[5:-5, 5:-5] for one in maps])  # where windows are whole
    assert found.similarity == pytest.approx(expected, rel=1e-9)


def test_micro_ssim_forgives_offset_and_scale_and_nothing_else() -> None:
    truth = slices(4)
    found = micro_ssim(truth, 0.5 * truth + 30, data_range=255)
    assert found.similarity == pytest.approx(1, abs=1e-6)
    assert found.scale == pytest.approx(2, abs=1e-3)
    plain = np.mean([structural_similarity(a, 0.5 * a + 30, data_range=255) for a in truth])
    assert plain < 0.9
    moved = np.roll(truth, 6, axis=2)
    assert micro_ssim(truth, moved, data_range=255).similarity < 0.7
    with pytest.raises(InputError, match="one shape"):
        micro_ssim(truth, truth[:3], data_range=255)


def test_attainable_ssim_is_that_of_the_truth_without_its_noise() -> None:
    clean, random = smooth((12, 90, 90), 5), np.random.default_rng(6)
    for sigma in (2.0, 8.0, 20.0):
        noisy = clean + random.normal(size=clean.shape) * sigma
        truth = np.mean(
            [structural_similarity(a, b, data_range=255) for a, b in zip(clean, noisy, strict=True)]
        )
        assert attainable_ssim(noisy, sigma, data_range=255) == pytest.approx(truth, abs=0.02)
    assert attainable_ssim(clean, 0.0, data_range=255) == 1


def test_axial_noise_is_told_from_structure() -> None:
    clean = smooth((40, 64, 64), 7)
    noise = np.random.default_rng(8).normal(size=clean.shape) * 5
    # Alike in neighbouring pixels, new in every slice: still noise.
    stripes = noise.mean(axis=2, keepdims=True) * 8
    for unpredictable in (noise, stripes + 0 * noise):
        sigma = axial_noise_sigma(clean + unpredictable)
        assert sigma == pytest.approx(unpredictable.std(), rel=0.1)
    assert axial_noise_sigma(clean) < 0.5
    with pytest.raises(InputError, match="5 slices"):
        axial_noise_sigma(clean[:4])
