"""Known shifts, on random volumes and on real tissue."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from napari_d2r.errors import InputError
from napari_d2r.metrics import axial_shift
from napari_d2r.volumes import AxialGrid, interpolate_axial

MARGIN = 8


def shifted(volume: np.ndarray, shift: float) -> np.ndarray:
    """``volume(z - shift)`` by the Fourier shift theorem; the ends wrap around."""
    spectrum = np.fft.rfft(volume.astype(float), axis=0)
    phase = np.exp(-2j * np.pi * np.fft.rfftfreq(len(volume)) * shift)
    return np.fft.irfft(spectrum * phase[:, None, None], n=len(volume), axis=0)


@pytest.fixture(scope="module")
def tissue(data_dir) -> np.ndarray:
    return tifffile.imread(data_dir / "fib25" / "fib25_training_sample1.tif")[:, :200, :200]


@pytest.fixture(scope="module")
def random_volume() -> np.ndarray:
    return gaussian_filter(np.random.default_rng(3).standard_normal((80, 64, 64)), 1.2)


@pytest.mark.parametrize("shift", [-2.0, -0.37, 0.0, 0.05, 0.5, 1.7])
def test_known_shifts_of_a_random_volume(random_volume, shift) -> None:
    inner = slice(MARGIN, -MARGIN)
    moved = shifted(random_volume, shift)[inner]
    assert axial_shift(random_volume[inner], moved) == pytest.approx(shift, abs=0.005)


@pytest.mark.parametrize("shift", [-1.7, 0.3, 1.0])
def test_known_shifts_of_tissue_even_when_denoised(tissue, shift) -> None:
    inner = slice(MARGIN, -MARGIN)
    moved = shifted(tissue, shift)
    assert axial_shift(tissue[inner], moved[inner]) == pytest.approx(shift, abs=0.005)
    denoised = 0.5 * gaussian_filter(moved, 1)[inner] + 40  # blur, contrast, offset
    assert axial_shift(tissue[inner], denoised) == pytest.approx(shift, abs=0.005)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8, 10, 12])
def test_aligned_linear_interpolation_is_not_shifted(tissue, factor) -> None:
    measured = tissue[::factor]
    grid = AxialGrid(len(measured), factor)
    linear = interpolate_axial(measured, grid.positions())
    assert abs(axial_shift(tissue[: grid.num_output], linear)) < 0.02


def test_half_a_step_too_far_is_seen(tissue) -> None:
    # What align_corners=False does at factor 8: content lands 3.5 slices too high.
    measured = tissue[::8]
    positions = np.clip((np.arange(249) - 3.5) / 8, 0, 31)
    assert axial_shift(tissue[:249], interpolate_axial(measured, positions)) > 3


def test_what_cannot_be_registered_is_refused(random_volume) -> None:
    with pytest.raises(InputError, match=r"\(80, 64, 64\).*\(79, 64, 64\)"):
        axial_shift(random_volume, random_volume[1:])
    with pytest.raises(InputError, match="at least 7"):
        axial_shift(random_volume[:6], random_volume[:6])
    with pytest.raises(InputError, match="vary along Z"):
        axial_shift(random_volume, np.zeros_like(random_volume))


def test_the_shortest_stack_still_gives_a_number(random_volume) -> None:
    assert axial_shift(random_volume[:7], random_volume[:7]) == pytest.approx(0, abs=0.01)
