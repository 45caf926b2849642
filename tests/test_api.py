"""The front door: README's lines, and what a script may ask beyond them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import zarr

import napari_d2r as d2r
from napari_d2r import api
from napari_d2r.checkpoints import bundled_model, known_models, list_models, load_card
from napari_d2r.io import save_tiff
from napari_d2r.jobs import CancelToken, Event, Finished, Progress, Started

REPOSITORY = Path(__file__).resolve().parents[1]


def test_readme_python_runs_as_written(
    tiny_job: d2r.TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """But for the minutes of ``quick``."""
    text = (REPOSITORY / "README.md").read_text("utf-8")
    [code] = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 5
    measured, truth = d2r.phantom_sample((33, 64, 64), factor=8)
    for volume, name in ((measured, "stack.tif"), (truth, "reference.tif")):
        save_tiff(
            tmp_path / name,
            iter(volume.read()),
            shape=volume.shape,
            dtype=volume.dtype,
            voxel_size=volume.voxel_size,
        )
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(api, "load_preset", lambda name: asked.append(name) or tiny_job)
    exec(compile(code, "README.md", "exec"), {})
    assert asked == ["quick"]
    assert {p.name for p in tmp_path.iterdir()} == {
        *("stack.tif", "reference.tif", "model", "out.ome.zarr")
    }
    result = zarr.open_array("out.ome.zarr/0", mode="r")[:]
    assert result.shape == (33, 64, 64)
    assert np.array_equal(result[::8], measured.read())
    table = capsys.readouterr().out
    for word in ("linear", "XY", "XZ", "YZ"):
        assert word in table


def test_every_public_name_is_there() -> None:
    assert dir(d2r) == sorted(d2r.__all__)
    for name in d2r.__all__:
        assert getattr(d2r, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        d2r.magic  # noqa: B018


def test_what_is_given_counts_more_than_the_job(
    stack: d2r.Volume, tiny_model: Path, tmp_path: Path
) -> None:
    job = d2r.SuperResolveJob(method="linear", factor=2, device="cpu")
    done = d2r.super_resolve(stack, tmp_path / "a.zarr", job=job)
    assert done.shape == (17, 64, 64)
    done = d2r.super_resolve(stack, tmp_path / "b.zarr", job=job, factor=3)
    assert done.shape == (25, 64, 64)
    done = d2r.super_resolve(stack, tmp_path / "c.zarr", job=job, model=tiny_model)
    attributes = zarr.open_group(tmp_path / "c.zarr", mode="r").attrs["napari_d2r"]
    assert attributes["weights_sha256"]  # a model that is named is used


def test_no_model_is_the_bundled_one(stack: d2r.Volume, tmp_path: Path) -> None:
    done = d2r.super_resolve(stack, tmp_path / "a.zarr")
    assert done.shape == (33, 64, 64)
    written = zarr.open_group(done.path, mode="r").attrs["napari_d2r"]
    assert written["weights_sha256"] == load_card(bundled_model())[0].weights_sha256


def test_what_was_trained_is_remembered(
    stack: d2r.Volume, tiny_job: d2r.TrainJob, tmp_path: Path
) -> None:
    folder = d2r.train(stack, tmp_path / "model", job=tiny_job).folder
    assert known_models()[0] == folder
    assert folder in [entry.path for entry in list_models(known_models())]


def test_events_are_passed_on(stack: d2r.Volume, tmp_path: Path) -> None:
    told: list[Event] = []
    job = d2r.SuperResolveJob(method="linear", device="cpu")
    d2r.super_resolve(stack, tmp_path / "a.zarr", job=job, on_event=told.append)
    assert isinstance(told[0], Started)
    assert any(isinstance(event, Progress) for event in told)
    assert isinstance(told[-1], Finished)


def test_a_cancelled_job_raises(stack: d2r.Volume, tiny_job: d2r.TrainJob, tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(d2r.D2RError, match="cancelled"):
        d2r.train(stack, tmp_path / "model", job=tiny_job, cancel=cancel)
    job = d2r.SuperResolveJob(method="linear", device="cpu")
    with pytest.raises(d2r.D2RError, match="cancelled"):
        d2r.super_resolve(stack, tmp_path / "a.zarr", job=job, cancel=cancel)
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize("factor", [float("nan"), 0.5, 1, 17])
def test_a_factor_that_makes_no_sense_is_refused(
    stack: d2r.Volume, tiny_job: d2r.TrainJob, tmp_path: Path, factor: float
) -> None:
    job = d2r.SuperResolveJob(method="linear", device="cpu")
    with pytest.raises(d2r.InputError, match="factor"):
        d2r.super_resolve(stack, tmp_path / "a.zarr", job=job, factor=factor)
    with pytest.raises(d2r.InputError, match="factor"):
        d2r.train(stack, tmp_path / "model", job=tiny_job, factor=factor)
    with pytest.raises(d2r.InputError, match="max_minutes"):
        d2r.train(stack, tmp_path / "model", job=tiny_job, max_minutes=-1)
    assert list(tmp_path.iterdir()) == []


def test_evaluate_gain_and_fsc_take_volumes_and_paths(
    stack: d2r.Volume,
    phantom: tuple[d2r.Volume, d2r.Volume],
    phantom_files: tuple[Path, Path],
    tiny_model: Path,
) -> None:
    truth = phantom[1]
    assert d2r.evaluate(truth, phantom_files[1], factor=4).result.num_exact == 9
    assert d2r.fsc(phantom_files[1], truth).curves.plain.correlation.min() > 0.999
    alone = d2r.fsc(phantom_files[1])
    assert alone.is_one_volume
    assert alone.curves.plain.correlation.min() < 0.9
    assert len(d2r.gain(phantom_files[0], tiny_model).gain.slices) == 7


def test_a_benchmark_takes_a_volume_and_a_suite(
    phantom: tuple[d2r.Volume, d2r.Volume], tmp_path: Path
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "crop: [33, 24, 24]\ncases: [{factor: 4}]\n"
        "methods: [{name: linear, baseline: linear}, {name: cubic, baseline: cubic}]",
        "utf-8",
    )
    events: list[Event] = []
    report = d2r.benchmark(
        suite, tmp_path / "out", volume=phantom[1], only=["cubic"], on_event=events.append
    )
    assert [row.method for row in report.rows] == ["cubic"]
    assert isinstance(events[-1], Finished)
    assert report.table() + "\n" == (tmp_path / "out" / "table.md").read_text("utf-8")
