"""Training interrupted in every way, and resumed to the same bits."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from napari_d2r.checkpoints import load_index, load_model
from napari_d2r.errors import InputError
from napari_d2r.jobs import (
    CancelToken,
    CheckpointSaved,
    Event,
    Finished,
    Outcome,
    TrainJob,
    Warned,
)
from napari_d2r.stages import _pseudo_hr
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.training import _loop
from napari_d2r.volumes import Volume, VoxelSize

ANISOTROPIC = VoxelSize(40, 10, 10)
NAFNET = (
    "{architecture: nafnet, options: "
    "{width: 8, encoder_blocks: [1], middle_blocks: 1, decoder_blocks: [1]}}"
)
DIFFUSION = [f"prior.network={NAFNET}"]


def stream(
    job: TrainJob,
    volume: Volume,
    folder: Path,
    *,
    cancel: CancelToken | None = None,
    **keep: bool,
) -> Iterator[Event]:
    plan = resolve_train(job, volume, folder, **keep)
    yield from run_train(plan, **keep, cancel=cancel)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def weights_of(folder: Path) -> dict[str, bytes]:
    return {
        name: text
        for name, text in files_of(folder).items()
        if name.endswith("weights.safetensors")
    }


@pytest.fixture(scope="module", autouse=True)
def untimed() -> Iterator[None]:
    """No events by the clock, so that their order is the same on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loop, "REPORT_EVERY_S", math.inf)
        patch.setattr(_loop, "SAVE_EVERY_S", math.inf)
        patch.setattr(_pseudo_hr, "BEAT_S", 1e6)
        yield


def cancel_at(index: int, job: TrainJob, volume: Volume, folder: Path, **keep: bool) -> Finished:
    """Ask to stop while event ``index`` is handled."""
    cancel, last = CancelToken(), None
    for number, event in enumerate(stream(job, volume, folder, cancel=cancel, **keep)):
        if number == index:
            cancel.cancel()
        last = event
    assert isinstance(last, Finished)
    return last


# Of 23 events: before, in and after stage I, in stages II and III, and after it.
@pytest.mark.parametrize("index", [0, 3, 7, 9, 12, 16, 20])
def test_cancelled_and_resumed_is_bit_identical(
    uninterrupted: tuple[Path, list[Event]],
    small: Volume,
    tiny_job: TrainJob,
    tmp_path: Path,
    index: int,
) -> None:
    reference, events = uninterrupted
    folder = tmp_path / "model"
    assert len(events) == 23
    ended = cancel_at(index, tiny_job, small, folder)
    assert ended.outcome is Outcome.CANCELLED
    assert ended.result is None
    assert not (folder / "models.json").exists()
    assert load_names(folder) == {"work"}
    resumed = list(stream(tiny_job, small, folder, resume=True))
    assert resumed[-1].outcome is Outcome.COMPLETED
    assert weights_of(folder) == weights_of(reference)
    assert sorted(files_of(folder)) == sorted(files_of(reference))


