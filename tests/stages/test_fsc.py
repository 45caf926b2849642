"""FSC of volumes that stand on grids of their own, with linear beside them."""

from __future__ import annotations

import csv
import io
import itertools
import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_d2r.errors import InputError
from napari_d2r.figures import draw_fsc
from napari_d2r.jobs import CancelToken, Finished, Outcome, Progress, Warned
from napari_d2r.metrics import resolution_curves
from napari_d2r.stages.fsc import FSCReport, Placed, fsc_placed_stream
from napari_d2r.volumes import AxialGrid, Volume, VoxelSize, interpolate_axial

CUBIC = VoxelSize(10, 10, 10)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(0).standard_normal((41, 24, 26)), 1.2)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def at(data, name="volume", origin=(0, 0, 0), voxel=CUBIC) -> Placed:
    return Placed(Volume(data, voxel, name), origin)


def measure(first: Placed, second: Placed, **options) -> FSCReport:
    *_, last = fsc_placed_stream(first, second, **options)
    assert last.outcome is Outcome.COMPLETED
    return last.result


def test_volumes_are_compared_where_both_have_voxels(truth) -> None:
    rng = np.random.default_rng(1)
    noisy = truth + rng.normal(0, 30, truth.shape)
    # Voxel (3, 2, 1) of one stands where voxel (0, 0, 0) of the other does, which ends sooner.
    part = at(noisy[3:38, 2:, 1:20], "part", (130, 220, -90))
    report = measure(at(truth, "whole", (100, 200, -100)), part)
    expected = resolution_curves(truth[3:38, 2:, 1:20], noisy[3:38, 2:, 1:20], CUBIC)
    np.testing.assert_array_equal(report.curves.cone_z.correlation, expected.cone_z.correlation)
    np.testing.assert_array_equal(report.curves.hann.correlation, expected.hann.correlation)
    assert (report.start, report.shape) == ((3, 2, 1), (35, 22, 19))


def test_a_coarser_volume_is_compared_at_its_own_slices(truth) -> None:
    coarse = at(truth[2::4], "coarse", (20, 0, 0), VoxelSize(40, 10, 10))
    for pair in itertools.permutations((at(truth), coarse)):
        report = measure(*pair)
        assert report.shape == (10, 24, 26)
        assert report.voxel_size == VoxelSize(40, 10, 10)
        np.testing.assert_allclose(report.curves.plain.correlation, 1)
        assert report.curves.plain.resolution_text(0.143) == "not crossed"
        # In XY the curve goes on to the pixels, whatever the slices are apart.
        assert report.curves.cone_xy.frequency_per_nm[-1] == pytest.approx(0.05)
        assert report.curves.cone_z.frequency_per_nm[-1] <= 0.0125


def test_unrelated_noise_has_nothing_in_common() -> None:
    a, b = np.random.default_rng(2).standard_normal((2, 32, 32, 32))
    report = measure(at(a), at(b))
    assert abs(report.curves.plain.correlation[4:].mean()) < 0.02
    assert report.curves.plain.resolution_at("half-bit") > 200


def test_a_volume_sharp_in_one_direction_is_told(truth) -> None:
    rng = np.random.default_rng(3)
    a, noise = rng.standard_normal((2, 48, 48, 48))
    qz, qy, qx = np.meshgrid(*[np.fft.fftfreq(48)] * 3, indexing="ij")
    shared = {  # which frequencies are those of a: below a quarter cycle per voxel
        "cone_z": abs(qz) <= 0.25,
        "cone_xy": np.hypot(qy, qx) <= 0.25,
    }
    for name, kept in shared.items():
        b = np.fft.ifftn(np.where(kept, np.fft.fftn(a), np.fft.fftn(noise))).real
        curves = measure(at(a), at(b)).curves
        other = "cone_xy" if name == "cone_z" else "cone_z"
        assert getattr(curves, name).resolution_at(0.5) == pytest.approx(40, rel=0.12)
        far = getattr(curves, other).resolution_at(0.5)
        assert far is None or far < 25


