"""The cosine mean-reverting schedule and the grids of times over it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_d2r.diffusion import MeanRevertingSchedule, time_grid
from napari_d2r.errors import InputError

SCHEDULE = MeanRevertingSchedule()


def test_published_coefficients():
    # Values of the reference schedule: T = 100, delta = 50 / 255, eps = 0.005, s = 0.008.
    assert SCHEDULE.dt == pytest.approx(0.104094, abs=1e-6)
    assert SCHEDULE.theta[[1, 50, 100]] == pytest.approx([0.00169, 0.50616, 0.99977], abs=1e-5)
    expected = [0.98536, 0.91623, 0.36082, 0.03745, 0.005]
    assert SCHEDULE.alpha[[10, 20, 50, 80, 100]] == pytest.approx(expected, abs=1e-5)
    expected = [0.00368, 0.03342, 0.18287, 0.19608]
    assert SCHEDULE.sigma_bar[[1, 10, 50, 100]] == pytest.approx(expected, abs=1e-5)
    assert SCHEDULE.log_snr[[1, 100]] == pytest.approx([5.60, -3.67], abs=0.01)


def test_ends_are_exact_and_tables_are_safe_to_share():
    assert SCHEDULE.alpha[0] == 1
    assert SCHEDULE.sigma_bar[0] == 0
    assert SCHEDULE.alpha[-1] == pytest.approx(SCHEDULE.eps, rel=1e-12)
    for table in (SCHEDULE.theta, SCHEDULE.sigma, SCHEDULE.alpha, SCHEDULE.sigma_bar):
        assert table.shape == (101,)
        assert table.dtype == np.float64
        assert not table.flags.writeable
    assert MeanRevertingSchedule() == SCHEDULE
    assert hash(SCHEDULE) == hash(MeanRevertingSchedule())
    assert MeanRevertingSchedule(num_steps=50) != SCHEDULE


@pytest.mark.parametrize(
    "wrong", [{"num_steps": 0}, {"delta": 0.0}, {"eps": 1.0}, {"eps": 0.0}, {"offset": -1.0}]
)
def test_impossible_schedules_are_refused(wrong):
    with pytest.raises(InputError, match="schedule needs"):
        MeanRevertingSchedule(**wrong)


def test_known_grids():
    assert time_grid(SCHEDULE, 5) == (100, 80, 60, 40, 20, 0)
    assert time_grid(SCHEDULE, 8) == (100, 88, 75, 62, 50, 38, 25, 12, 0)
    grid = time_grid(SCHEDULE, 8, spacing="lambda")
    assert grid == (100, 87, 73, 56, 33, 14, 5, 1, 0)
    assert time_grid(SCHEDULE) == tuple(range(100, -1, -1))
    assert time_grid(SCHEDULE, 1, start=30) == (30, 0)


@given(start=st.integers(1, 100), data=st.data(), spacing=st.sampled_from(["uniform", "lambda"]))
def test_grids_fall_strictly_from_start_to_zero(start, data, spacing):
    steps = data.draw(st.integers(1, start))
    grid = time_grid(SCHEDULE, steps, start, spacing)
    assert len(grid) == steps + 1
    assert grid[0] == start
    assert grid[-1] == 0
    assert (np.diff(grid) < 0).all()


@pytest.mark.parametrize(("steps", "start"), [(0, 10), (11, 10), (5, 0), (5, 101)])
def test_impossible_grids_are_refused(steps, start):
    with pytest.raises(InputError, match="not"):
        time_grid(SCHEDULE, steps, start)