def test_a_diffusion_training_resumes_bit_identically_too(
    small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    job = tiny_job.override([*DIFFUSION, "targets.sampler={solver: dpm++, steps: 1}"])
    tiny = Volume(small.data[:4, :16, :16], ANISOTROPIC)
    events = list(stream(job, tiny, tmp_path / "whole"))
    checkpoint = next(n for n, e in enumerate(events) if isinstance(e, CheckpointSaved))
    for index in (3, checkpoint + 2):  # within stage I, and within stage II
        folder = tmp_path / f"{index}"
        assert cancel_at(index, job, tiny, folder).outcome is Outcome.CANCELLED
        list(stream(job, tiny, folder, resume=True))
        assert weights_of(folder) == weights_of(tmp_path / "whole")


def load_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_killed_after_any_checkpoint_it_resumes_bit_identically(
    uninterrupted: tuple[Path, list[Event]],
    small: Volume,
    tiny_job: TrainJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed again and again: every session lives for one checkpoint only."""
    monkeypatch.setattr(_loop, "SAVE_EVERY_S", 0.0)
    folder, sessions = tmp_path / "model", 0
    while True:
        events = stream(tiny_job, small, folder, resume=True)
        checkpoints = 0
        for event in events:
            checkpoints += isinstance(event, CheckpointSaved)
            if checkpoints == 3:
                break
        events.close()
        if isinstance(event, Finished):
            break
        sessions += 1
        assert sessions < 20
    assert sessions >= 3
    assert weights_of(folder) == weights_of(uninterrupted[0])


def test_more_time_or_another_device_may_be_given_to_a_resumed_run(
    uninterrupted: tuple[Path, list[Event]], small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    cancel_at(5, tiny_job, small, tmp_path / "model")
    job = tiny_job.model_copy(update={"max_minutes": 60.0, "device": "auto"})
    events = list(stream(job, small, tmp_path / "model", resume=True))
    assert events[-1].outcome is Outcome.COMPLETED


def test_other_threads_than_at_the_beginning_are_said(
    small: Volume, tiny_job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, begun_with = tmp_path / "model", torch.get_num_threads()

    def said(cancel: CancelToken) -> list[str]:
        told = []
        for event in stream(tiny_job, small, folder, cancel=cancel, resume=True):
            told += [event.message] if isinstance(event, Warned) else []
            if isinstance(event, CheckpointSaved):
                cancel.cancel()
        return [message for message in told if "was begun on" in message]

    assert said(CancelToken()) == said(CancelToken()) == []
    monkeypatch.setattr(torch, "get_num_threads", lambda: begun_with + 7)
    (message,) = said(CancelToken())
    assert f"goes on on cpu by {begun_with + 7} threads: its last bits may differ" in message


def test_a_changed_run_is_not_resumed(small: Volume, tiny_job: TrainJob, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    cancel_at(4, tiny_job, small, folder)
    before = files_of(folder)
    changed = small.read().copy()
    changed[2, 3, 4] ^= 1
    others = {
        "seed": (tiny_job.override(["seed=1"]), small),
        "steps": (tiny_job.override(["prior.optimizer.max_steps=5"]), small),
        "later stage": (tiny_job.override(["student.crop=17"]), small),
        "one voxel": (tiny_job, Volume(changed, ANISOTROPIC, "small")),
        "gap": (tiny_job, Volume(small.data, VoxelSize(50, 10, 10), "small")),
    }
    for job, volume in others.values():
        with pytest.raises(InputError, match=r"other (input|settings)"):
            list(stream(job, volume, folder, resume=True))
        assert files_of(folder) == before


def test_an_older_model_stands_until_the_new_one_is_complete(
    uninterrupted: tuple[Path, list[Event]], small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(uninterrupted[0], folder)
    (folder / "notes.txt").write_text("mine")
    older = files_of(folder)
    job = tiny_job.override(["seed=7", "student=null", "targets.kind=none"])
    assert cancel_at(4, job, small, folder, overwrite=True).outcome is Outcome.CANCELLED
    work = {name for name in files_of(folder) if name.startswith("work/")}
    assert {k: v for k, v in files_of(folder).items() if k not in work} == older
    assert load_model(folder / "student").card.seconds >= 0

    list(stream(job, small, folder, overwrite=True))
    assert load_names(folder) == {"job.yaml", "models.json", "notes.txt", "prior"}
    assert weights_of(folder)["prior/weights.safetensors"] != older["prior/weights.safetensors"]
    assert load_index(folder).models == ["prior"]


def test_overwriting_begins_anew(
    uninterrupted: tuple[Path, list[Event]], small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    cancel_at(5, tiny_job.override(["seed=3"]), small, tmp_path / "model")
    list(stream(tiny_job, small, tmp_path / "model", overwrite=True))
    assert weights_of(tmp_path / "model") == weights_of(uninterrupted[0])


def test_a_finished_training_is_not_repeated_by_resume(
    uninterrupted: tuple[Path, list[Event]], small: Volume, tiny_job: TrainJob
) -> None:
    before = files_of(uninterrupted[0])
    with pytest.raises(InputError, match="complete"):
        resolve_train(tiny_job, small, uninterrupted[0], resume=True)
    assert files_of(uninterrupted[0]) == before


def test_only_a_folder_of_ours_is_resumed_or_overwritten(
    small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for keep in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(InputError, match="other things than a model"):
            resolve_train(tiny_job, small, tmp_path, **keep)
    (tmp_path / "empty").mkdir()
    for keep in ({"resume": True}, {"overwrite": True}, {}):
        resolve_train(tiny_job, small, tmp_path / "empty", **keep)
