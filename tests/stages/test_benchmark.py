"""Methods side by side: rows, tables, resuming, and a method that fails."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_d2r.checkpoints import bundled_model, load_card
from napari_d2r.errors import InputError
from napari_d2r.figures import draw_benchmark
from napari_d2r.jobs import (
    CancelToken,
    Finished,
    Outcome,
    StageStarted,
    Started,
    Suite,
    Warned,
    load_preset,
)
from napari_d2r.stages import benchmark
from napari_d2r.stages.benchmark import BenchmarkReport, resolve_benchmark, run_benchmark
from napari_d2r.volumes import Degradation, Volume, VoxelSize

LEARNER = {
    "student": None,
    "prior.network.options": {"widths": [8, 8], "blocks": [1, 1]},
    "prior.optimizer.max_steps": 3,
    "prior.optimizer.batch": 2,
    "prior.columns": 16,
}


def suite_of(*methods: dict[str, object], **more: object) -> Suite:
    fields = {"device": "cpu", "cases": [{"factor": 4}], "minutes": None, "methods": methods}
    return Suite.checked(fields | more)


LINEAR = {"name": "linear", "baseline": "linear"}
LEARNED = {"name": "learned", "preset": "quick", "set": LEARNER}


@pytest.fixture
def truth(phantom: tuple[Volume, Volume]) -> Volume:
    """33 x 48 x 48 voxels."""
    return Volume(phantom[1].data[:, :48, :48], phantom[1].voxel_size, "truth")


def ran(suite: Suite, truth: Volume, folder: Path, **how: bool) -> BenchmarkReport:
    *_, last = run_benchmark(resolve_benchmark(suite, truth, folder), **how)
    assert isinstance(last, Finished)
    return last.result


@pytest.fixture
def times_trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by a name with every training."""
    names: list[str] = []
    run_train = benchmark.run_train

    def counted(plan, **how):
        names.append(plan.folder.parent.name)
        return run_train(plan, **how)

    monkeypatch.setattr(benchmark, "run_train", counted)
    return names


def test_every_row_is_measured_and_written(
    truth: Volume, tmp_path: Path, times_trained: list[str], known_rate: None
) -> None:
    again = {"name": "the same", "model_of": "learned", "use": "prior"}
    suite = suite_of(LINEAR, LEARNED, again, crop=[33, 32, 32])
    events = list(run_benchmark(resolve_benchmark(suite, truth, tmp_path / "out")))
    assert isinstance(events[0], Started)
    titles = [e.title for e in events if isinstance(e, StageStarted) and e.count == 3]
    assert [t for t in titles if ", x4" in t] == ["linear, x4", "learned, x4", "the same, x4"]
    report = events[-1].result
    linear, learned, same = report.rows
    assert [row.outcome for row in report.rows] == ["done"] * 3
    assert times_trained == ["learned"]
    assert same.scores == learned.scores | {"name": same.scores["name"]}
    assert same.training == learned.training
    assert linear.scores["gain_db"] == pytest.approx({"XY": 0, "XZ": 0, "YZ": 0}, abs=1e-9)
    assert learned.training.processor_s > 0.01
    assert learned.applying.memory_mb > 50
    assert linear.training.wall_s == 0

    folder = tmp_path / "out"
    table = (folder / "table.md").read_text("utf-8")
    assert f"{linear.scores['planes']['XZ']['psnr_db']:.2f}" in table
    rows = list(csv.DictReader((folder / "table.csv").read_text("utf-8").splitlines()))
    assert [row["method"] for row in rows] == ["linear", "learned", "the same"]
    assert float(rows[1]["PSNR XZ"]) == learned.scores["planes"]["XZ"]["psnr_db"]
    found = json.loads((folder / "table.json").read_text("utf-8"))
    assert found["shape"] == [33, 32, 32]
    assert found["rows"][1]["scores"] == learned.scores


