"""The last stage: a whole store becomes the file that was asked for, and knows how it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_d2r.checkpoints import load_model
from napari_d2r.io import _save_tiff, open_source, open_volume
from napari_d2r.jobs import (
    BlockWritten,
    CancelToken,
    Event,
    Finished,
    Outcome,
    Progress,
    Provenance,
    StageStarted,
    Started,
    SuperResolveJob,
)
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume, VoxelSize

pytestmark = pytest.mark.usefixtures("known_rate")
LINEAR = SuperResolveJob(method="linear", device="cpu", shard=64)
UNITS = {"out.ome.zarr": "parts", "out.tif": "slices"}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Iterator[Event]]:
    """Interpolate 9 slices of 300 x 280, whose result has one coarser level."""
    values = np.random.default_rng(0).integers(0, 255, (9, 300, 280)).astype(np.uint8)
    volume = Volume(values, VoxelSize(40, 10, 10), "big", tmp_path / "big.tif")

    def stream(name: str, *, resume: bool = False, cancel: CancelToken | None = None) -> object:
        plan = resolve_super_resolve(LINEAR, volume, tmp_path / name, resume=resume)
        return run_super_resolve(plan, resume=resume, cancel=cancel)

    return stream


@pytest.mark.parametrize("name", UNITS)
def test_a_cancel_in_the_last_stage_is_obeyed_and_resumed(
    run: Callable[..., Iterator[Event]], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_save_tiff, "_TELL_EVERY_S", 0)
    cancel, told = CancelToken(), []
    for event in run(name, cancel=cancel):
        told.append(event)
        if isinstance(event, Progress) and event.unit == UNITS[name]:
            assert event.done < event.total
            cancel.cancel()
    assert isinstance(told[-2], Progress)
    assert isinstance(told[-3], StageStarted)  # one step of it was all
    assert told[-1].outcome is Outcome.CANCELLED
    assert open_volume(told[-1].result).shape == (33, 300, 280)
    assert not (tmp_path / name).exists()
    assert not (tmp_path / f"{name}.partial").is_file()  # of a TIFF

    told = list(run(name, resume=True))
    assert [isinstance(event, Started) for event in told].index(True) == 0
    assert not any(isinstance(event, BlockWritten | Finished) for event in told[:-1])
    assert told[-1].outcome is Outcome.COMPLETED
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert open_volume(tmp_path / name).shape == (33, 300, 280)
    assert len(open_source(tmp_path / name).coarser) == (name == "out.ome.zarr")


def test_the_image_pyramid_is_gone_on_with_where_it_was(
    run: Callable[..., Iterator[Event]], tmp_path: Path
) -> None:
    cancel = CancelToken()
    for event in run("out.ome.zarr", cancel=cancel):
        if isinstance(event, Progress) and event.unit == "parts" and event.done == 4:
            cancel.cancel()
    assert isinstance(event, Finished)
    assert event.outcome is Outcome.CANCELLED
    told = [e for e in run("out.ome.zarr", resume=True) if isinstance(e, Progress)]
    assert [e.done for e in told if e.unit == "parts"] == [4, 5, 6, 7, 8, 9]
    list(run("whole.ome.zarr"))
    out, whole = tmp_path / "out.ome.zarr", tmp_path / "whole.ome.zarr"
    for level in "01":
        assert files_of(out / level) == files_of(whole / level)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_image_pyramid_tells_how_far_it_is(run: Callable[..., Iterator[Event]]) -> None:
    told = [e for e in run("out.ome.zarr") if isinstance(e, Progress) and e.unit == "parts"]
    assert [(e.done, e.total) for e in told] == [(n, 9) for n in range(10)]  # 33 x 150 x 140


@pytest.mark.parametrize("name", UNITS)
def test_a_file_knows_how_it_was_made(
    run: Callable[..., Iterator[Event]], name: str, tmp_path: Path
) -> None:
    list(run(name))
    made = Provenance.found_in(open_source(tmp_path / name).provenance)
    assert made is not None
    assert (made.source, made.source_path) == ("big", str(tmp_path / "big.tif"))
    assert (made.source_shape, made.source_voxel_size_nm) == ((9, 300, 280), (40, 10, 10))
    assert (made.shape, made.voxel_size_nm, made.factor) == ((33, 300, 280), (10, 10, 10), 4)
    assert (made.method, made.method_name, made.model) == ("linear", "linear", "")
    assert SuperResolveJob(**made.settings) == LINEAR
    assert made.is_complete
    assert made.measured_slices_at_multiples_of == 4


def test_a_file_knows_its_model(
    stack: Volume, job: SuperResolveJob, tiny_model: Path, tmp_path: Path
) -> None:
    list(run_super_resolve(resolve_super_resolve(job, stack, tmp_path / "out.ome.zarr")))
    made = Provenance.found_in(open_source(tmp_path / "out.ome.zarr").provenance)
    card = load_model(tiny_model).card
    assert made is not None
    assert made.model == "model"
    assert made.model_summary == card.summary
    assert (made.weights_sha256, made.trained_on) == (card.weights_sha256, card.trained_on)
    assert (made.method_name, made.device) == ("D2R", "cpu")
