"""Interpolation along Z: exact on measured slices, on ramps, and against other formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import interp1d

from napari_d2r.errors import InputError
from napari_d2r.volumes import SUPPORTED_DTYPES, AxialGrid, interpolate_axial, to_dtype

KINDS = ["nearest", "linear", "cubic"]
FACTORS = [2, 2.727, 3, 3.5, 8, 10, 12, 16]


def stack(dtype: str, seed: int = 0) -> np.ndarray:
    """(6, 5, 7) of the whole range of integers, or of awkward floats."""
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, (6, 5, 7), dtype, endpoint=True)
    return (rng.standard_normal((6, 5, 7)) * 1e3 / 7).astype(dtype)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("dtype", SUPPORTED_DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_measured_slices_return_bit_by_bit(kind, dtype, factor):
    slices = stack(dtype)
    positions = AxialGrid(6, factor).positions()
    output = interpolate_axial(slices, positions, kind)
    assert output.dtype == slices.dtype
    assert output.shape == (len(positions), 5, 7)
    whole = np.flatnonzero(positions % 1 == 0)
    assert len(whole) >= 1
    np.testing.assert_array_equal(output[whole], slices[positions[whole].astype(int)])


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("dtype", SUPPORTED_DTYPES)
@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_a_ramp_along_z_is_reproduced_ends_included(kind, dtype, factor):
    slope = np.array([[12.0, -12.0], [0.0, 3.0]])
    z = np.arange(6)[:, None, None]
    slices = (60 + slope * z).astype(dtype)
    positions = AxialGrid(6, factor).positions()
    output = interpolate_axial(slices, positions, kind)
    exact = 60 + slope * positions[:, None, None]
    if np.issubdtype(dtype, np.integer):
        assert np.abs(output - exact).max() <= 0.5 + 1e-9  # the nearest integer
        even = np.abs(exact % 1 - 0.5) > 1e-6  # halves may go either way
        np.testing.assert_array_equal(output[even], np.rint(exact)[even])
    else:
        tolerance = np.finfo(dtype).eps * 512
        np.testing.assert_allclose(output.astype(np.float64), exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("factor", [2.727, 8])
def test_linear_agrees_with_scipy(factor):
    slices = stack("float64")
    positions = AxialGrid(6, factor).positions()
    expected = interp1d(np.arange(6), slices, axis=0)(positions)
    np.testing.assert_allclose(interpolate_axial(slices, positions, "linear"), expected, rtol=1e-12)


def catmull_rom(before: float, below: float, above: float, after: float, d: float) -> float:
    """The cubic through ``below`` and ``above`` with slopes (next - previous) / 2."""
    slope_below, slope_above = (above - before) / 2, (after - below) / 2
    h00, h10 = 2 * d**3 - 3 * d**2 + 1, d**3 - 2 * d**2 + d
    h01, h11 = -2 * d**3 + 3 * d**2, d**3 - d**2
    return h00 * below + h10 * slope_below + h01 * above + h11 * slope_above


@pytest.mark.parametrize("factor", [2.727, 8])
def test_cubic_agrees_with_hermite_splines_written_out(factor):
    slices = stack("float64")
    positions = AxialGrid(6, factor).positions()
    longer = np.concatenate([2 * slices[:1] - slices[1:2], slices, 2 * slices[-1:] - slices[-2:-1]])
    expected = []
    for position in positions:
        j = min(int(position), 4)
        expected.append(catmull_rom(*longer[j : j + 4], position - j))
    output = interpolate_axial(slices, positions, "cubic")
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-10)


def test_nearest_takes_the_closer_slice_and_the_lower_one_of_a_tie():
    slices = stack("uint8")
    output = interpolate_axial(slices, np.array([0.25, 0.5, 0.75, 4.5, 4.51]), "nearest")
    np.testing.assert_array_equal(output, slices[[0, 0, 1, 4, 5]])


def test_integers_are_rounded_and_held_within_their_range():
    step = np.array([0, 0, 255, 255, 255, 0], np.uint8)[:, None, None]
    positions = AxialGrid(6, 8).positions()
    free = interpolate_axial(step.astype(np.float64), positions, "cubic")
    assert free.min() < -1  # Catmull-Rom overshoots a step
    assert free.max() > 256
    output = interpolate_axial(step, positions, "cubic")
    np.testing.assert_array_equal(output, np.clip(np.rint(free), 0, 255))


def test_to_dtype_rounds_instead_of_cutting():
    values = np.array([-7.0, 0.49, 0.51, 254.6, 300.0])
    assert to_dtype(values, np.dtype("uint8")).tolist() == [0, 0, 1, 255, 255]
    assert to_dtype(values, np.dtype("int8")).tolist() == [-7, 0, 1, 127, 127]
    np.testing.assert_array_equal(to_dtype(values, np.dtype("float64")), values)


def test_a_single_slice_is_all_there_is():
    slices = stack("uint16")[:1]
    np.testing.assert_array_equal(interpolate_axial(slices, np.zeros(2)), slices[[0, 0]])


def test_an_unknown_kind_is_named():
    with pytest.raises(InputError, match="'lanczos'"):
        interpolate_axial(stack("uint8"), np.array([0.5]), "lanczos")
