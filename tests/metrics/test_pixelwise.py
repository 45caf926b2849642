"""PSNR and SSIM against scikit-image and against paper and pencil."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage import metrics as skimage_metrics

from napari_d2r.errors import InputError
from napari_d2r.metrics import peak_signal_noise_ratio, score_planes


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (15, 14, 13), np.uint8)
    test = np.clip(truth + rng.normal(0, 20, truth.shape), 0, 255).astype(np.uint8)
    return truth, test


def test_psnr_of_a_constant_error_is_known() -> None:
    image = np.full((4, 5), 100, np.uint8)
    # An error of 10 in a range of 100 is 20 dB; unsigned subtraction would wrap around.
    assert peak_signal_noise_ratio(image, image + 10, data_range=100) == pytest.approx(20)
    assert peak_signal_noise_ratio(image, image - 10, data_range=100) == pytest.approx(20)
    assert peak_signal_noise_ratio(image, image, data_range=100) == math.inf


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_planes_agree_with_scikit_image(pair, dtype) -> None:
    truth, test = (volume.astype(dtype) for volume in pair)
    scores = score_planes(truth, test, factor=4, data_range=255)
    assert [s.plane for s in scores] == ["XY", "XZ", "YZ"]
    # 15 slices at factor 4: measured 0, 4, 8, 12, so 13 are compared, 9 of them inserted.
    truth, test = truth[:13].astype(float), test[:13].astype(float)
    slices = {
        "XY": [(truth[k], test[k]) for k in (1, 2, 3, 5, 6, 7, 9, 10, 11)],
        "XZ": [(truth[:, k], test[:, k]) for k in range(14)],
        "YZ": [(truth[:, :, k], test[:, :, k]) for k in range(13)],
    }
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for score in scores:
        pairs = slices[score.plane]
        psnr = skimage_metrics.peak_signal_noise_ratio
        ssim = skimage_metrics.structural_similarity
        assert score.num_slices == len(pairs)
        assert score.num_identical == 0
        expected = np.mean([psnr(a, b, data_range=255) for a, b in pairs])
        assert score.psnr_db == pytest.approx(expected, abs=1e-4)
        expected = np.mean([ssim(a, b, data_range=255) for a, b in pairs])
        assert score.ssim == pytest.approx(expected, abs=1e-4)
        expected = np.mean([ssim(a, b, data_range=255, **gaussian) for a, b in pairs])
        assert score.ssim_gaussian == pytest.approx(expected, abs=1e-4)


def test_identical_slices_leave_the_mean_finite_and_are_counted(pair) -> None:
    truth, test = pair
    test = test.copy()
    test[:, 3] = truth[:, 3]
    xy, xz, _ = score_planes(truth, test, factor=2, data_range=255)
    assert (xy.num_identical, xz.num_identical) == (0, 1)
    assert math.isfinite(xz.psnr_db)
    same = score_planes(truth, truth, factor=2, data_range=255)
    assert all(s.psnr_db == math.inf and s.num_identical == s.num_slices for s in same)
    assert all(s.ssim == pytest.approx(1) for s in same)


def test_measured_slices_and_slices_beyond_the_last_do_not_count(pair) -> None:
    truth, test = pair
    spoiled = test.copy()
    spoiled[::4] = 0  # measured
    spoiled[13:] = 0  # beyond the last measured slice
    before = score_planes(truth, test, factor=4, data_range=255)
    after = score_planes(truth, spoiled, factor=4, data_range=255)
    assert after[0] == before[0]
    assert after[1].psnr_db < before[1].psnr_db
    cut = score_planes(truth, spoiled[:13], factor=4, data_range=255)
    assert cut == after


def test_volumes_that_do_not_fit_are_refused_with_both_shapes(pair) -> None:
    truth, test = pair
    with pytest.raises(InputError, match=r"\(15, 14, 13\).*\(12, 14, 13\).*13 slices"):
        score_planes(truth, test[:12], factor=4, data_range=255)
    with pytest.raises(InputError, match=r"\(13, 14, 13\).*\(13, 14, 12\)"):
        score_planes(truth, test[..., :12], factor=4, data_range=255)
    with pytest.raises(InputError, match="at least 11"):
        score_planes(truth[:, :10], test[:, :10], factor=4, data_range=255)
    with pytest.raises(InputError, match="data range"):
        score_planes(truth, test, factor=4, data_range=0)
