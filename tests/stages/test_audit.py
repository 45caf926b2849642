"""An audit: a model on a stack whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_d2r.cli import main
from napari_d2r.errors import InputError
from napari_d2r.figures import draw_audit
from napari_d2r.io import save_volume
from napari_d2r.jobs import CancelToken, Finished, Outcome, Provenance
from napari_d2r.metrics import Interval, axial_noise_sigma
from napari_d2r.samples import make_phantom
from napari_d2r.stages._out_of_domain import altered_stacks
from napari_d2r.stages.audit import AuditReport, audit_stream
from napari_d2r.stages.evaluate import evaluate
from napari_d2r.volumes import AxialGrid, Volume, VoxelSize, interpolate_axial

ISOTROPIC = VoxelSize(10, 10, 10)
DROP = 4


@pytest.fixture(scope="module")
def isotropic() -> Volume:
    return Volume(make_phantom((27, 80, 72)), ISOTROPIC, "isotropic.tif")


@pytest.fixture(scope="module")
def report(isotropic, tiny_model) -> AuditReport:
    *_, last = audit_stream(isotropic, drop=DROP, model=tiny_model, device="cpu")
    assert isinstance(last, Finished) and last.outcome is Outcome.COMPLETED
    return last.result


def test_slices_are_dropped_restored_and_judged(isotropic, report) -> None:
    assert report.reference.shape == (25, 80, 72), "from one kept slice to another"
    kept = report.reference.read()[::DROP]
    np.testing.assert_array_equal(report.result.read()[::DROP], kept)
    expected = evaluate(report.result, report.reference, factor=DROP, controls=True)
    assert report.evaluation.result.planes == expected.result.planes
    linear = interpolate_axial(kept, AxialGrid(7, DROP).positions())
    assert (report.result.read() != linear).any(), "a model, not an interpolation"
    assert report.provenance.weights_sha256 and report.provenance.model in report.headline()


def test_out_of_domain_runs_change_what_they_say_and_nothing_else(isotropic) -> None:
    truth = isotropic.read()
    trials = {name: (altered, wanted) for name, altered, wanted in altered_stacks(truth)}
    assert list(trials) == ["noise doubled", "contrast inverted", "rotated by 90°"]
    noisy, wanted = trials["noise doubled"]
    np.testing.assert_array_equal(wanted, truth)
    assert noisy.dtype == truth.dtype
    inside = (truth > 30) & (truth < 220)
    added = (noisy.astype(float) - truth)[inside].std()
    assert added == pytest.approx(np.sqrt(3) * axial_noise_sigma(truth), rel=0.1)
    inverted, _ = trials["contrast inverted"]
    assert len(np.unique(inverted.astype(int) + truth)) == 1
    assert (inverted.min(), inverted.max()) == (truth.min(), truth.max())
    rotated, _ = trials["rotated by 90°"]
    np.testing.assert_array_equal(rotated[:, :, 0], truth[:, 0, ::-1])


def test_trials_are_gains_over_linear_on_the_same_altered_stack(report) -> None:
    by_name = {trial.name: trial for trial in report.all_trials}
    assert next(iter(by_name)) == "as it is" and len(by_name) == 4
    # Linear interpolation neither knows up from down nor black from white.
    for name in ("contrast inverted", "rotated by 90°"):
        assert by_name[name].linear.value == pytest.approx(
            by_name["as it is"].linear.value, abs=0.05
        )
    assert by_name["noise doubled"].linear.value < by_name["as it is"].linear.value
    for trial in by_name.values():
        difference = trial.model.value - trial.linear.value
        assert trial.gain.value == pytest.approx(difference, abs=1e-6)


def test_the_headline_says_closer_no_closer_or_further(report) -> None:
    def headline(low: float, value: float, high: float) -> str:
        linear, result, *others = report.controls.volumes
        found = replace(result, gain=Interval(value, low, high))
        controls = replace(report.controls, volumes=(linear, found, *others))
        return replace(report, evaluation=replace(report.evaluation, controls=controls)).headline()

    assert "1.50 dB closer to" in headline(1.0, 1.5, 2.0)
    assert "interval 1.00 to 2.00 dB" in headline(-2.0, -1.5, -1.0)
    assert "1.50 dB further from" in headline(-2.0, -1.5, -1.0)
    assert "no closer to" in headline(-0.5, 0.2, 0.9)


def test_what_cannot_be_audited_is_refused(isotropic, tiny_model) -> None:
    def refused(match: str, volume: Volume, drop: int = DROP) -> None:
        with pytest.raises(InputError, match=match):
            list(audit_stream(volume, drop=drop, model=tiny_model))

    refused("as fine along Z", Volume(isotropic.data, VoxelSize(40, 10, 10), "coarse"))
    refused("too few when every 8th.*33", isotropic, 8)
    refused("every 2nd slice or fewer", isotropic, 1)
    refused("constant", Volume(np.zeros_like(isotropic.data), ISOTROPIC, "empty"))


def test_an_audit_can_be_cancelled_at_any_time(isotropic, tiny_model) -> None:
    for wait in (2, 12):
        token, events = CancelToken(), []
        for event in audit_stream(isotropic, drop=DROP, model=tiny_model, cancel=token):
            events.append(event)
            if len(events) == wait:
                token.cancel()
        assert isinstance(events[-1], Finished)
        assert events[-1].outcome is Outcome.CANCELLED and len(events) < wait + 20


def test_the_page_is_one_page(tmp_path: Path, report) -> None:
    draw_audit(report, tmp_path / "audit.pdf")
    text = (tmp_path / "audit.pdf").read_bytes()
    assert text.startswith(b"%PDF") and text.count(b"/Type /Page ") == 1
    with pytest.raises(InputError, match=r"audit\.txt"):
        draw_audit(report, tmp_path / "audit.txt")


def test_the_command_writes_the_page_and_the_numbers(
    tmp_path: Path, phantom_files, tiny_model, capsys
) -> None:
    _, reference = phantom_files
    page, numbers = tmp_path / "page.pdf", tmp_path / "audit.json"
    command = ["audit", str(reference), "--drop", "4", "--model", str(tiny_model)]
    arguments = ["--crop", "48", "--out", str(page), "--json", str(numbers)]
    assert main([*command, *arguments]) == 0
    fields = json.loads(numbers.read_text())
    assert list(fields) == [
        "format",
        "version",
        "headline",
        "findings",
        "stack",
        "whole_shape",
        "drop",
        "seconds",
        "trials",
        "evaluation",
        "provenance",
    ]
    assert fields["evaluation"]["shape"] == [33, 48, 48]
    assert len(fields["evaluation"]["controls"]["volumes"]) == 5
    assert Provenance.found_in(fields["provenance"]) is not None
    said = capsys.readouterr().out
    assert fields["headline"] in said and "noise doubled" in said and str(page) in said
    assert page.stat().st_size > 10_000
    assert main([*command, "--out", str(tmp_path / "no" / "page.pdf")]) == 2
    assert "--out: there is no folder" in capsys.readouterr().err


def test_an_evaluation_with_a_model_tells_what_an_audit_tells(
    tmp_path: Path, isotropic, report, tiny_model, capsys
) -> None:
    result, reference, numbers = (tmp_path / n for n in ("out.tif", "truth.tif", "found.json"))
    save_volume(report.result, result)
    save_volume(isotropic, reference)
    pair = ["evaluate", str(result), str(reference), "--factor", str(DROP), "--device", "cpu"]
    model = ["--model", str(tiny_model)]
    assert main([*pair, *model, "--controls", "--json", str(numbers)]) == 0
    found = json.loads(numbers.read_text())
    assert found["trials"] == json.loads(report.to_json())["trials"][1:]
    assert found["controls"]["volumes"][1]["gain_db"]["value"] == pytest.approx(
        report.controls.result.gain.value
    )
    said = capsys.readouterr().out
    assert "as it is" in said and "rotated by 90°" in said
    assert main([*pair, *model]) == 2
    assert "--model goes with --controls" in capsys.readouterr().err
    assert main([*pair, "--model", str(tmp_path / "none"), "--controls"]) == 2
    assert "Measuring" not in capsys.readouterr().err, "before the evaluation, not after"