@pytest.mark.parametrize("kind", ["gaussian", "block"])
def test_blurred_slices_are_judged_where_they_stand(
    truth: Volume, tmp_path: Path, known_rate: None, kind: str
) -> None:
    case = {"factor": 4, "degradation": {"kind": kind, "sigma": 2}}
    bundled = {"name": "bundled", "model": "bundled"}
    suite = suite_of(LINEAR, LEARNED, bundled, cases=[case], metrics=["psnr", "detail", "sfrc"])
    report = ran(suite, truth, tmp_path / "out")
    linear, learned, other = report.rows
    assert (linear.outcome, learned.outcome) == ("done", "done")
    assert (other.outcome == "skipped") == (kind == "block")
    assert linear.scores["gain_db"] == pytest.approx({"XY": 0, "XZ": 0, "YZ": 0}, abs=1e-9)
    assert abs(linear.scores["axial_shift_voxels"]) < 0.1
    assert ("controls" in linear.scores) == (kind == "gaussian")
    assert "detail" in (tmp_path / "out" / "table.md").read_text("utf-8")
    assert len(draw_benchmark(report)) == 4


def test_a_method_that_fails_is_a_row(truth: Volume, tmp_path: Path, known_rate: None) -> None:
    (tmp_path / "model").mkdir()  # a card without weights
    shutil.copy(bundled_model("student") / "card.json", tmp_path / "model")
    broken = {"name": "broken", "model": str(tmp_path / "model")}
    suite = suite_of(broken, LINEAR)
    events = list(run_benchmark(resolve_benchmark(suite, truth, tmp_path / "out")))
    failed, linear = events[-1].result.rows
    assert (failed.outcome, linear.outcome) == ("failed", "done")
    assert any(isinstance(e, Warned) and e.message.startswith("broken, x4: ") for e in events)
    assert failed.message in (tmp_path / "out" / "table.md").read_text("utf-8")


def test_resume_runs_what_is_not_done_and_what_has_changed(
    truth: Volume, tmp_path: Path, times_trained: list[str], known_rate: None
) -> None:
    folder = tmp_path / "out"
    first = ran(suite_of(LINEAR, LEARNED), truth, folder)
    with pytest.raises(InputError, match="--resume"):
        ran(suite_of(LINEAR), truth, folder)
    cubic = {"name": "cubic", "baseline": "cubic"}
    second = ran(suite_of(LINEAR, LEARNED, cubic), truth, folder, resume=True)
    assert second.rows[:2] == first.rows
    assert times_trained == ["learned"]
    measured_anew = ran(suite_of(LEARNED, metrics=["sfrc"]), truth, folder, resume=True)
    assert "controls" in measured_anew.rows[0].scores
    assert times_trained == ["learned"]
    ran(suite_of(LEARNED, seed=1), truth, folder, resume=True)
    assert times_trained == ["learned"] * 2
    ran(suite_of(LEARNED, seed=1), truth, folder, overwrite=True)
    assert times_trained == ["learned"] * 3


def test_a_cancelled_training_goes_on(truth: Volume, tmp_path: Path, known_rate: None) -> None:
    folder, cancel = tmp_path / "out", CancelToken()
    plan = resolve_benchmark(suite_of(LINEAR, LEARNED), truth, folder)
    last = None
    for event in run_benchmark(plan, cancel=cancel):
        last = event
        if isinstance(event, StageStarted) and event.title.startswith("stage I"):
            cancel.cancel()
    assert last == Finished(Outcome.CANCELLED)
    assert "linear" in (folder / "table.md").read_text("utf-8")
    learned = folder / "x4" / "learned"
    assert (learned / "model" / "work" / "identity").exists()
    spent = json.loads((learned / "training.json").read_text("utf-8"))["wall_s"]
    rows = ran(plan.suite, truth, folder, resume=True).rows
    assert [row.outcome for row in rows] == ["done", "done"]
    assert rows[1].training.wall_s > spent > 0


