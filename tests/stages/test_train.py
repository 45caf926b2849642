"""The three stages on a tiny stack: what is told, what is left, and every way to go on."""

from __future__ import annotations

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
from napari_d2r.training import STUDENT_TASKS, SequenceTask
from napari_d2r.volumes import AxialGrid, Volume, VoxelSize, interpolate_axial

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


def of_type(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# what is told and what is left --------------------------------------------------------


def test_a_training_tells_its_stages_and_ends_once(uninterrupted: tuple[Path, list[Event]]) -> None:
    folder, events = uninterrupted
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
    uninterrupted: tuple[Path, list[Event]], small: Volume, tiny_job: TrainJob
) -> None:
    folder, events = uninterrupted
    assert sorted(files_of(folder)) == [
        "job.yaml",
        "models.json",
        "prior/card.json",
        "prior/card.md",
        "prior/weights.safetensors",
        "student/card.json",
        "student/card.md",
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


def test_the_networks_have_learned_something(uninterrupted: tuple[Path, list[Event]]) -> None:
    folder, _ = uninterrupted
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
        (
            [
                "student.network={architecture: dgean, options: {width: 2}}",
                "student.loss={l1: 1, ssim: 1, ffl: 100, continuity: 0.1}",
            ],
            ["prior", "student"],
        ),
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
        is_diffusion = role == "prior" and job.prior.network.architecture == "nafnet"
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

    class Spy(SequenceTask):
        def __init__(self, pseudo_hr: torch.Tensor, measured: torch.Tensor, *rest: Any) -> None:
            seen.append((pseudo_hr.numpy(), measured.numpy()))
            super().__init__(pseudo_hr, measured, *rest)

    monkeypatch.setitem(STUDENT_TASKS, "sequence", Spy)
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
        (of_shape(9, 32, 12), [], r"12 pixels; learning a factor of 4 from .* needs at least 13"),
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
    small: Volume, tiny_job: TrainJob, uninterrupted: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="not empty; pass --resume to go on, or --overwrite"):
        resolve_train(tiny_job, small, uninterrupted[0])
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
