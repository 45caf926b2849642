"""Slices as points, as means over a gap and through a blur: closed forms, each in phase."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from napari_d2r.errors import InputError
from napari_d2r.volumes import Degradation, interpolate_axial

ALL = [Degradation(), Degradation("block"), Degradation("gaussian", sigma=2.0)]


@pytest.mark.parametrize("factor", [2, 3, 8])
@pytest.mark.parametrize("degradation", ALL, ids=lambda d: d.kind)
def test_a_constant_stays_one_and_weights_mirror(degradation, factor):
    matrix = degradation.matrix(40, factor)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    kernel = degradation.kernel(factor)
    np.testing.assert_array_equal(kernel, kernel[::-1])
    constant = np.full((40, 2, 3), 77, np.uint8)
    measured = degradation.simulate(constant, factor)
    assert (measured == 77).all()
    assert measured.dtype == np.uint8
    assert len(measured) == len(matrix)


@pytest.mark.parametrize("kind", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("factor", [2, 3, 5, 8])
@pytest.mark.parametrize("degradation", ALL, ids=lambda d: d.kind)
def test_a_ramp_keeps_its_phase(degradation, factor, kind):
    """Measured, then interpolated to the grid that the degradation says: every slice in place."""
    num_slices = 9 * factor + 1
    z = np.arange(num_slices, dtype=np.float64)
    measured = degradation.simulate(z[:, None, None], factor)
    centres = degradation.phase(factor) + factor * np.arange(len(measured))
    if degradation.kind == "gaussian":  # cut at the ends, where it leans inwards
        measured[[0, -1]] = centres[[0, -1], None, None]
        measured[:, 0, 0] = np.where(
            (centres < 8) | (centres >= num_slices - 8), centres, measured[:, 0, 0]
        )
    np.testing.assert_allclose(measured[:, 0, 0], centres, atol=1e-9)
    grid = degradation.grid(len(measured), factor)
    found = interpolate_axial(measured, grid.positions(), kind)[:, 0, 0]
    wanted = degradation.first(factor) + np.arange(grid.num_output)
    assert wanted[-1] == math.floor(centres[-1])
    error = found - wanted
    if kind == "nearest":  # as often too early as too late
        assert np.abs(error).max() <= factor / 2
    else:
        np.testing.assert_allclose(error, 0, atol=1e-9)


@pytest.mark.parametrize("degradation", ALL, ids=lambda d: d.kind)
def test_the_operator_is_what_simulate_does(degradation):
    volume = np.random.default_rng(0).random((35, 4, 5))
    expected = np.tensordot(degradation.matrix(35, 4), volume, axes=1)
    np.testing.assert_allclose(degradation.simulate(volume, 4), expected, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 8])
def test_white_noise_loses_what_the_weights_say(factor):
    noise = np.random.default_rng(0).standard_normal((64 * factor, 48, 48))
    for degradation in ALL:
        expected = np.square(degradation.kernel(factor)).sum()
        inner = degradation.simulate(noise, factor)[8:-8]
        assert inner.var() == pytest.approx(expected, rel=0.05)
    assert np.square(Degradation("block").kernel(factor)).sum() == pytest.approx(1 / factor)
    blurred = np.square(Degradation("gaussian", 2.0).kernel(factor)).sum()
    assert blurred == pytest.approx(1 / (2 * math.sqrt(math.pi) * 2), rel=1e-3)


def test_a_blur_agrees_with_scipy_away_from_the_ends():
    volume = np.random.default_rng(0).random((80, 3, 4))
    expected = gaussian_filter1d(volume, 3.0, axis=0, truncate=6)[::5]
    found = Degradation("gaussian", sigma=3.0).simulate(volume, 5)
    np.testing.assert_allclose(found[3:-3], expected[3:-3], atol=2e-4)


def test_slices_and_blocks_by_hand():
    volume = np.arange(10, dtype=np.uint16)[:, None, None] * 10
    assert Degradation().simulate(volume, 3).ravel().tolist() == [0, 30, 60, 90]
    assert Degradation("block").simulate(volume, 3).ravel().tolist() == [10, 40, 70]
    assert Degradation("block").simulate(volume, 4).ravel().tolist() == [15, 55]
    assert Degradation("block").grid(2, 4).num_output == 4  # slices 2 to 5: between 1.5 and 5.5
    assert Degradation("block").first(4) == 2
    with pytest.raises(InputError, match="10 slices are too few for blocks of 12"):
        Degradation("block").simulate(volume, 12)


@pytest.mark.parametrize("width", [1.5, 2.727, 6.4])
def test_a_block_of_any_width_has_that_width(width):
    weights = Degradation("block").kernel(width)
    assert len(weights) % 2 == 1
    assert weights.sum() == pytest.approx(1)
    assert weights.max() == pytest.approx(1 / width)
    assert weights[0] <= weights.max()


def test_only_point_samples_are_copied_and_the_last_slice_ends_the_last_gap():
    for degradation in ALL:
        grid = degradation.grid(5, 3)
        positions = grid.positions()
        whole = positions % 1 == 0
        assert whole.sum() == 5
        assert (grid.is_copied(positions) == (whole & degradation.is_sampling)).all()
        assert grid.gaps(positions)[-1] == 3


def test_a_blind_blur_is_drawn_between_its_bounds_and_a_known_one_is_not_drawn():
    blind = Degradation("gaussian", sigma=4.0, spread=2.0)
    rng = np.random.default_rng(0)
    sigmas = [blind.drawn(rng).sigma for _ in range(300)]
    assert 2 <= min(sigmas) < 2.1
    assert 7.8 < max(sigmas) <= 8
    before = rng.bit_generator.state
    for known in (*ALL, Degradation("block", spread=2)):
        assert known.drawn(rng) is known
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("wrong", [{"sigma": 0}, {"sigma": math.nan}, {"spread": 0.5}])
def test_a_blur_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match="sigma above 0"):
        Degradation("gaussian", **wrong)
    with pytest.raises(InputError, match="one of slice, block, gaussian, not 'mean'"):
        Degradation("mean")
