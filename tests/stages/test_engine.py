"""Which engine runs a model: what was asked for, what is there, and what is good enough."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_d2r.checkpoints import bundled_model
from napari_d2r.errors import InputError
from napari_d2r.inference import _eight_bits
from napari_d2r.jobs import CancelToken, Engine, Outcome, SuperResolveJob, Warned
from napari_d2r.metrics import axial_shift
from napari_d2r.stages import _engine
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume

needs_extra = pytest.mark.skipif(
    find_spec("openvino") is None, reason='eight bits need the extra: pip install ".[fast]"'
)


def job(engine: Engine, **fields: object) -> SuperResolveJob:
    return SuperResolveJob(
        model=bundled_model("student"), device="cpu", engine=engine, shard=64, **fields
    )


def run(engine: Engine, stack: Volume, output: Path) -> tuple[np.ndarray, list[str]]:
    """The result, and what was warned of."""
    events = list(run_super_resolve(resolve_super_resolve(job(engine), stack, output)))
    notes = [event.message for event in events if isinstance(event, Warned)]
    return zarr.open_array(output / "0", mode="r")[:], notes


def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(_eight_bits, "openvino_version", missing)


@needs_extra
def test_eight_bits_keep_measured_slices_and_their_place(stack: Volume, tmp_path: Path) -> None:
    exact, _ = run("torch", stack, tmp_path / "torch.ome.zarr")
    fast, notes = run("auto", stack, tmp_path / "auto.ome.zarr")
    assert not any("bit" in note for note in notes)
    assert np.array_equal(fast[::4], stack.data)
    assert abs(axial_shift(exact, fast)) < 0.02
    errors = np.abs(fast.astype(int) - exact)
    assert 0 < errors.mean() < 1  # grey levels; and it is not torch that ran
    again, _ = run("int8", stack, tmp_path / "int8.ome.zarr")
    assert np.array_equal(again, fast)


@needs_extra
def test_the_plan_names_its_engine(stack: Volume, tmp_path: Path) -> None:
    fast = resolve_super_resolve(job("auto"), stack, tmp_path / "a.ome.zarr")
    exact = resolve_super_resolve(job("torch"), stack, tmp_path / "a.ome.zarr")
    assert "in eight bits" in fast.lines()[2]
    assert "bits" not in exact.lines()[2]


@needs_extra
def test_a_run_does_not_go_on_with_another_engine(stack: Volume, tmp_path: Path) -> None:
    output, cancel = tmp_path / "a.ome.zarr", CancelToken()
    events = run_super_resolve(resolve_super_resolve(job("int8"), stack, output), cancel=cancel)
    next(events)
    cancel.cancel()
    assert list(events)[-1].outcome is Outcome.CANCELLED
    plan = resolve_super_resolve(job("torch"), stack, output, resume=True)
    with pytest.raises(InputError, match="resume"):
        list(run_super_resolve(plan, resume=True))


@needs_extra
def test_a_stack_on_which_they_lose_too_much_is_computed_by_torch(
    stack: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_eight_bits, "MAX_LOSS_DB", -10.0)
    exact, _ = run("torch", stack, tmp_path / "torch.ome.zarr")
    found, notes = run("auto", stack, tmp_path / "auto.ome.zarr")
    assert np.array_equal(found, exact)
    assert [note for note in notes if "bit" in note] == [
        note for note in notes if "full precision" in note
    ]
    assert sum("would lose" in note for note in notes) == 1


def test_without_the_extra_torch_is_used_and_nobody_is_bothered(
    stack: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_installed(monkeypatch)
    monkeypatch.setattr(_engine, "has_bfloat16", lambda _: False)
    plan = resolve_super_resolve(job("auto"), stack, tmp_path / "a.ome.zarr")
    assert plan.engine == "torch"
    assert not any("bit" in note for note in plan.warnings)


def test_eight_bits_that_are_asked_for_must_be_there(
    stack: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_installed(monkeypatch)
    with pytest.raises(InputError, match=r"napari-d2r\[fast\]"):
        resolve_super_resolve(job("int8"), stack, tmp_path / "a.ome.zarr")


def test_interpolation_has_no_engine(stack: Volume, tmp_path: Path) -> None:
    linear = SuperResolveJob(method="linear", engine="int8", device="cpu")
    assert resolve_super_resolve(linear, stack, tmp_path / "a.ome.zarr").engine == "torch"
