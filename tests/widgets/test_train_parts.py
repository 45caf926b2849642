"""What is under the Train widget and needs no viewer: folders, stacks on disk, records, words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume, save_tiff
from napari_d2r.jobs import (
    TRAINING_LOSS,
    VALIDATION_GAIN,
    CancelToken,
    Failed,
    Finished,
    Outcome,
    Progress,
    Scalars,
    StageStarted,
    TrainJob,
    Warned,
    load_preset,
)
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.volumes import Volume

pytest.importorskip("qtpy.QtWidgets")

from napari.layers import Image
from napari.layers._source import layer_source

from napari_d2r.widgets._prepare import (
    PlannedTraining,
    Prepared,
    TrainWish,
    plan_training,
    prepare,
)
from napari_d2r.widgets._project import look_into
from napari_d2r.widgets._train_commands import as_command, as_python
from napari_d2r.widgets._training_record import TrainingRecord, decimated

PLACED = {"scale": [40.0, 10.0, 10.0], "translate": [100.0, 20.0, 30.0]}


@pytest.fixture
def wish(stack: Volume, tiny_job: TrainJob, tmp_path: Path) -> TrainWish:
    layer = Image(np.array(stack.read()), name="fly: brain/1")
    return TrainWish(tmp_path / "project", layer, stack.voxel_size, tiny_job, "quick")


def planned(wish: TrainWish) -> PlannedTraining:
    *_, last = plan_training(wish, CancelToken())
    return last.result


def prepared(wish: TrainWish, source: Path | None = None) -> Prepared:
    *_, last = prepare(planned(wish), "new", PLACED, source, CancelToken())
    return last.result


def test_a_stack_in_memory_is_written_once_with_its_voxel_size(wish: TrainWish) -> None:
    first = prepared(wish)
    volume = open_volume(first.stack)
    assert volume.voxel_size == wish.voxel_size
    np.testing.assert_array_equal(volume.read(), wish.layer.data)
    assert TrainJob.from_yaml(first.job.read_text("utf-8")) == wish.job
    written = first.stack.stat().st_mtime_ns
    assert prepared(wish).stack.stat().st_mtime_ns == written
    wish.layer.data[4, 5, 6] += 1
    again = prepared(wish)
    assert again.stack.stat().st_mtime_ns > written
    np.testing.assert_array_equal(open_volume(again.stack).read(), wish.layer.data)


def test_a_file_is_used_in_place_only_while_it_holds_the_same(
    wish: TrainWish, stack: Volume, tmp_path: Path
) -> None:
    file = save_tiff(
        tmp_path / "scan.tif",
        iter(stack.read()),
        shape=stack.shape,
        dtype=stack.dtype,
        voxel_size=stack.voxel_size,
    )
    assert prepared(wish, file).stack == file
    wish.layer.data[4, 5, 6] += 1
    assert prepared(wish, file).stack.parent == wish.folder


@pytest.fixture
def wish_in_colour(wish: TrainWish) -> TrainWish:
    grey = wish.layer.data
    layer = Image(np.stack([grey, 255 - grey, grey // 2], axis=-1), name="colours", rgb=True)
    options = "prior.network.options={width: 4, multipliers: [1], blocks: 1}"
    steps = "prior.optimizer={max_steps: 2, batch: 2, validate_every: 2}"
    job = load_preset("e2e").override([options, steps, "prior.columns=16", "device=cpu"])
    return replace(wish, layer=layer, job=job, preset="e2e")


def test_a_file_in_colour_is_used_in_place_only_while_it_holds_the_same(
    wish_in_colour: TrainWish, tmp_path: Path
) -> None:
    wish, size = wish_in_colour, wish_in_colour.voxel_size
    data = wish.layer.data
    file = save_tiff(
        tmp_path / "rgb.tif", iter(data), shape=data.shape, dtype=data.dtype, voxel_size=size
    )
    ready = prepared(wish, file)
    assert (ready.stack, ready.project.num_channels) == (file, 3)
    data[4, 5, 6, 2] += 1
    ready = prepared(wish, file)
    assert ready.stack.parent == wish.folder
    stored = open_volume(ready.stack, channel="all").read()
    np.testing.assert_array_equal(np.moveaxis(stored, 0, -1), data)


def test_a_training_in_colour_is_gone_on_with_without_its_layer(
    wish_in_colour: TrainWish,
) -> None:
    ready, cancel = prepared(wish_in_colour), CancelToken()
    volume = open_volume(ready.stack, channel="all")
    for _ in run_train(resolve_train(wish_in_colour.job, volume, ready.model), cancel=cancel):
        cancel.cancel()
    begun = look_into(wish_in_colour.folder)
    assert begun.state == "unfinished" and begun.job is not None
    again = replace(wish_in_colour, layer=None, job=begun.job, problem="There is no image.")
    plan = planned(again)
    assert plan.how == "resume" and "in colour" in plan.lines[1]
    assert "--channel all" in as_command(again, plan)


def test_of_a_large_stack_only_the_part_that_is_learned_from_is_written(wish: TrainWish) -> None:
    wish.layer.data = np.tile(wish.layer.data, (2, 6, 6))
    job = wish.job.model_copy(update={"max_voxels": 18 * 256 * 256})
    small = prepared(replace(wish, job=job))
    assert open_volume(small.stack).shape == (18, 256, 256)
    assert small.project.placed["translate"] == [100.0, 20.0 + 640.0, 30.0 + 640.0]


def test_a_cancelled_copy_leaves_nothing(wish: TrainWish) -> None:
    cancel = CancelToken()
    cancel.cancel()
    *_, last = prepare(planned(wish), "new", PLACED, None, cancel)
    assert last.outcome is Outcome.CANCELLED
    assert not list(wish.folder.glob("*.tif*"))


def test_folders_that_cannot_be_used_are_named(wish: TrainWish, tmp_path: Path) -> None:
    other = tmp_path / "holiday"
    other.mkdir()
    (other / "beach.jpg").write_bytes(b"sun")
    with pytest.raises(InputError, match="holds other things"):
        look_into(other)
    with pytest.raises(InputError, match="is a file"):
        look_into(other / "beach.jpg")
    with pytest.raises(InputError, match="cannot be written"):
        planned(replace(wish, folder=other / "beach.jpg" / "project"))
    (other / "beach.jpg").unlink()
    (other / "project.json").write_text("{torn", "utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        look_into(other)


def test_settings_that_cannot_be_trained_are_said_in_words_of_the_form(wish: TrainWish) -> None:
    fields = wish.job.model_dump(mode="json")
    fields["student"]["network"]["architecture"] = "lateral"
    with pytest.raises(InputError, match="does not serve stage III"):
        planned(replace(wish, job=TrainJob.checked(fields)))
    endless = wish.job.model_dump(mode="json")
    endless["prior"]["optimizer"]["max_steps"] = None
    with pytest.raises(InputError, match="give it some minutes"):
        planned(replace(wish, job=TrainJob.checked(endless)))


def test_a_record_follows_three_stages() -> None:
    record = TrainingRecord()
    record.take(StageStarted("stage I: learn", 1, 3))
    record.take(Progress(0.5, 1.0, "of the budget", eta_s=200.0))
    record.take(Scalars(10, {TRAINING_LOSS: 0.5}))
    record.take(Scalars(10, {VALIDATION_GAIN: float("inf")}))
    assert record.stages[0].words == "50 %, 3 min left"
    record.take(StageStarted("stage II: build", 2, 3))
    assert [stage.state for stage in record.stages] == ["done", "running", "waiting"]
    assert record.stages[0].fraction == 1.0
    record.take(Finished(Outcome.COMPLETED, {"default": "prior"}))
    assert record.stages[1].words == "done"
    assert list(record.curves) == [(0, TRAINING_LOSS)]  # infinity cannot be drawn


def test_a_record_says_which_stages_are_left_out() -> None:
    record = TrainingRecord()
    record.take(StageStarted("stage II: build", 1, 2))
    assert [stage.state for stage in record.stages] == ["left out", "running", "waiting"]
    record = TrainingRecord()
    record.take(StageStarted("stage I: learn", 1, 1))
    assert [stage.words for stage in record.stages][1:] == ["left out", "left out"]


def test_a_record_leaves_out_what_stands_in_the_findings() -> None:
    record = TrainingRecord()
    record.take(Warned("It drifts.", "drift"))
    record.take(Warned("Something else."))
    assert list(record.log) == ["note: Something else."]


def test_long_curves_are_thinned_out_and_keep_their_end() -> None:
    record = TrainingRecord()
    record.take(StageStarted("stage I: learn", 1, 3))
    for step in range(5001):
        record.take(Scalars(step, {TRAINING_LOSS: step / 2}))
    steps, values = decimated(record.curves[0, TRAINING_LOSS], 2000)
    assert len(steps) == 2000 and steps[0] == 0 and values[-1] == 2500


def test_a_failure_is_kept_with_its_detail() -> None:
    record = TrainingRecord()
    record.take(Failed("No room.", "Traceback"))
    assert record.failure is not None and record.log[-1] == "No room."


def test_the_copied_command_and_python_do_what_the_form_says(
    wish: TrainWish, phantom_files: tuple[Path, Path], capsys: Any
) -> None:
    import shlex

    from napari_d2r.cli import main

    with layer_source(path=str(phantom_files[0])):
        wish = replace(wish, layer=Image(wish.layer.data, name=wish.layer.name))
    fields = wish.job.model_dump(mode="json")
    fields["prior"]["optimizer"]["learning_rate"] = 4e-5
    wish = replace(wish, job=TrainJob.checked(fields))
    plan = planned(wish)
    words = shlex.split(as_command(wish, plan))
    assert words[0] == "napari-d2r"
    assert main([*words[1:], "--dry-run"]) == 0
    assert "factor 4" in capsys.readouterr().out
    exec(compile(as_python(wish, plan), "copied", "exec"), {})
    assert TrainJob.from_yaml((plan.model_folder / "job.yaml").read_text("utf-8")) == wish.job


def test_a_layer_without_a_file_is_named_in_the_copied_text(wish: TrainWish) -> None:
    text = as_command(wish, None)
    assert text.startswith("# STACK.tif stands for the layer “fly: brain/1”")
    with pytest.raises(InputError, match="RGB"):
        as_python(replace(wish, problem="RGB is not a stack."), None)