def test_linear_of_the_source_stands_beside_the_result(truth) -> None:
    stack = truth[1::4]  # 10 slices, 40 nm apart, from 10 nm on
    source = at(stack, "stack", (10, 0, 0), VoxelSize(40, 10, 10))
    result = at(truth[3:30] // 2 + 5, "result", (30, 0, 0))
    report = measure(result, at(truth, "truth"), source=source)
    # What all three share: from slice 3, where the result begins, to 29, where it ends.
    assert (report.start, report.shape) == ((0, 0, 0), (27, 24, 26))
    linear = interpolate_axial(stack, AxialGrid(10, 4).positions())[2:29]
    expected = resolution_curves(linear, truth[3:30], CUBIC)
    assert report.linear is not None
    np.testing.assert_array_equal(report.linear.plain.correlation, expected.plain.correlation)
    sentence = report.sentence()
    assert f"linear interpolation of stack: {expected.cone_z.resolution_text(0.5)}" in sentence
    assert "all 27 x 24 x 26 voxels" in sentence
    longer = measure(at(truth, "r"), at(truth, "t"), source=source)
    assert longer.shape[0] == 37  # the stack ends at slices 1 and 37
    np.testing.assert_allclose(longer.curves.plain.correlation, 1)


def test_only_the_middle_is_compared_where_an_edge_is_given(truth) -> None:
    events = list(fsc_placed_stream(at(truth), at(truth + 0.5), max_edge=16))
    report = events[-1].result
    assert (report.start, report.shape) == ((12, 4, 5), (16, 16, 16))
    assert not any(isinstance(event, Warned) for event in events)  # it was asked for
    assert "the central 16 x 16 x 16 voxels" in report.sentence()
    done = [event.done / event.total for event in events if isinstance(event, Progress)]
    assert done == sorted(done) and done[-1] == 1


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (at(np.ones((9, 9, 9)), "b", (0, 0, 1000)), "do not overlap along x"),
        (at(np.ones((9, 9, 9)), "b", (5, 0, 0)), "5 nm beside each other"),
        (at(np.ones((9, 9, 9)), "b", (0, 0, 0), VoxelSize(15, 10, 10)), "15 nm apart"),
        (at(np.ones((9, 24, 26)), "b"), "b is constant"),
        (at(np.indices((2, 24, 26))[2] * 1.0, "b"), "at least 4"),
    ],
)
def test_what_does_not_coincide_is_refused(truth, second, words) -> None:
    with pytest.raises(InputError, match=words):
        measure(at(truth, "a"), second)


def test_a_source_that_is_none_is_refused(truth) -> None:
    for origin, shape in (((0, 0, 5), (9, 24, 26)), ((0, 50, 0), (9, 24, 26))):
        source = at(np.ones(shape), "stack", origin, VoxelSize(40, 10, 10))
        with pytest.raises(InputError, match=r"stack .* or none"):
            measure(at(truth), at(truth), source=source)


def test_every_step_can_be_the_last(truth) -> None:
    num_events = len(list(fsc_placed_stream(at(truth), at(truth[::-1]), source=None)))
    for stop_after in range(1, num_events - 1):
        token = CancelToken()
        last = None
        for number, event in enumerate(
            fsc_placed_stream(at(truth), at(truth[::-1]), cancel=token), 1
        ):
            last = event
            if number == stop_after:
                token.cancel()
        assert last == Finished(Outcome.CANCELLED)


def test_the_report_as_json_csv_table_and_figure(truth, tmp_path) -> None:
    source = at(truth[::4], "stack", voxel=VoxelSize(40, 10, 10))
    report = measure(at(np.flip(truth, 1), "result"), at(truth, "truth"), source=source)
    fields = json.loads(report.to_json())
    assert fields["source"] == "stack"
    for group in ("fsc", "fsc_linear"):
        for curve in fields[group].values():
            assert set(curve["resolution_nm"]) == {"0.5", "0.143", "half-bit"}
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    curve = report.linear.cone_xy
    own = [
        row
        for row in rows
        if row["volume"] == "linear interpolation of stack"
        and row["directions"] == "within 30° of XY"
    ]
    assert [float(row["correlation"]) for row in own] == pytest.approx(curve.correlation, abs=1e-5)
    assert own[1]["period_nm"] == f"{1 / curve.frequency_per_nm[1]:.6g}"
    assert [float(row["half_bit"]) for row in own] == pytest.approx(curve.half_bit, abs=1e-5)
    table = report.table()
    assert table.count("| result") + table.count(" result |") >= 4 and "half-bit" in table
    draw_fsc(report, tmp_path / "fsc.pdf")
    assert (tmp_path / "fsc.pdf").read_bytes().startswith(b"%PDF")
