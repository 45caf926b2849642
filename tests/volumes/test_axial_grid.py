"""The output grid z = m / r, and which factor and gap a voxel size asks for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_d2r.errors import InputError
from napari_d2r.volumes import AxialGrid, VoxelSize, resolve_factor, resolve_gap

FACTORS = [2, 2.727, 3, 3.5, 8, 10, 12, 16]


@pytest.mark.parametrize("factor", FACTORS)
def test_positions_are_m_over_r_from_the_first_slice_to_at_most_the_last(factor):
    grid = AxialGrid(13, factor)
    positions = grid.positions()
    assert len(positions) == grid.num_output
    np.testing.assert_allclose(positions, np.arange(grid.num_output) / factor, atol=1e-12)
    assert positions[0] == 0
    assert 12 - 1 / factor < positions[-1] <= 12


@pytest.mark.parametrize("factor", [2, 3, 8, 10, 12, 16])
def test_whole_factors_keep_every_measured_slice_at_j_times_r(factor):
    grid = AxialGrid(63, factor)
    assert grid.is_integer
    assert grid.num_output == 62 * factor + 1
    np.testing.assert_array_equal(grid.positions()[::factor], np.arange(63))
    assert np.count_nonzero(grid.positions() % 1 == 0) == 63


def test_other_factors_keep_the_slices_that_fall_on_the_grid():
    half = AxialGrid(9, 3.5)  # every second slice, at 0, 7, 14 ..
    assert not half.is_integer
    assert np.flatnonzero(half.positions() % 1 == 0).tolist() == [0, 7, 14, 21, 28]
    awkward = AxialGrid(1002, 2.727)  # 2727 output steps are 1000 slices
    assert np.flatnonzero(awkward.positions() % 1 == 0).tolist() == [0, 2727]
    assert awkward.positions()[2727] == 1000


@pytest.mark.parametrize(("num_slices", "factor", "expected"), [(4, 2.727, 9), (5, 3.5, 15)])
def test_number_of_output_slices_for_real_factors(num_slices, factor, expected):
    assert AxialGrid(num_slices, factor).num_output == expected


@given(
    num_slices=st.integers(2, 40),
    factor=st.floats(1.5, 16),
    cut=st.floats(0, 1),
)
def test_a_part_of_the_grid_is_a_part_of_the_whole(num_slices, factor, cut):
    grid = AxialGrid(num_slices, factor)
    middle = round(cut * grid.num_output)
    parts = [grid.positions(0, middle), grid.positions(middle, grid.num_output)]
    np.testing.assert_array_equal(np.concatenate(parts), grid.positions())
    assert grid.positions()[-1] <= num_slices - 1


@pytest.mark.parametrize("factor", [1, 0.5, -2, math.nan, math.inf])
def test_a_grid_that_is_no_finer_is_refused(factor):
    with pytest.raises(InputError, match="greater than 1"):
        AxialGrid(5, factor)


@pytest.mark.parametrize(
    ("voxel_size", "factor"),
    [
        (VoxelSize(80, 10, 10), 8.0),
        (VoxelSize(40, 10.0001, 10.0001), 4.0),  # rounding in a file is not a real factor
        (VoxelSize(40, 3.333, 3.333), 12.0),
        (VoxelSize(30, 11, 11), 30 / 11),
        (VoxelSize(40, 10, 5), 8.0),  # against the finer lateral axis
    ],
)
def test_the_factor_that_makes_voxels_isotropic(voxel_size, factor):
    assert resolve_factor(voxel_size, None) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(
    ("voxel_size", "factor", "words"),
    [
        (VoxelSize(8, 8, 8), None, r"nothing to do.*\(8 nm\).*as fine as laterally.*--factor"),
        (VoxelSize(4, 8, 8), None, r"nothing to do.*\(4 nm\).*finer than laterally.*--voxel-size"),
        (VoxelSize(12, 10, 10), None, r"factor of 1\.2 is outside 1\.5 to 16.*--factor"),
        (VoxelSize(200, 10, 10), None, r"factor of 20 is outside 1\.5 to 16"),
        (VoxelSize(80, 10, 10), 17, r"factor of 17 is outside"),
        (VoxelSize(80, 10, 10), 1, r"greater than 1, not 1\."),
        (VoxelSize(80, 10, 10), -3, r"greater than 1, not -3\."),
        (VoxelSize(80, 10, 10), math.nan, r"nan"),
    ],
)
def test_factors_that_make_no_sense_are_refused_in_one_sentence(voxel_size, factor, words):
    with pytest.raises(InputError, match=words) as caught:
        resolve_factor(voxel_size, factor)
    assert "\n" not in str(caught.value)


def test_an_explicit_factor_is_taken_even_where_voxels_are_isotropic():
    assert resolve_factor(VoxelSize(8, 8, 8), 3.5) == 3.5


def test_the_gap_is_the_anisotropy_whatever_the_output_sampling():
    assert resolve_gap(VoxelSize(80, 10, 10), 4) == 8
    assert resolve_gap(VoxelSize(80, 10, 10), 8) == 8
    assert resolve_gap(VoxelSize(30, 11, 11), 3) == pytest.approx(30 / 11)
    assert resolve_gap(VoxelSize(8, 8, 8), 4) == 4  # shows none: the factor insisted upon
