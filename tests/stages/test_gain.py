"""Leave-one-out through the sliding window against predictors called by hand."""

from __future__ import annotations

import csv
import io
import json
import time

import numpy as np
import pytest
import torch

from napari_d2r.checkpoints import load_model
from napari_d2r.errors import InputError
from napari_d2r.figures import draw_gain
from napari_d2r.inference import leave_one_out, predictor_of
from napari_d2r.jobs import CancelToken, Finished, Outcome, Progress
from napari_d2r.metrics import fourier_ring_correlation
from napari_d2r.stages import gain as gain_module
from napari_d2r.stages.gain import GainReport, gain_stream
from napari_d2r.volumes import IntensityRange, Volume, VoxelSize


def judge(stack: Volume, *arguments, **options) -> GainReport:
    *_, last = gain_stream(stack, *arguments, **options)
    return last.result


@pytest.mark.parametrize("role", ["prior", "student"])
def test_the_window_leaves_out_what_leave_one_out_does(stack, tiny_model, role) -> None:
    report = judge(stack, tiny_model / role, device="cpu")
    loaded = load_model(tiny_model / role)
    predictor = predictor_of(loaded)
    unit = torch.from_numpy(IntensityRange.of(stack).to_unit(stack.read()))
    expected = leave_one_out(predictor, unit, 4)
    assert report.gain.slices == expected.slices == tuple(range(1, 8))
    assert report.gain.mse == pytest.approx(expected.mse, rel=1e-3)
    assert report.gain.mse_linear == pytest.approx(expected.mse_linear, rel=1e-4)
    assert report.is_whole and report.judged == "all 9 x 64 x 64 voxels (z, y, x)"


def test_tiles_change_nothing(monkeypatch, stack, tiny_model) -> None:
    whole = judge(stack, tiny_model, device="cpu")
    monkeypatch.setattr(gain_module, "_TILE", 24)
    tiled = judge(stack, tiny_model, device="cpu")
    assert tiled.gain.mse == pytest.approx(whole.gain.mse, rel=0.01)
    assert tiled.gain.gain_db == pytest.approx(whole.gain.gain_db, abs=0.02)


def test_linear_gains_nothing_and_nearest_loses(stack) -> None:
    linear = judge(stack, method="linear")
    assert linear.gain.gain_db == pytest.approx(0, abs=0.01)
    np.testing.assert_allclose(linear.frc.correlation, linear.frc_linear.correlation, atol=1e-3)
    assert "as close to the measured slices as linear" in linear.sentence()
    nearest = judge(stack, method="nearest")
    assert nearest.gain.gain_db < -0.3
    assert "further from the measured slices" in nearest.sentence()


def test_the_ring_correlation_is_the_mean_over_left_out_slices(stack) -> None:
    report = judge(stack, method="linear")
    unit = IntensityRange.of(stack).to_unit(stack.read())
    pairs = [
        fourier_ring_correlation(unit[[k]], (unit[[k - 1]] + unit[[k + 1]]) / 2, (10, 10))
        for k in range(1, 8)
    ]
    mean = np.mean([curve.correlation for curve in pairs], axis=0)
    np.testing.assert_allclose(report.frc_linear.correlation, mean, atol=1e-5)


def test_the_sentence_is_honest_about_gap_crop_and_training(stack, tiny_model) -> None:
    report = judge(stack, tiny_model, device="cpu", max_edge=32)
    sentence = report.sentence()
    assert "gaps twice as wide (80 nm, not 40)" in sentence
    assert "the central 9 x 32 x 32 voxels" in sentence
    assert "has seen its slices" in sentence  # it was trained on this very stack
    named = Volume(stack.data, stack.voxel_size, "another")
    assert "It learned from" in judge(named, tiny_model, device="cpu", max_edge=32).sentence()
    assert report.gain.num_better == sum(
        a < b for a, b in zip(report.gain.mse, report.gain.mse_linear, strict=True)
    )


def test_slices_are_counted_in_the_whole_stack() -> None:
    data = np.random.default_rng(0).integers(0, 255, (20, 16, 16), np.uint8)
    report = judge(Volume(data, VoxelSize(40, 10, 10)), method="cubic", max_edge=16)
    assert report.start == (2, 0, 0)
    assert report.gain.slices == tuple(range(3, 17))


def test_progress_rises_and_a_cancel_is_heard_at_once(stack, tiny_model) -> None:
    big = Volume(np.tile(stack.read(), (1, 4, 4)), stack.voxel_size, "big")
    events = list(gain_stream(big, tiny_model, device="cpu"))
    done = [event.done / event.total for event in events if isinstance(event, Progress)]
    assert done == sorted(done) and done[-1] == 1 and len(done) > 8
    for number in (1, 2, 5):
        token, last = CancelToken(), None
        for k, event in enumerate(gain_stream(big, tiny_model, device="cpu", cancel=token)):
            if k == number:
                token.cancel()
                asked = time.monotonic()
            last = event
        assert last == Finished(Outcome.CANCELLED)
        assert time.monotonic() - asked < 1


def test_the_report_as_json_csv_and_figure(stack, tmp_path) -> None:
    report = judge(stack, method="cubic")
    fields = json.loads(report.to_json())
    assert fields["gain_db"] == report.gain.gain_db
    assert fields["frc"]["correlation"] == pytest.approx(report.frc.correlation, abs=1e-5)
    assert set(fields["frc_linear"]["resolution_nm"]) == {"0.5", "0.143", "half-bit"}
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    slices = [row for row in rows if row["quantity"] == "PSNR (dB)"]
    assert [int(row["at"]) for row in slices] == list(report.gain.slices)
    assert float(slices[0]["model"]) == pytest.approx(-10 * np.log10(report.gain.mse[0]), abs=1e-3)
    assert sum(row["quantity"] == "FRC" for row in rows) == len(report.frc.correlation)
    draw_gain(report, tmp_path / "gain.svg")
    assert (tmp_path / "gain.svg").read_bytes().startswith(b"<?xml")
    with pytest.raises(InputError, match="ends in"):
        draw_gain(report, tmp_path / "gain.xyz")


def test_stacks_that_cannot_be_judged_are_refused(stack) -> None:
    with pytest.raises(InputError, match="at least 4"):
        judge(Volume(stack.data[:3], stack.voxel_size), method="linear")
    with pytest.raises(InputError, match="constant"):
        judge(Volume(np.zeros((8, 16, 16), np.uint8), stack.voxel_size), method="linear")
