"""Depth in the gap, end gaps, intervals, pulsing: planted faults must be seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import norm
from skimage.metrics import structural_similarity

from napari_d2r.errors import InputError
from napari_d2r.metrics import (
    gain_interval,
    peak_signal_noise_ratio,
    psnr_interval,
    pulsing,
    score_inserted,
    ssim_interval,
)
from napari_d2r.metrics._inserted import bootstrap
from napari_d2r.samples import make_phantom

FACTOR = 4


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return make_phantom((33, 130, 70))


@pytest.fixture(scope="module")
def noisy(truth) -> np.ndarray:
    """Noise that grows with the depth in the gap, and is worse in the last gap."""
    depth = np.arange(33) % FACTOR
    depth[-4:-1] = 6
    noise = np.random.default_rng(0).normal(size=truth.shape) * depth[:, None, None] * 3
    return np.asarray(truth + noise, np.float32)


def test_depths_and_end_gaps_are_told_apart(truth, noisy) -> None:
    scores = score_inserted(truth, noisy, factor=FACTOR, data_range=255)
    assert scores.num_gaps == 8
    assert scores.slices.tolist() == [z for z in range(33) if z % 4]
    for depth in (1, 2, 3):
        at = scores.at_depth(depth)
        inner = [z for z in range(4, 28) if z % 4 == depth]
        assert at.num_slices == len(inner) == 6
        slices = [peak_signal_noise_ratio(truth[z], noisy[z], data_range=255) for z in inner]
        assert at.psnr_db == pytest.approx(np.mean(slices), abs=0.01)
        similar = [
            structural_similarity(truth[z].astype(float), noisy[z].astype(float), data_range=255)
            for z in inner
        ]
        assert at.ssim == pytest.approx(np.mean(similar), abs=1e-3)
        assert at.psnr_db == pytest.approx(20 * math.log10(255 / (3 * depth)), abs=0.1)
    ends = scores.in_end_gaps()
    assert ends.num_slices == 6
    assert scores.at_depth(4) is None and scores.psnr_by_slice.argmin() > 20


def test_an_exact_copy_has_no_error_and_no_nan(truth) -> None:
    exact = score_inserted(truth, truth, factor=FACTOR, data_range=255)
    assert exact.at_depth(2).psnr_db == math.inf
    assert psnr_interval(exact).low > 1000
    assert gain_interval(exact, exact).value == 0


def test_intervals_hold_the_number_and_narrow_in_pairs(truth, noisy) -> None:
    a = score_inserted(truth, noisy, factor=FACTOR, data_range=255)
    b = score_inserted(truth, truth + (noisy - truth) * 1.1, factor=FACTOR, data_range=255)
    error = np.concatenate([np.square(truth[z] - noisy[z]).ravel() for z in a.slices])
    whole = psnr_interval(a)
    assert whole.value == pytest.approx(10 * math.log10(255**2 / error.mean()), abs=0.02)
    assert whole.low < whole.value < whole.high
    gain = gain_interval(a, b)
    assert gain.value == pytest.approx(20 * math.log10(1.1), abs=0.01)
    # The same places are drawn for both: what both find hard does not widen the difference.
    assert gain.high - gain.low < 0.1 * (whole.high - whole.low)
    assert psnr_interval(a) == whole, "seeded"
    assert ssim_interval(a).value == pytest.approx(a.ssim.mean(), abs=1e-3)


def test_the_bootstrap_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap(lambda mean: mean, values)
    half = norm.ppf(0.975) * values.std() / math.sqrt(400)
    assert found.value == values.mean()
    assert [found.low, found.high] == pytest.approx(
        values.mean() + half * np.array([-1, 1]), abs=0.012
    )


def test_a_volume_that_breathes_is_found(truth) -> None:
    breathing = truth.astype(np.float32)
    for z in range(33):
        if z % FACTOR == 2:
            breathing[z] = gaussian_filter(breathing[z], 1.5)
    found = pulsing(truth, breathing, factor=FACTOR)
    assert found.by_depth[[0, 1, 3]] == pytest.approx(1)
    assert found.by_depth[2] < 0.7
    assert found.strength == pytest.approx(1 - found.by_depth[2])
    assert pulsing(truth, truth, factor=FACTOR).strength == 0


def test_too_small_or_unlike_volumes_are_refused(truth) -> None:
    with pytest.raises(InputError, match="one shape"):
        score_inserted(truth, truth[:-1], factor=FACTOR, data_range=255)
    with pytest.raises(InputError, match="14 x 14"):
        score_inserted(truth[:, :9], truth[:, :9], factor=FACTOR, data_range=255)
