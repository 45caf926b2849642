"""16-bit floats in a whole run: measured slices stay, a plan says so, doubt means float32."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_d2r.checkpoints import load_model
from napari_d2r.cli import main
from napari_d2r.errors import InputError
from napari_d2r.inference import NoVariant, _variants, predictor_of
from napari_d2r.io import open_volume
from napari_d2r.jobs import Device, SamplerSettings, SuperResolveJob
from napari_d2r.stages import _engine, _super_resolve_plan
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import IntensityRange, Volume


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate that is not measured, and a processor that likes bfloat16."""
    monkeypatch.setattr(_super_resolve_plan, "_rate", lambda *_: 3e6)
    monkeypatch.setattr(_variants, "faster_types", lambda _: (torch.bfloat16,))


def test_half_keeps_measured_slices_and_says_so(
    stack: Volume, job: SuperResolveJob, tmp_path: Path
) -> None:
    results = {}
    for engine in ("torch", "half"):
        path = tmp_path / f"{engine}.ome.zarr"
        asked = job.model_copy(update={"engine": engine})
        plan = resolve_super_resolve(asked, stack, path)
        list(run_super_resolve(plan))
        results[engine] = open_volume(path).read().astype(int)
    assert plan.engine == "torch in bfloat16"
    assert any("torch in bfloat16" in line for line in plan.lines())
    assert np.array_equal(results["half"][::4], stack.read())
    assert np.abs(results["half"] - results["torch"]).max() <= 2


def test_where_half_would_change_the_result_float32_goes_on_and_says_so(
    stack: Volume, job: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_variants, "MAX_CHANGE", 0.0)
    asked = job.model_copy(update={"engine": "half"})
    plan = resolve_super_resolve(asked, stack, tmp_path / "a.ome.zarr")
    assert plan.engine == "torch"
    assert any("16-bit floats would change the result" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("device", "has", "engine"),
    [
        ("cuda", True, "torch in bfloat16"),
        ("cpu", True, "torch in bfloat16"),
        ("cpu", False, "torch"),
        ("mps", False, "torch"),
    ],
)
def test_auto_takes_half_on_cuda_and_where_a_processor_has_instructions_for_it(
    stack: Volume,
    job: SuperResolveJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: Device,
    has: bool,
    engine: str,
) -> None:
    """On this machine's processor, which is taken for the device."""
    tried = []

    def in_half(*arguments: object) -> tuple[object, str]:
        tried.append(arguments)
        return _variants.in_half(*arguments)

    monkeypatch.setattr(_engine, "_kind", lambda _: device)
    monkeypatch.setattr(_engine, "in_eight_bits", _not_served)
    monkeypatch.setattr(_engine, "has_bfloat16", lambda _: has)
    monkeypatch.setattr(_engine, "in_half", in_half)
    plan = resolve_super_resolve(job, stack, tmp_path / "a.ome.zarr")
    assert plan.engine == engine
    assert bool(tried) is has  # without instructions it would take hundreds of times as long
    assert not any("16-bit" in warning for warning in plan.warnings)


def test_auto_does_not_round_samples(
    stack: Volume, job: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain of steps makes much of little, and a test of many steps would take minutes."""
    monkeypatch.setattr(_engine, "in_eight_bits", _not_served)
    monkeypatch.setattr(_engine, "has_bfloat16", lambda _: True)
    model = load_model(job.model)
    sampled = replace(model, card=model.card.model_copy(update={"sampler": SamplerSettings()}))
    arguments = (predictor_of(model), stack, IntensityRange.of(stack), 4.0)
    assert _engine.resolve_engine("auto", sampled, *arguments)[1] == "torch"
    assert _engine.resolve_engine("auto", model, *arguments)[1] == "torch in bfloat16"


def test_compiled_keeps_its_numbers_and_says_so(
    stack: Volume, job: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda call, mode: call)
    asked = job.model_copy(update={"engine": "half", "compile": True})
    plan = resolve_super_resolve(asked, stack, tmp_path / "a.ome.zarr")
    assert plan.engine == "torch in bfloat16, compiled"
    list(run_super_resolve(plan))
    assert np.array_equal(open_volume(tmp_path / "a.ome.zarr").read()[::4], stack.read())


def test_the_command_line_asks_for_it(
    phantom_files: tuple[Path, Path],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch, "compile", lambda call, mode: call)
    words = ["super-resolve", str(phantom_files[0]), str(tmp_path / "a.ome.zarr"), "--dry-run"]
    words += ["--model", str(tiny_model), "--device", "cpu", "--engine", "torch"]
    assert main(words) == 0
    assert "compiled" not in capsys.readouterr().out
    assert main([*words, "--compile"]) == 0
    assert re.search("on cpu by [0-9]+ threads?, torch, compiled", capsys.readouterr().out)


def test_where_it_cannot_be_compiled_one_sentence_says_so(
    stack: Volume, job: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", lambda call, mode: fail)
    asked = job.model_copy(update={"engine": "torch", "compile": True})
    plan = resolve_super_resolve(asked, stack, tmp_path / "a.ome.zarr")
    assert plan.engine == "torch"
    assert sum("could not compile" in warning for warning in plan.warnings) == 1


def test_an_mps_device_that_errs_is_refused(
    stack: Volume, job: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def err(*_: object) -> None:
        raise NoVariant("The mps device errs; use --device cpu.")

    monkeypatch.setattr(_engine, "_kind", lambda _: "mps")
    monkeypatch.setattr(_engine, "require_sound", err)
    with pytest.raises(InputError, match=r"use --device cpu\."):
        resolve_super_resolve(job, stack, tmp_path / "a.ome.zarr")


def _not_served(*_: object, **__: object) -> None:
    raise _engine.NotServed("not here")
