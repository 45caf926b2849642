"""The controls of an evaluation see faults that were planted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from napari_d2r.cli import main
from napari_d2r.figures import draw_evaluation
from napari_d2r.figures._slices import draw_slices
from napari_d2r.samples import make_phantom
from napari_d2r.stages._controls import MISPHASED
from napari_d2r.stages.evaluate import EvaluationReport, evaluate
from napari_d2r.volumes import Volume, VoxelSize

FACTOR = 4
ISOTROPIC = VoxelSize(10, 10, 10)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return make_phantom((29, 96, 80))


@pytest.fixture(scope="module")
def result(truth) -> np.ndarray:
    """Halfway between the truth and itself blurred, with one thing made up and one soft depth."""
    values = truth.astype(np.float32)
    guess = (values + gaussian_filter(values, 1)) / 2
    y, x = np.mgrid[:96, :80]
    guess[14] += 300 * np.exp(-((y - 80) ** 2 + (x - 16) ** 2) / (2 * 9**2))
    for z in range(3, 29, FACTOR):
        guess[z] = gaussian_filter(guess[z], 1.5)
    guess[::FACTOR] = values[::FACTOR]
    return guess.round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def report(truth, result) -> EvaluationReport:
    volumes = Volume(result, ISOTROPIC, "result"), Volume(truth, ISOTROPIC, "truth")
    return evaluate(*volumes, factor=FACTOR, controls=True)


def test_control_rows_stand_beside_the_result(report) -> None:
    names = [scores.name for scores in report.volumes]
    assert names == ["linear", "result", "nearest", "cubic", MISPHASED]
    assert [scores.name for scores in report.controls.volumes] == names
    linear, _, nearest, cubic, misphased = report.volumes
    assert cubic.num_exact == nearest.num_exact == 8
    assert misphased.num_exact < 4
    assert misphased.axial_shift == pytest.approx((FACTOR - 1) / 2, abs=0.1)
    assert misphased.plane("XZ").psnr_db < cubic.plane("XZ").psnr_db - 1
    assert abs(cubic.plane("XZ").psnr_db - linear.plane("XZ").psnr_db) < 1


def test_every_slice_is_drawn_and_measured_ones_are_marked(report) -> None:
    figure = Figure()
    draw_slices(figure.subfigures(1, 1), report.controls, first=2)
    similarity, detail = figure.axes
    lines = [{line.get_label(): line for line in axes.lines} for axes in (similarity, detail)]
    result = report.controls.result
    x, y = lines[0]["result"].get_data()
    np.testing.assert_array_equal(x, np.arange(2, 31))
    np.testing.assert_array_equal(y[result.inserted.slices], result.inserted.psnr_by_slice)
    assert np.isnan(y[::FACTOR]).all() and np.isfinite(np.delete(y, np.s_[::FACTOR])).all()
    np.testing.assert_array_equal(lines[1]["result"].get_ydata(), result.pulsing.ratio)
    for marked in lines:
        assert list(marked["measured"].get_xdata()) == list(range(2, 31, FACTOR))


def test_the_figure_of_an_evaluation_has_the_slices(report, truth, result, tmp_path) -> None:
    volumes = Volume(result, ISOTROPIC, "result"), Volume(truth, ISOTROPIC, "truth")
    draw_evaluation(report, *volumes, tmp_path / "figure.svg")
    assert "<!-- PSNR of inserted slices (dB) -->" in (tmp_path / "figure.svg").read_text("utf-8")


def test_planted_faults_are_seen(report) -> None:
    controls = report.controls
    listed = controls.listed_anew(controls.result)
    where = controls.result.inserted.slices[np.unique(np.argwhere(listed)[:, 0])]
    assert 14 in where, "the thing that was made up"
    assert controls.result.pulsing.by_depth.argmin() == 3, "the soft depth"
    gain = controls.result.gain
    assert gain.low < 0 < gain.high, "better in most places, spoilt in one"
    assert controls.linear.gain.value == 0
    by_depth = [controls.linear.inserted.at_depth(k).psnr_db for k in (1, 2, 3)]
    assert min(by_depth) == by_depth[1], "the middle of a gap is the hardest"
    assert controls.linear.detail < controls.result.detail


def test_the_share_of_the_attainable_says_how_much_is_left(truth, report) -> None:
    controls = report.controls
    assert controls.linear.ssim.value < controls.result.ssim.value < controls.attainable_ssim <= 1
    # A result that is the truth without the noise of the reference has all that can be had.
    noisy = truth + np.random.default_rng(0).normal(size=truth.shape) * 8
    volumes = Volume(truth, ISOTROPIC), Volume(noisy.clip(0, 255).astype(np.uint8), ISOTROPIC)
    best = evaluate(*volumes, factor=FACTOR, controls=True).controls
    assert best.noise_sigma == pytest.approx(8, rel=0.25)
    assert best.result.ssim.value / best.attainable_ssim == pytest.approx(1, abs=0.05)


def test_table_and_json_tell_all_of_it(report) -> None:
    table = report.table()
    controls = report.controls
    share = controls.result.ssim.value / controls.attainable_ssim
    for text in (MISPHASED, "end gaps", f"{share:.0%}", f"of {controls.result.scan.crossing.size}"):
        assert text in table
    for lines in table.split("\n\n"):
        rows = [line for line in lines.splitlines() if line.startswith("|")]
        assert len({len(row) for row in rows}) <= 1, "columns line up"
    fields = json.loads(report.to_json())["controls"]
    assert list(fields) == [
        "noise_sigma",
        "attainable_ssim",
        "attainable_psnr_db",
        "sfrc",
        "spectra",
        "volumes",
    ]
    row = fields["volumes"][1]
    assert row["gain_db"]["low"] < row["gain_db"]["value"] < row["gain_db"]["high"]
    assert [entry["depth"] for entry in row["by_depth"]] == [1, 2, 3]
    assert row["end_gaps"]["num_slices"] == 6
    assert [14, 32, 0] in row["sfrc"]["listed"], "z, y, x of the patch of the thing made up"
    assert len(row["detail_by_slice"]) == 29


def test_without_controls_nothing_is_added(truth, result) -> None:
    small = (slice(None), slice(0, 24), slice(0, 24))
    volumes = Volume(result[small], ISOTROPIC), Volume(truth[small], ISOTROPIC)
    plain = evaluate(*volumes, factor=FACTOR)
    assert plain.controls is None and "controls" not in json.loads(plain.to_json())
    # Slices too small for a patch are scored all the same.
    controls = evaluate(*volumes, factor=FACTOR, controls=True)
    assert controls.controls.threshold is None
    assert json.loads(controls.to_json())["controls"]["sfrc"] is None
    assert "sFRC:" not in controls.table()


def test_an_exact_result_is_told_without_infinity(truth) -> None:
    volume = Volume(truth, ISOTROPIC)
    report = evaluate(volume, volume, factor=FACTOR, controls=True)
    row = json.loads(report.to_json())["controls"]["volumes"][1]
    assert row["psnr_db"]["value"] is None and row["by_depth"][0]["psnr_db"] is None
    assert "identical" in report.table()


def test_the_command_measures_them_with_a_reference_only(tmp_path, phantom_files, capsys) -> None:
    stack, reference = map(str, phantom_files)
    numbers = tmp_path / "report.json"
    command = ["evaluate", reference, reference, "--factor", "4", "--controls"]
    assert main([*command, "--json", str(numbers)]) == 0
    assert MISPHASED in capsys.readouterr().out
    assert len(json.loads(numbers.read_text())["controls"]["volumes"]) == 5
    assert main(["evaluate", stack, "--model", "bundled", "--controls"]) == 2
    assert "go with a reference" in capsys.readouterr().err
