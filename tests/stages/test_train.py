"""The three stages on a tiny stack: what is told, what is left, and every way to go on."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_d2r.checkpoints import load_card, load_index, load_model
from napari_d2r.errors import InputError
from napari_d2r.jobs import (
    CancelToken,
    CheckpointSaved,
    Event,
    Finished,
    Outcome,
    Preview,
    Scalars,
    StageStarted,
    Started,
    TrainJob,
    Warned,
)
from napari_d2r.metrics import GainOverLinear
from napari_d2r.stages import train as stage
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.training import _loop
from napari_d2r.volumes import AxialGrid, Volume, VoxelSize, interpolate_axial

ANISOTROPIC = VoxelSize(40, 10, 10)
NAFNET = (
    "{architecture: nafnet, options: "
    "{width: 8, encoder_blocks: [1], middle_blocks: 1, decoder_blocks: [1]}}"
)
DIFFUSION = ["prior.process=irsde", f"prior.network={NAFNET}"]


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


def of_type(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


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
        yield


@pytest.fixture(scope="module")
def small(stack: Volume) -> Volume:
    """5 x 32 x 32."""
    return Volume(stack.data[:5, :32, :32], ANISOTROPIC, "small")


@pytest.fixture(scope="module")
def whole(
    small: Volume, tiny_job: TrainJob, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Event]]:
    """A training that nobody interrupted: its folder and its events."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    return folder, list(stream(tiny_job, small, folder))


# what is told and what is left --------------------------------------------------------


def test_a_training_tells_its_stages_and_ends_once(whole: tuple[Path, list[Event]]) -> None:
    folder, events = whole
    assert events[0] == Started("train", folder)
    assert len(of_type(events, Started)) == 1
    assert [isinstance(e, Finished) for e in events] == [False] * (len(events) - 1) + [True]
    stages = of_type(events, StageStarted)
    assert [(s.index, s.count) for s in stages] == [(1, 3), (2, 3), (3, 3)]
    assert [s.title.split(":")[0] for s in stages] == ["stage I", "stage II", "stage III"]
    assert {e.path.stem for e in of_type(events, CheckpointSaved)} == {"prior", "student"}
    assert len(of_type(events, Preview)) == 4  # every second of four steps, twice
    told = {name for e in of_type(events, Scalars) for name in e.values}
    assert {"prior: leave-one-out gain (dB)", "student: leave-one-out gain (dB)"} <= told


def test_a_training_leaves_models_with_cards_and_nothing_else(
    whole: tuple[Path, list[Event]], small: Volume, tiny_job: TrainJob
) -> None:
    folder, events = whole
    assert sorted(files_of(folder)) == [
        "job.yaml",
        "models.json",
        "prior/card.json",
        "prior/weights.safetensors",
        "student/card.json",
        "student/weights.safetensors",
    ]
    assert TrainJob.from_yaml((folder / "job.yaml").read_text("utf-8")) == tiny_job
    trained = events[-1].result
    assert trained.folder == folder
    index = load_index(folder)
    best = max(trained.gains, key=lambda name: trained.gains[name].gain_db)
    assert index.default == trained.default == best
    assert sorted(index.models) == sorted(trained.gains) == ["prior", "student"]
    assert trained.gains[best].sentence() in index.reason
    for role in index.models:
        card, _ = load_card(folder / role)
        assert (card.role, card.gap, card.voxel_size_nm) == (role, 4, (40, 10, 10))
        assert card.gap_range == (2, 8)
        assert card.scores["leave-one-out"] == pytest.approx(trained.gains[role].gain_db)
        assert (card.trained_on, card.trained_by, card.steps) == (small.name, tiny_job, 4)
        assert len(trained.gains[role].slices) == 3
    assert load_model(folder).card == load_card(folder / best)[0]


def test_the_networks_have_learned_something(whole: tuple[Path, list[Event]]) -> None:
    folder, _ = whole
    for role in ("prior", "student"):
        model = load_model(folder / role)
        torch.manual_seed(0)
        fresh = type(model.network)(model.network.config).state_dict()
        assert any(
            not torch.equal(fresh[name], value)
            for name, value in model.network.state_dict().items()
        )


