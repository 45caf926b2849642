"""What Compare shows, against numpy: planes, profiles, grids and defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zarr

from napari_d2r.errors import InputError
from napari_d2r.volumes import AxialGrid, Volume, interpolate_axial
from napari_d2r.widgets._compare_sampling import (
    AXES,
    PLANES,
    Picture,
    Stack,
    common_grid,
    line_points,
    sample_plane,
    sample_points,
)
from napari_d2r.widgets._compare_scene import default_choice, make_scene

R = 4


@pytest.fixture
def pair(phantom: tuple[Volume, Volume]) -> tuple[Stack, Stack]:
    """The phantom interpolated linearly, and its truth as it is; neither begins at zero."""
    measured, truth = phantom
    origin = (100.0, 20.0, 30.0)
    return (
        Stack("stack", measured.data, (40.0, 10.0, 10.0), origin, True),
        Stack("truth", truth.data, (10.0, 10.0, 10.0), origin, False),
    )


def _whole(stack: Stack, grid: Any, plane: Any, at: int) -> Picture:
    _, down, right = AXES[plane]
    rows, columns = (range(grid[axis].first, grid[axis].last + 1) for axis in (down, right))
    picture = sample_plane(stack, grid, plane, at, rows, columns)
    assert picture is not None
    return picture


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("at", [8, 13])
def test_planes_are_slices_of_the_volume_and_of_its_aligned_interpolation(
    pair: tuple[Stack, Stack], plane: Any, at: int
) -> None:
    grid = common_grid(pair)
    assert grid[0].step == 10 and grid[0].origin == 100
    across = AXES[plane][0]
    volumes = (
        interpolate_axial(np.asarray(pair[0].data), AxialGrid(9, R).positions()),
        np.asarray(pair[1].data),
    )
    for stack, volume in zip(pair, volumes, strict=True):
        picture = _whole(stack, grid, plane, at)
        np.testing.assert_array_equal(picture.values, volume.take(at, across))
        assert picture.values.dtype == volume.dtype


def test_only_what_is_asked_for_is_read(pair: tuple[Stack, Stack]) -> None:
    read = []

    class Spy:
        shape, dtype = pair[0].data.shape, pair[0].data.dtype

        def __getitem__(self, key: Any) -> Any:
            read.append(key)
            return pair[0].data[key]

    stack = Stack("spy", Spy(), pair[0].step, pair[0].origin, True)
    picture = sample_plane(stack, common_grid(pair), "XY", 6, range(10, 30, 2), range(0, 64, 2))
    assert read == [(slice(1, 3), slice(10, 29), slice(0, 63))]
    assert picture is not None
    assert picture.rows == range(10, 30, 2)
    expected = interpolate_axial(np.asarray(pair[0].data), np.array([1.5]))[0]
    np.testing.assert_array_equal(picture.values, expected[10:30:2, ::2])


def test_a_factor_that_is_no_whole_number_keeps_the_phase(pair: tuple[Stack, Stack]) -> None:
    fine = Stack(
        "result", np.zeros((21, 64, 64), np.uint8), (16.0, 10.0, 10.0), (100, 20, 30), False
    )
    grid = common_grid((pair[0], fine))
    picture = _whole(pair[0], grid, "XZ", 5)
    expected = interpolate_axial(np.asarray(pair[0].data), AxialGrid(9, 2.5).positions())[:, 5]
    np.testing.assert_array_equal(picture.values, expected)


def test_voxels_as_they_are_reach_to_their_edges(pair: tuple[Stack, Stack]) -> None:
    raw = Stack("raw", pair[0].data, pair[0].step, pair[0].origin, False)
    grid = common_grid((raw, pair[1]))
    picture = _whole(raw, grid, "XZ", 0)
    slices = np.ceil(np.clip(np.asarray(picture.rows) / R, 0, 8) - 0.5).astype(int)
    np.testing.assert_array_equal(picture.values, np.asarray(raw.data)[slices, 0])
    assert picture.rows[0] == -2 and picture.rows[-1] == 34  # 20 nm beyond both ends


def test_a_crop_lies_where_it_was_cut_and_nothing_is_made_up_beside_it(
    pair: tuple[Stack, Stack],
) -> None:
    truth = pair[1]
    crop = Stack("crop", truth.data[4:20, 8:40, 16:48], truth.step, (140.0, 100.0, 190.0), False)
    grid = common_grid((truth, crop))
    picture = _whole(crop, grid, "XY", 10)
    assert (picture.rows, picture.columns) == (range(8, 40), range(16, 48))
    np.testing.assert_array_equal(picture.values, np.asarray(truth.data)[10, 8:40, 16:48])
    assert sample_plane(crop, grid, "XY", 30, range(64), range(64)) is None


def test_profiles_are_voxels_where_voxels_are_and_linear_between(pair: tuple[Stack, Stack]) -> None:
    linear, truth = pair
    start, stop = (100.0, 70.0, 130.0), (420.0, 70.0, 130.0)
    distances, points = line_points(start, stop, 10.0)
    np.testing.assert_allclose(distances, np.arange(33) * 10.0)
    np.testing.assert_array_equal(sample_points(truth, points), np.asarray(truth.data)[:, 5, 10])
    column = np.asarray(linear.data)[:, 5, 10].astype(float)
    expected = np.interp(np.arange(33) / R, np.arange(9), column)
    np.testing.assert_allclose(sample_points(linear, points), expected)


def test_profiles_run_askew_and_end_where_the_stack_ends(pair: tuple[Stack, Stack]) -> None:
    distances, points = line_points((100.0, 20.0, 30.0), (100.0, 60.0, 60.0), 5.0)
    assert distances[-1] == pytest.approx(50)
    values = sample_points(pair[1], points)
    assert values[0] == pair[1].data[0, 0, 0]
    assert values[-1] == pair[1].data[0, 4, 3]
    middle = np.asarray(pair[1].data)[0, 2, 1:3].mean()
    assert values[5] == pytest.approx(middle)
    assert np.isnan(sample_points(pair[1], np.array([[100.0, 20.0, 5.0]]))).all()


@pytest.mark.parametrize("kind", ["zarr", "dask", "uint16", "float32"])
def test_any_array_gives_the_same_picture(pair: tuple[Stack, Stack], kind: str) -> None:
    data = np.asarray(pair[0].data)
    if kind == "zarr":
        other: Any = zarr.array(data, chunks=(3, 16, 16))
    elif kind == "dask":
        import dask.array

        other = dask.array.from_array(data, chunks=(3, 16, 16))
    else:
        other = data.astype(kind) * 7
    grid = common_grid(pair)
    shown = _whole(Stack("other", other, pair[0].step, pair[0].origin, True), grid, "XZ", 9)
    factor = 1 if kind in ("zarr", "dask") else 7
    rounding = 0 if factor == 1 else factor
    expected = _whole(pair[0], grid, "XZ", 9).values.astype(float) * factor
    np.testing.assert_allclose(shown.values, expected, atol=rounding)


def test_layers_in_nm_and_um_share_a_world_and_pixels_are_refused(
    add_stack: Callable[..., Any],
) -> None:
    in_nm = add_stack()
    in_um = add_stack(
        name="µm", units=("um",) * 3, scale=(0.04, 0.01, 0.01), translate=(0.1, 0.02, 0.03)
    )
    scene = make_scene([in_nm, in_um], [True, False])
    first, second = scene.stacks
    np.testing.assert_allclose(first.step, second.step)
    np.testing.assert_allclose(first.origin, second.origin)
    in_pixels = add_stack(name="raw", units=("pixel",) * 3, scale=(1, 1, 1))
    with pytest.raises(InputError, match="raw is in pixels"):
        make_scene([in_nm, in_pixels], [True, False])
    assert make_scene([in_pixels], [False]).unit == "pixels"


def test_source_result_and_reference_are_chosen_first(
    viewer: Any, add_stack: Callable[..., Any], phantom: tuple[Volume, Volume]
) -> None:
    truth = np.asarray(phantom[1].data)
    stack = add_stack(metadata={"napari_d2r": {"source": "/folder/stack.tif"}})  # as read
    assert default_choice(viewer.layers, None) == [stack]
    reference = add_stack(truth, name="truth", scale=(10, 10, 10))
    result = add_stack(
        truth,
        name="result",
        scale=(10, 10, 10),
        metadata={"napari_d2r": {"source": "stack", "factor": 4}},
    )
    viewer.add_labels(np.zeros((4, 8, 8), np.uint8))
    other = add_stack(np.zeros((3, 8, 8), np.uint8), name="something else")
    assert default_choice(viewer.layers, other) == [stack, result, reference]
