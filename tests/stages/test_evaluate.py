"""Evaluation and FSC on small volumes with a known answer, and the ruler on real tissue."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from napari_d2r.errors import InputError
from napari_d2r.figures import draw_evaluation, draw_fsc
from napari_d2r.jobs import Finished, Outcome, Progress, StageStarted, Started, Warned
from napari_d2r.metrics import PLANES, axial_shift, fourier_shell_correlation, score_planes
from napari_d2r.stages import _comparison
from napari_d2r.stages.evaluate import EvaluationReport, evaluate, evaluate_stream
from napari_d2r.stages.fsc import fsc, fsc_stream
from napari_d2r.volumes import AxialGrid, Volume, VoxelSize, interpolate_axial

ISOTROPIC = VoxelSize(10, 10, 10)


def content(seed: int, shape=(27, 24, 22)) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def volume(array: np.ndarray, name: str = "volume", voxel_size=ISOTROPIC) -> Volume:
    return Volume(array, voxel_size, name)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return content(0)


@pytest.fixture(scope="module")
def restored(truth) -> np.ndarray:
    """25 slices, better than linear: part of the truth, measured slices kept."""
    linear = interpolate_axial(truth[::4], AxialGrid(7, 4).positions())
    better = np.rint(0.5 * linear + 0.5 * truth[:25]).astype(np.uint8)
    better[::4] = truth[:25:4]
    return better


@pytest.fixture(scope="module")
def report(truth, restored) -> EvaluationReport:
    return evaluate(volume(restored, "out"), volume(truth, "truth"), factor=4.0)


def test_the_report_says_what_was_compared(report) -> None:
    assert report.compared == "on the first 25 of 27 slices"
    assert (report.factor, report.shape, report.data_range) == (4, (25, 24, 22), 255)
    assert [scores.name for scores in report.volumes] == ["linear", "out"]
    assert [report.result.plane(name).num_slices for name in PLANES] == [18, 24, 22]


def test_linear_is_aligned_and_a_better_result_is_better(report) -> None:
    for name in PLANES:
        gain = report.result.plane(name).psnr_db - report.linear.plane(name).psnr_db
        assert gain == pytest.approx(6, abs=0.3)  # errors are halved
        assert report.result.plane(name).ssim > report.linear.plane(name).ssim
    assert (report.linear.num_exact, report.linear.num_measured) == (7, 7)
    assert report.result.num_exact == 7
    assert abs(report.linear.axial_shift) < 0.1
    for name in ("plain", "hann", "cone_z"):
        linear, result = (getattr(s.curves, name).correlation for s in report.volumes)
        assert result[5:].mean() > linear[5:].mean() + 0.05


def test_a_result_may_be_longer_and_others_are_scored_too(truth, restored, report) -> None:
    longer = np.concatenate([restored, restored[-1:]])
    again = evaluate(
        volume(longer, "out"),
        volume(truth, "truth"),
        factor=4,
        others=[volume(truth[:25] // 2, "dim")],
    )
    assert again.result.planes == report.result.planes
    assert [scores.name for scores in again.volumes] == ["linear", "out", "dim"]
    assert again.volumes[2].num_exact == 0


def test_a_shifted_result_is_found_out(truth, restored) -> None:
    shifted = np.concatenate([restored[:1], restored[:-1]])
    scores = evaluate(volume(shifted), volume(truth), factor=4).result
    assert scores.axial_shift == pytest.approx(1, abs=0.2)
    assert scores.num_exact == 1


def test_events_follow_the_grammar(truth, restored) -> None:
    events = list(evaluate_stream(volume(restored), volume(truth), factor=4))
    assert events[0] == Started("evaluate")
    assert isinstance(events[-1], Finished) and events[-1].outcome is Outcome.COMPLETED
    assert [e.title for e in events if isinstance(e, StageStarted)] == [
        "Measuring linear",
        "Measuring volume",
    ]
    progress = [e for e in events if isinstance(e, Progress)]
    assert [e.done for e in progress] == [1, 2, 3, 4, 5] * 2
    assert not any(isinstance(e, Warned) for e in events)


def test_json_has_the_documented_keys_and_table_the_numbers(report) -> None:
    fields = json.loads(report.to_json())
    assert list(fields) == [
        "format",
        "version",
        "reference",
        "factor",
        "degradation",
        "voxel_size_nm",
        "compared",
        "reference_shape",
        "start",
        "shape",
        "data_range",
        "volumes",
    ]
    result = fields["volumes"][1]
    assert list(result) == [
        "name",
        "planes",
        "axial_shift_voxels",
        "num_measured",
        "num_measured_exact",
        "fsc",
    ]
    assert result["planes"]["XZ"] == {
        "psnr_db": report.result.plane("XZ").psnr_db,
        "ssim": report.result.plane("XZ").ssim,
        "ssim_gaussian": report.result.plane("XZ").ssim_gaussian,
        "ms_ssim": None,  # slices below 176 pixels
        "num_slices": 24,
        "num_identical": 0,
    }
    assert list(result["fsc"]) == ["plain", "hann", "cone_z", "cone_xy"]
    curve = report.result.curves.hann
    stored = result["fsc"]["hann"]
    assert stored["resolution_nm"] == {
        "0.5": curve.resolution_at(0.5),
        "0.143": curve.resolution_at(0.143),
        "half-bit": curve.resolution_at("half-bit"),
    }
    np.testing.assert_allclose(stored["correlation"], curve.correlation, atol=1e-6)
    assert stored["num_voxels"] == curve.num_voxels.tolist()

    table = report.table()
    assert f"{report.result.plane('XZ').psnr_db:.2f}" in table
    assert "on the first 25 of 27 slices" in table
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines[:4]}) == 1


def test_a_perfect_result_is_reported_without_infinity(truth) -> None:
    report = evaluate(volume(truth), volume(truth), factor=2)
    assert report.compared == "on all 27 slices"
    assert json.loads(report.to_json())["volumes"][1]["planes"]["XY"]["psnr_db"] is None
    assert "identical" in report.table()
    assert "not crossed" in report.table()


def test_data_range_of_other_dtypes_is_the_robust_span(truth, restored) -> None:
    wide = truth.astype(np.uint16) * 16
    wide[0, 0, 0] = 65535  # one hot pixel
    scores = evaluate(volume(restored.astype(np.uint16) * 16), volume(wide), factor=4)
    low, high = np.percentile(wide[:25], [0.1, 99.9])
    assert scores.data_range == pytest.approx(high - low)
    unit = truth.astype(np.float32) / 255
    floating = evaluate(volume(restored.astype(np.float32) / 255), volume(unit), factor=4)
    assert floating.data_range < 1.01


def test_large_volumes_are_measured_in_a_central_box(monkeypatch, truth, restored) -> None:
    monkeypatch.setattr(_comparison, "MAX_VOXELS", 1000)
    monkeypatch.setattr(_comparison, "_CUBE_EDGE", 14)
    events = list(evaluate_stream(volume(restored), volume(truth), factor=4))
    (warning,) = [e for e in events if isinstance(e, Warned)]
    assert "(13, 14, 14)" in warning.message
    assert isinstance(events[-1], Finished)
    report = events[-1].result
    assert (report.start, report.shape) == ((4, 5, 4), (13, 14, 14))
    assert report.compared == ("on slices 4 to 16 of 27, within the central 14 x 14 voxels (y, x)")
    assert report.result.num_exact == report.result.num_measured == 4
    # The linear baseline of the box is a piece of the whole one.
    whole = interpolate_axial(truth[::4], AxialGrid(7, 4).positions())
    box = (slice(4, 17), slice(5, 19), slice(4, 18))
    expected = score_planes(truth[box], whole[box], factor=4, data_range=255)
    assert report.linear.planes == expected


def refused(match: str, result: Volume, reference: Volume, factor: float = 4) -> None:
    with pytest.raises(InputError, match=match):
        evaluate(result, reference, factor=factor)


def test_what_cannot_be_compared_is_refused_in_one_sentence(truth, restored) -> None:
    reference = volume(truth, "truth")
    refused(r"\(24, 24, 22\).*\(27, 24, 22\).*25 slices", volume(restored[:24]), reference)
    refused(r"\(25, 23, 22\).*\(27, 24, 22\)", volume(restored[:, 1:]), reference)
    coarse = volume(restored, "out", VoxelSize(40, 10, 10))
    refused(r"out has 40 x 10 x 10 nm.*truth has 10 x 10 x 10 nm", coarse, reference)
    refused("whole factor.*not 2.727", volume(restored), reference, 2.727)
    refused("whole factor.*not 1", volume(restored), reference, 1)
    refused("too few for factor 30", volume(restored), reference, 30)
    refused("out is constant", volume(np.zeros_like(restored), "out"), reference)
    refused("truth is constant", volume(restored), volume(np.zeros_like(truth), "truth"))
    broken = restored.astype(np.float32)
    broken[3, 3, 3] = np.nan
    refused("NaN", volume(broken), reference)
    refused("channels", volume(np.stack([restored, restored])), reference)


def test_fsc_of_two_volumes(truth, restored) -> None:
    a, b = volume(truth[:25], "a.tif"), volume(restored, "b.tif")
    report = fsc(a, b)
    expected = fourier_shell_correlation(truth[:25], restored, ISOTROPIC)
    np.testing.assert_array_equal(report.curves.plain.correlation, expected.correlation)
    fields = json.loads(report.to_json())
    assert list(fields) == [
        "format",
        "version",
        "volumes",
        "voxel_size_nm",
        "start",
        "shape",
        "fsc",
        "source",
        "fsc_linear",
    ]
    assert fields["volumes"] == ["a.tif", "b.tif"]
    assert expected.resolution_text(0.5) in report.table()
    events = list(fsc_stream(a, b))
    assert isinstance(events[0], Started) and isinstance(events[-1], Finished)


def test_fsc_refuses_other_shapes_and_voxel_sizes(truth, restored) -> None:
    with pytest.raises(InputError, match=r"a has \(27, 24, 22\), b has \(25, 24, 22\)"):
        fsc(volume(truth, "a"), volume(restored, "b"))
    with pytest.raises(InputError, match="5 x 10 x 10 nm"):
        fsc(volume(truth), volume(truth, voxel_size=VoxelSize(5, 10, 10)))


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figures_are_drawn(tmp_path, truth, restored, report, suffix) -> None:
    path = tmp_path / f"report.{suffix}"
    draw_evaluation(report, volume(restored), volume(truth), path)
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(start)
    if suffix == "svg":
        curve = tmp_path / "fsc.svg"
        draw_fsc(fsc(volume(truth), volume(truth[::-1])), curve)
        assert curve.stat().st_size > 1000


def test_the_figure_of_a_cropped_comparison_reads_only_the_box(
    monkeypatch, tmp_path, truth, restored
) -> None:
    monkeypatch.setattr(_comparison, "MAX_VOXELS", 1000)
    monkeypatch.setattr(_comparison, "_CUBE_EDGE", 14)
    report = evaluate(volume(restored), volume(truth), factor=4)
    draw_evaluation(report, volume(restored), volume(truth), tmp_path / "box.png")
    assert (tmp_path / "box.png").stat().st_size > 1000


def test_other_picture_formats_are_refused(tmp_path, truth, restored, report) -> None:
    with pytest.raises(InputError, match=r"report\.xyz"):
        draw_evaluation(report, volume(restored), volume(truth), tmp_path / "report.xyz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "psnr", "fsc_nm"),
    [
        ("fib25/fib25_training_sample1.tif", (24.65, 24.83, 24.83), 62),
        pytest.param(
            "fib25/fib25_training_sample2.tif",
            (24.75, 24.94, 24.93),
            66,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_ruler_reads_what_is_known_of_linear(data_dir, file, psnr, fsc_nm) -> None:
    truth = tifffile.imread(data_dir / file)
    linear = interpolate_axial(truth[::8], AxialGrid(32, 8).positions())
    scores = score_planes(truth, linear, factor=8, data_range=255)
    assert [s.num_slices for s in scores] == [217, 250, 250]
    assert [s.psnr_db for s in scores] == pytest.approx(psnr, abs=0.01)
    resolution = fourier_shell_correlation(truth[:249], linear, ISOTROPIC).resolution_at(0.5)
    assert resolution == pytest.approx(fsc_nm, abs=0.5)
    assert abs(axial_shift(truth[:249], linear)) < 0.02