def test_a_plan_writes_nothing(small: Volume, tiny_job: TrainJob, tmp_path: Path) -> None:
    plan = resolve_train(tiny_job, small, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    words = "\n".join(plan.lines())
    for expected in ("5 x 32 x 32", "small", "factor 4", "no time limit", str(tmp_path / "model")):
        assert expected in words
    assert "15 minutes" in "\n".join(resolve_train(TrainJob(), small, tmp_path / "m").lines())


# every combination --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        (["targets.kind=none"], ["prior", "student"]),
        (["targets.kind=linear"], ["prior", "student"]),
        (["targets.kind=none", "prior=null"], ["student"]),
        (["targets.kind=linear", "prior=null"], ["student"]),
        (["student=null"], ["prior"]),
        (["student=null", "targets.kind=none"], ["prior"]),
        ([*DIFFUSION, "targets.sampler={solver: dpm++, steps: 2}"], ["prior", "student"]),
        (
            [
                *DIFFUSION,
                "prior.prediction=noise",
                "targets.sampler={solver: ddim, steps: 2, samples: 2, shared_noise: false}",
            ],
            ["prior", "student"],
        ),
        (["factor=2.5", "targets.factor=3"], ["prior", "student"]),
    ],
    ids=lambda value: "+".join(v.split("{")[0] for v in value) if value else "",
)
def test_every_combination_of_stages_runs(
    small: Volume, tiny_job: TrainJob, tmp_path: Path, changes: list[str], roles: list[str]
) -> None:
    job = tiny_job.override(changes)
    events = list(stream(job, small, tmp_path / "model"))
    assert events[-1].outcome is Outcome.COMPLETED
    assert load_index(tmp_path / "model").models == roles
    for role in roles:
        card, _ = load_card(tmp_path / "model" / role)
        assert card.trained_by == job
        is_diffusion = role == "prior" and job.prior.process == "irsde"
        assert (card.sampler == job.targets.sampler) is is_diffusion
        if is_diffusion:
            assert card.prediction == job.prior.prediction
    stages = of_type(events, StageStarted)
    count = ("prior" in roles) + 2 * ("student" in roles)
    assert [(s.index, s.count) for s in stages] == [(n + 1, count) for n in range(count)]


