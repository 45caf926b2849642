"""16-bit floats in a whole run: measured slices stay, a plan says so, doubt means float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_d2r.errors import InputError
from napari_d2r.inference import NoVariant, _variants
from napari_d2r.io import open_volume
from napari_d2r.jobs import Device, SuperResolveJob
from napari_d2r.stages import _engine, _super_resolve_plan
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume


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


@pytest.mark.parametrize(("device", "engine"), [("cuda", "torch in bfloat16"), ("cpu", "torch")])
def test_auto_takes_half_on_cuda_only(
    stack: Volume,
    job: SuperResolveJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: Device,
    engine: str,
) -> None:
    """On this machine's processor, which is taken for the device."""
    monkeypatch.setattr(_engine, "_kind", lambda _: device)
    monkeypatch.setattr(_engine, "in_eight_bits", _not_served)
    assert resolve_super_resolve(job, stack, tmp_path / "a.ome.zarr").engine == engine


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