def test_an_evaluation_is_cancelled_too(truth: Volume, tmp_path: Path, known_rate: None) -> None:
    cancel, last = CancelToken(), None
    plan = resolve_benchmark(suite_of(LINEAR), truth, tmp_path / "out")
    for event in run_benchmark(plan, cancel=cancel):
        last = event
        if isinstance(event, StageStarted) and event.title.startswith("Measuring"):
            cancel.cancel()
    assert last == Finished(Outcome.CANCELLED)
    assert not (tmp_path / "out" / "x4" / "linear" / "row.json").exists()


def test_one_diffusion_model_is_drawn_from_in_several_ways(
    truth: Volume, tmp_path: Path, times_trained: list[str], known_rate: None
) -> None:
    network = {"width": 8, "encoder_blocks": [1], "middle_blocks": 1, "decoder_blocks": [1]}
    changes = LEARNER | {"prior.network.options": network, "prior.num_gaps": 4}
    suite = suite_of(
        LINEAR,
        {"name": "IRSDE", "preset": "irsde", "set": changes | {"targets.sampler.steps": 2}},
        {"name": "XZ", "model_of": "IRSDE", "sampler": {"direction": "xz"}},
        {"name": "refined", "model": "bundled", "refine_with": "IRSDE"},
        metrics=["psnr", "slice-fid"],
        perception="random",
    )
    report = ran(suite, truth, tmp_path / "out")
    linear, mean, one, refined = report.rows
    assert [row.outcome for row in report.rows] == ["done"] * 4, [r.message for r in report.rows]
    assert times_trained == ["IRSDE"]
    assert [row.is_sample for row in report.rows] == [False, True, True, True]
    assert mean.scores["planes"] != one.scores["planes"]
    assert mean.training == one.training == refined.training
    assert linear.scores["perceptual"]["slice_fid"]["XZ"] > 0
    assert "a stand-in" in (tmp_path / "out" / "table.md").read_text("utf-8")


def test_minutes_are_shared_and_by_default_the_presets(truth: Volume, tmp_path: Path) -> None:
    def minutes_of(suite: Suite) -> float | None:
        [run] = resolve_benchmark(suite, truth, tmp_path / "out").runs
        assert run.train is not None
        assert run.train.clock == "processor"
        return run.train.max_minutes

    quick = {"name": "quick", "preset": "quick", "inference_share": 0.25}
    assert minutes_of(suite_of(quick, minutes=8)) == 6
    assert minutes_of(suite_of(quick)) == load_preset("quick").max_minutes


def test_a_row_over_its_budget_says_so(truth: Volume, tmp_path: Path, known_rate: None) -> None:
    again = {"name": "again", "model_of": "learned", "use": "prior"}
    hasty = ran(suite_of(LINEAR, LEARNED, again, minutes=1e-4), truth, tmp_path / "hasty")
    assert [row.over_budget for row in hasty.rows[1:]] == [True, True]
    said = (tmp_path / "hasty" / "table.md").read_text("utf-8").count("over budget")
    assert said == sum(row.over_budget for row in hasty.rows)
    calm = ran(suite_of(LINEAR, LEARNED, again, minutes=60), truth, tmp_path / "calm")
    assert [row.over_budget for row in calm.rows] == [False] * 3


def test_a_training_is_judged_where_there_is_a_choice(
    truth: Volume, tmp_path: Path, known_rate: None
) -> None:
    both = {"name": "both", "preset": "quick"}
    suite = suite_of(both, both | {"name": "student", "use": "student"}, LEARNED)
    runs = resolve_benchmark(suite, truth, tmp_path / "out").runs
    assert [run.train.judge for run in runs if run.train] == [True, False, False]
    report = ran(suite_of(LEARNED), truth, tmp_path / "out")
    card, _ = load_card(report.rows[0].folder / "model" / "prior")
    assert "leave-one-out" not in card.scores