@pytest.mark.parametrize("solver", ["posterior", "reverse_sde"])
def test_the_published_samplers_run_too(
    small: Volume, tiny_job: TrainJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    """They take 100 steps a slice; judging the prior would take as many again."""
    unjudged = GainOverLinear((1,), (1.0,), (1.0,), 1.0)
    monkeypatch.setattr(stage, "leave_one_out", lambda *_: unjudged)
    job = tiny_job.override(
        [*DIFFUSION, "prior.prediction=noise", f"targets.sampler.solver={solver}"]
    )
    tiny = Volume(small.data[:4, :16, :16], ANISOTROPIC)
    assert list(stream(job, tiny, tmp_path / "model"))[-1].outcome is Outcome.COMPLETED
    assert load_card(tmp_path / "model" / "prior")[0].sampler.solver == solver


@pytest.mark.parametrize("kind", ["none", "linear", "prior"])
@pytest.mark.parametrize("k", [None, 3])
def test_the_student_learns_from_the_targets_asked_for(
    small: Volume,
    tiny_job: TrainJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    k: int | None,
) -> None:
    """In the pseudo-HR volume measured slice j stands at j k; what is between depends."""
    seen = []

    class Spy(stage.SequenceTask):
        def __init__(self, pseudo_hr: torch.Tensor, measured: torch.Tensor, *rest: Any) -> None:
            seen.append((pseudo_hr.numpy(), measured.numpy()))
            super().__init__(pseudo_hr, measured, *rest)

    monkeypatch.setattr(stage, "SequenceTask", Spy)
    job = tiny_job.override([f"targets={{kind: {kind}, factor: {k or 'null'}}}"])
    list(stream(job, small, tmp_path / "model"))
    [(pseudo_hr, measured)] = seen
    if kind == "none":
        assert np.array_equal(pseudo_hr, measured)
        return
    k = k or 4
    assert pseudo_hr.shape == (4 * k + 1, 32, 32)
    np.testing.assert_allclose(pseudo_hr[::k], measured, atol=1e-6)
    linear = interpolate_axial(measured, AxialGrid(5, k).positions())
    difference = np.abs(pseudo_hr - linear).max()
    assert difference < 1e-5 if kind == "linear" else difference > 1e-3


def test_only_what_is_learned_from_is_read(tiny_job: TrainJob, tmp_path: Path) -> None:
    reads = []

    class Recorder:
        shape, dtype = (6, 700, 700), np.dtype(np.uint8)

        def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
            part = np.random.default_rng(0).integers(0, 255, self.shape, np.uint8)[key]
            reads.append(part.shape)
            return part

    job = tiny_job.override(["max_voxels=100000", "student=null"])
    events = stream(job, Volume(Recorder(), ANISOTROPIC), tmp_path / "model")
    assert next(e for e in events if isinstance(e, Warned)).message.startswith("The stack is larg")
    events.close()
    plan = resolve_train(job, Volume(Recorder(), ANISOTROPIC), tmp_path / "model")
    assert [s.stop - s.start for s in plan.box] == [6, 256, 256]
    assert not any(shape[0] > 1 and shape[1] > 256 for shape in reads)


# interruptions ------------------------------------------------------------------------


def cancel_at(index: int, job: TrainJob, volume: Volume, folder: Path, **keep: bool) -> Finished:
    """Ask to stop while event ``index`` is handled."""
    cancel, last = CancelToken(), None
    for number, event in enumerate(stream(job, volume, folder, cancel=cancel, **keep)):
        if number == index:
            cancel.cancel()
        last = event
    assert isinstance(last, Finished)
    return last


# Of 20 events: before, in and after stage I, in stages II and III, and after it.
@pytest.mark.parametrize("index", [0, 3, 7, 9, 13, 17])
def test_cancelled_and_resumed_is_bit_identical(
    whole: tuple[Path, list[Event]],
    small: Volume,
    tiny_job: TrainJob,
    tmp_path: Path,
    index: int,
) -> None:
    reference, events = whole
    folder = tmp_path / "model"
    assert len(events) == 20
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
    whole: tuple[Path, list[Event]],
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
    assert weights_of(folder) == weights_of(whole[0])


def test_more_time_or_another_device_may_be_given_to_a_resumed_run(
    whole: tuple[Path, list[Event]], small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    cancel_at(5, tiny_job, small, tmp_path / "model")
    job = tiny_job.model_copy(update={"max_minutes": 60.0, "device": "auto"})
    events = list(stream(job, small, tmp_path / "model", resume=True))
    assert events[-1].outcome is Outcome.COMPLETED


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
    whole: tuple[Path, list[Event]], small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole[0], folder)
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
    whole: tuple[Path, list[Event]], small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    cancel_at(5, tiny_job.override(["seed=3"]), small, tmp_path / "model")
    list(stream(tiny_job, small, tmp_path / "model", overwrite=True))
    assert weights_of(tmp_path / "model") == weights_of(whole[0])


def test_a_finished_training_is_not_repeated_by_resume(
    whole: tuple[Path, list[Event]], small: Volume, tiny_job: TrainJob
) -> None:
    before = files_of(whole[0])
    with pytest.raises(InputError, match="complete"):
        resolve_train(tiny_job, small, whole[0], resume=True)
    assert files_of(whole[0]) == before


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


# refusals -----------------------------------------------------------------------------


def of_shape(*shape: int, size: VoxelSize = ANISOTROPIC) -> Volume:
    values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    return Volume(values, size, "stack")


@pytest.mark.parametrize(
    ("volume", "changes", "sentence"),
    [
        (of_shape(2, 9, 32, 32), [], r"has 2 channels; choose one with --channel N"),
        (of_shape(3, 32, 32), [], r"has 3 slices along Z; at least 4"),
        (of_shape(9, 32, 32, size=VoxelSize(10, 10, 10)), [], r"nothing to do.*as fine as"),
        (of_shape(9, 32, 32, size=VoxelSize(5, 10, 10)), [], r"nothing to do.*finer than"),
        (of_shape(9, 32, 32), ["factor=1.2"], r"factor of 1\.2 is outside 1\.5 to 16"),
        (of_shape(9, 32, 32), ["factor=17"], r"factor of 17 is outside"),
        (of_shape(9, 32, 32, size=VoxelSize(40, 10, 12)), [], r"10 x 12 nm.*square pixels"),
        (
            of_shape(9, 99, 99, size=VoxelSize(200, 10, 10)),
            ["factor=4"],
            r"20 lateral voxels apart; up to 16",
        ),
        (of_shape(9, 32, 12), [], r"32 x 12 pixels; learning a factor of 4 needs at least 13"),
        (of_shape(9, 32, 32), ["prior=null", "student=null"], r"nothing to train"),
        (of_shape(9, 32, 32), ["prior=null"], r"'prior' need stage I; choose linear or none"),
        (of_shape(9, 32, 32), ["device=mps"], r"no mps device"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_stack_that_cannot_be_learned_from_is_refused(
    volume: Volume, changes: list[str], sentence: str, tiny_job: TrainJob, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence) as refused:
        resolve_train(tiny_job.override(changes), volume, tmp_path / "model")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_taken_is_refused(
    small: Volume, tiny_job: TrainJob, whole: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="not empty; pass --resume to go on, or --overwrite"):
        resolve_train(tiny_job, small, whole[0])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        resolve_train(tiny_job, small, tmp_path / "file", overwrite=True)


@pytest.mark.parametrize(
    ("value", "sentence"), [(np.nan, "NaN"), (np.inf, "infinite"), (None, "constant")]
)
def test_voxels_that_cannot_be_learned_from_leave_no_folder(
    small: Volume, tiny_job: TrainJob, tmp_path: Path, value: float | None, sentence: str
) -> None:
    values = small.read().astype(np.float32)
    if value is None:
        values[:] = 7
    else:
        values[3, 1, 2] = value
    with pytest.raises(InputError, match=sentence):
        list(stream(tiny_job, Volume(values, ANISOTROPIC), tmp_path / "model"))
    assert list(tmp_path.iterdir()) == []


def test_what_may_surprise_is_warned_about(small: Volume, tiny_job: TrainJob) -> None:
    def warnings(size: VoxelSize, *changes: str) -> str:
        plan = resolve_train(
            tiny_job.override([*changes]), replace(small, voxel_size=size), Path("m")
        )
        return " ".join(plan.warnings)

    assert warnings(ANISOTROPIC) == ""
    assert "4 lateral voxels apart" in warnings(ANISOTROPIC, "factor=2")
    assert "2.5 is not whole" in warnings(VoxelSize(25, 10, 10))
