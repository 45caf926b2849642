"""Grey values to the unit range and back."""

from __future__ import annotations

import numpy as np
import pytest

from napari_d2r.errors import InputError
from napari_d2r.volumes import IntensityRange, Volume, VoxelSize, require_finite

ISOTROPIC = VoxelSize(1, 1, 1)


def volume(data: np.ndarray) -> Volume:
    return Volume(data, ISOTROPIC, "stack.tif")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("span", [(0.013, 0.987), (0.4, 0.6)])
def test_every_grey_level_survives_the_round_trip(dtype, span):
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1).astype(dtype)
    width = limits.max - limits.min
    intensity = IntensityRange(*(limits.min + part * width for part in span))
    unit = intensity.to_unit(values)
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(intensity.from_unit(unit, values.dtype), values)


def test_low_and_high_map_to_0_and_1_and_values_outside_are_kept():
    intensity = IntensityRange(20, 220)
    unit = intensity.to_unit(np.array([20, 120, 220, 255], np.uint8))
    np.testing.assert_allclose(unit, [0, 0.5, 1, 1.175], rtol=1e-6)


def test_what_a_network_overshoots_is_clipped_to_the_type():
    intensity = IntensityRange(20, 220)
    back = intensity.from_unit(np.array([-1, 2], np.float32), np.dtype("uint8"))
    assert back.tolist() == [0, 255]


def test_the_range_ignores_hot_pixels_and_dropouts():
    rng = np.random.default_rng(0)
    data = rng.uniform(100, 200, (20, 40, 40)).astype(np.float32)
    expected = IntensityRange.of(volume(data))
    data[::7, 3, 5] = 60_000
    data[::5, 9, 9] = -60_000
    robust = IntensityRange.of(volume(data))
    assert robust.low == pytest.approx(expected.low, abs=1)
    assert robust.high == pytest.approx(expected.high, abs=1)
    assert 100 <= robust.low < 101
    assert 199 < robust.high <= 200


def test_a_few_bright_voxels_on_an_even_background_are_a_signal():
    data = np.zeros((5, 50, 50), np.uint8)
    data[2, 3, 4] = 200
    intensity = IntensityRange.of(volume(data))
    assert (intensity.low, intensity.high) == (0, 200)


def test_a_constant_volume_is_refused_by_name():
    with pytest.raises(InputError, match=r"stack\.tif is constant \(every voxel is 7\)"):
        IntensityRange.of(volume(np.full((5, 8, 8), 7, np.uint8)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_refused_by_name(bad):
    data = np.random.default_rng(0).random((5, 8, 8)).astype(np.float32)
    data[2, 3, 4] = bad
    with pytest.raises(InputError, match=r"stack\.tif holds NaN or infinite"):
        IntensityRange.of(volume(data))
    with pytest.raises(InputError, match="block holds NaN or infinite"):
        require_finite(data, "block")
    require_finite(data[:2], "block")
