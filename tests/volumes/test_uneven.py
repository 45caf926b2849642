"""Slices at uneven distances: where output slices stand between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_d2r.errors import InputError
from napari_d2r.volumes import AxialGrid, axial_positions, interpolate_axial, uneven_grid

STEPS = st.lists(st.floats(0.3, 20), min_size=3, max_size=30)


def test_measured_slices_stand_where_the_table_says():
    grid = uneven_grid(axial_positions([100, 160, 260, 330], 4), factor=23 / 3)  # 10 nm steps
    assert grid.num_output == 24
    positions = grid.positions()
    assert positions[[0, 6, 16, 23]].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(positions[[3, 11, 17]], [0.5, 1.5, 2 + 1 / 7])
    assert grid.gaps(positions)[[0, 5, 6, 15, 16, 23]].tolist() == [0, 0, 1, 1, 2, 2]
    assert grid.is_integer
    assert [grid.index(at) for at in (0, 0.9, 1, 3)] == [0, 6, 6, 23]
    np.testing.assert_allclose(grid.widths(23 / 3, 1, 4), [10, 7])
    assert grid.unevenness == pytest.approx(10 / (23 / 3))


def test_slices_that_fall_between_output_slices_are_not_copied():
    grid = uneven_grid(axial_positions([0, 63, 160, 240], 4), factor=8)
    assert grid.num_copied == 3
    assert not grid.is_integer
    copied = grid.is_copied(grid.positions())
    assert np.flatnonzero(copied).tolist() == [0, 16, 24]


@given(STEPS, st.floats(1.5, 16))
def test_output_slices_are_evenly_spaced_from_the_first_to_at_most_the_last(steps, factor):
    z = np.concatenate([[0], np.cumsum(steps)])
    grid = uneven_grid(z, factor)
    positions = grid.positions()
    assert len(positions) == grid.num_output
    at = np.interp(positions, np.arange(len(z)), z)
    step = z[-1] / (len(z) - 1) / factor
    np.testing.assert_allclose(at, np.arange(len(at)) * step, atol=1e-4 * step)
    assert z[-1] - step * 1.001 < at[-1] <= z[-1] + 1e-9
    middle = len(at) // 2
    parts = [grid.positions(0, middle), grid.positions(middle, len(at))]
    np.testing.assert_array_equal(np.concatenate(parts), positions)


def test_an_even_table_is_the_even_grid():
    uneven, even = uneven_grid(np.arange(9) * 80.0, 8), AxialGrid(9, 8)
    np.testing.assert_array_equal(uneven.positions(), even.positions())


def test_a_falling_table_is_turned():
    np.testing.assert_array_equal(axial_positions([300, 220, 100], 3), [0, 80, 200])


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ([0, 80, 160], "3 positions along Z and the stack 4 slices"),
        ([0, 80, 80, 160], "slice 1 stands at 80 and slice 2 at 80"),
        ([0, 160, 80, 240], "slice 1 stands at 160 and slice 2 at 80"),
        ([0, 80, np.nan, 240], "not finite"),
    ],
)
def test_tables_that_do_not_fit_are_refused(table, told):
    with pytest.raises(InputError, match=told):
        axial_positions(table, 4)


@given(STEPS)
def test_a_cubic_reproduces_a_parabola_between_uneven_slices(steps):
    z = np.concatenate([[0], np.cumsum(steps)]) / 100
    grid = uneven_grid(z, 5)
    positions = grid.positions()
    slices = (z**2 - z)[:, None, None]
    found = interpolate_axial(slices, positions, "cubic", grid.widths(1))[:, 0, 0]
    at = np.interp(positions, np.arange(len(z)), z)
    inner = (positions >= 1) & (positions <= len(z) - 2)
    np.testing.assert_allclose(found[inner], (at**2 - at)[inner], atol=1e-9)


@given(STEPS)
def test_a_ramp_is_reproduced_ends_included(steps):
    z = np.concatenate([[0], np.cumsum(steps)])
    grid = uneven_grid(z, 5)
    positions = grid.positions()
    for kind in ("linear", "cubic"):
        found = interpolate_axial(z[:, None, None], positions, kind, grid.widths(1))[:, 0, 0]
        np.testing.assert_allclose(found, np.interp(positions, np.arange(len(z)), z), atol=1e-6)