def test_mis_phased_bicubic_is_a_row(truth: Volume, tmp_path: Path, known_rate: None) -> None:
    cubic = {"name": "cubic", "baseline": "cubic"}
    wrong = {"name": "as published", "baseline": "mis-phased"}
    report = ran(suite_of(cubic, wrong), truth, tmp_path / "out")
    aligned, shifted = report.rows
    assert abs(aligned.scores["axial_shift_voxels"]) < 0.2
    assert shifted.scores["axial_shift_voxels"] == pytest.approx(1.5, abs=0.3)
    assert shifted.scores["gain_db"]["XZ"] < aligned.scores["gain_db"]["XZ"] - 1
    assert len(draw_benchmark(report)) == 4
    blocks = [{"factor": 4, "degradation": {"kind": "block"}}]
    with pytest.raises(InputError, match="half a gap off"):
        suite_of(wrong, cases=blocks)


def test_a_row_is_of_the_cases_that_it_names(truth: Volume, tmp_path: Path) -> None:
    cases = [{"factor": 4}, {"factor": 4, "degradation": {"kind": "gaussian", "sigma": 2}}]
    blind = LEARNED | {"name": "blind", "blind": True, "cases": ["x4-gaussian2"]}
    suite = suite_of(LINEAR, LEARNED | {"cases": ["x4"]}, blind, cases=cases)
    runs = resolve_benchmark(suite, truth, tmp_path / "out").runs
    titles = ["linear, x4", "learned, x4", "linear, x4-gaussian2", "blind, x4-gaussian2"]
    assert [run.title for run in runs] == titles
    assert runs[3].train is not None
    box = Degradation("block").kernel(4)
    places = np.arange(4) - 1.5
    assert runs[3].train.degradation.sigma ** 2 == pytest.approx(box @ places**2)
    with pytest.raises(InputError, match="no case is called 'x8'"):
        suite_of(LINEAR | {"cases": ["x8"]})
    with pytest.raises(InputError, match="no method before it trains 'learned'"):
        suite_of(LEARNED | {"cases": ["x4"]}, {"name": "it", "model_of": "learned"}, cases=cases)


def test_supervised_methods_wait_for_a_reference(
    truth: Volume, phantom_files: tuple[Path, Path], tmp_path: Path, known_rate: None
) -> None:
    changes = {
        "student.network.options": {"widths": [8, 8], "blocks": [1, 1]},
        "student.optimizer.max_steps": 3,
        "student.optimizer.batch": 2,
        "student.crop": 16,
    }
    supervised = {"name": "supervised", "preset": "quick", "supervised": True, "set": changes}
    report = ran(suite_of(supervised), truth, tmp_path / "out")
    assert report.rows[0].outcome == "skipped"
    assert "reference" in report.rows[0].notes
    given = suite_of(supervised, reference=str(phantom_files[1]))
    assert ran(given, truth, tmp_path / "out", resume=True).rows[0].outcome == "done"
    card, _ = load_card(tmp_path / "out" / "x4" / "supervised" / "model")
    assert card.trained_by is not None
    assert card.trained_by.reference == phantom_files[1]


def test_what_cannot_be_run_is_refused_before_anything_is_written(
    truth: Volume, tmp_path: Path
) -> None:
    flat = Volume(truth.data, VoxelSize(40, 10, 10), "flat")
    for volume, suite, words in (
        (flat, suite_of(LINEAR), "isotropic"),
        (truth, suite_of(LINEAR, cases=[{"factor": 16}]), "leave fewer than"),
        (truth, suite_of({"name": "m", "model": str(tmp_path / "none")}), "no model folder"),
        (truth, suite_of({"name": "m", "preset": "none"}), "no preset"),
        (truth, suite_of(LEARNED | {"set": {"targets.fctor": 2}}), "fctor"),
        (None, suite_of(LINEAR), "names no volume"),
    ):
        with pytest.raises(InputError, match=words):
            resolve_benchmark(suite, volume, tmp_path / "out")
    assert not (tmp_path / "out").exists()
