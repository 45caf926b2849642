"""Jobs as YAML: round trips, presets, overrides, and mistakes named in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from napari_d2r.errors import InputError
from napari_d2r.jobs import (
    CancelToken,
    SuperResolveJob,
    TrainJob,
    describe_preset,
    load_preset,
    load_suite,
    preset_names,
    read_yaml,
)


def test_the_presets_that_are_promised_exist():
    assert preset_names()[:3] == ("quick", "balanced", "paper")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_survives_yaml_and_says_what_it_does(name):
    job = load_preset(name)
    assert TrainJob.from_yaml(job.to_yaml()) == job
    assert describe_preset(name).endswith(".")
    assert "#" not in describe_preset(name)


def test_the_presets_differ_where_they_should():
    quick, balanced, paper = (load_preset(name) for name in ("quick", "balanced", "paper"))
    networks = [job.prior.network.architecture for job in (quick, balanced, paper)]
    assert networks == ["lateral", "nafnet", "nafnet"]
    assert paper.prior.prediction == "noise"
    assert paper.targets.sampler.steps == 100
    loss = paper.student.loss
    assert (loss.l1, loss.ssim, loss.ffl) == (1, 1, 100)
    assert paper.student.optimizer.schedule == "plateau"


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(InputError, match=r"no preset 'fast'; choose from .*quick"):
        load_preset("fast")


def test_paths_and_missing_stages_survive_yaml():
    job = SuperResolveJob(model=Path("some/model"), factor=2.727, shard=64, seed=3)
    assert SuperResolveJob.from_yaml(job.to_yaml()) == job
    single = TrainJob(prior=None, student=None, max_minutes=None)
    assert TrainJob.from_yaml(single.to_yaml()) == single


def test_jobs_of_early_versions_are_read():
    old = TrainJob.from_yaml("prior: {process: regression, columns: 64}")
    assert old == TrainJob.from_yaml("prior: {columns: 64}")


def test_an_empty_file_is_the_default_job():
    assert TrainJob.from_yaml("") == TrainJob()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed: 3", r"job\.yaml: speed: Extra inputs"),
        ("prior: {optimizer: {lr: 3}}", r"job\.yaml: prior\.optimizer\.lr: Extra inputs"),
        ("max_minutes: soon", r"job\.yaml: max_minutes: .*number"),
        ("max_minutes: -1", r"job\.yaml: max_minutes: .*greater than 0"),
        ("factor: 1", r"job\.yaml: factor: .*greater than 1"),
        ("prior: {prediction: x1}", r"job\.yaml: prior\.prediction: .*'x0' or 'noise'"),
        ("targets: {sampler: {steps: 1001}}", r"job\.yaml: targets\.sampler\.steps: .*100"),
        ("student: {network: {options: {}}}", r"student\.network\.architecture: .*required"),
        ("- a list", r"job\.yaml: the top level: .*dictionary"),
        ("prior: [unclosed", r"job\.yaml is not valid YAML"),
        ("a: b: c", r"job\.yaml is not valid YAML"),
    ],
)
def test_a_mistake_is_named_in_one_sentence(text, words):
    with pytest.raises(InputError, match=words) as caught:
        TrainJob.from_yaml(text, "job.yaml")
    assert "\n" not in str(caught.value)


def test_what_is_too_long_for_settings_is_not_parsed(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_bytes(b"[" * (2**15 + 1))
    for refuse in (
        lambda: read_yaml(file),
        lambda: load_suite(file),
        lambda: TrainJob.from_yaml(file.read_text(), str(file)),
    ):
        with pytest.raises(InputError, match=r"job\.yaml is longer than 32 KiB; name a file of"):
            refuse()
    file.write_bytes(b"#" * 2**15)
    assert TrainJob.from_yaml(read_yaml(file)) == TrainJob()


def test_a_job_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        TrainJob().seed = 3


def test_override_sets_nested_fields_and_leaves_the_rest():
    job = load_preset("quick")
    changed = job.override(
        ["max_minutes=0.5", "prior.optimizer.batch=4", "student=null", "targets.kind = linear"]
    )
    assert changed.max_minutes == 0.5
    assert changed.prior.optimizer.batch == 4
    assert changed.student is None
    assert changed.targets.kind == "linear"
    assert changed.prior.network == job.prior.network
    assert changed.prior.optimizer.learning_rate == job.prior.optimizer.learning_rate
    assert job == load_preset("quick")


def test_override_reads_values_as_yaml():
    changed = TrainJob().override(
        ["prior.network.options.widths=[16, 24]", "targets.sampler.shared_noise=false"]
    )
    assert changed.prior.network.options == {"widths": [16, 24]}
    assert changed.targets.sampler.shared_noise is False


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("max_minutes", "name=value"),
        ("prior.nothing.lr=3", "name=value"),
        ("prior.optimizer.lr=3", r"prior\.optimizer\.lr"),
        ("speed=3", "speed"),
        ("max_minutes=soon", "max_minutes"),
        ("max_minutes=[3", r"max_minutes=\[3"),
        ("seed.deeper=3", "name=value"),
    ],
)
def test_override_names_what_does_not_fit(assignment, words):
    with pytest.raises(InputError, match=words) as caught:
        TrainJob().override([assignment])
    assert "\n" not in str(caught.value)


def test_a_token_stays_cancelled():
    token = CancelToken()
    assert not token
    token.cancel()
    token.cancel()
    assert token
