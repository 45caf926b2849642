"""White noise is measured beneath structure."""

import numpy as np
import pytest
from scipy.ndimage import zoom

from napari_d2r.metrics import noise_sigma


@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.1])
def test_noise_is_measured_beneath_structure(sigma):
    rng = np.random.default_rng(0)
    slow = zoom(rng.random((3, 24, 24)), (1, 8, 8), order=3)
    noisy = slow + sigma * rng.standard_normal(slow.shape)
    assert noise_sigma(noisy) == pytest.approx(sigma, rel=0.05, abs=6e-3)
