"""Stage III from an isotropic reference: learned, told, refused, and gone on with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_d2r.api import super_resolve, train
from napari_d2r.checkpoints import load_card, load_index
from napari_d2r.cli import main
from napari_d2r.errors import InputError
from napari_d2r.io import open_volume, save_tiff
from napari_d2r.jobs import CancelToken, Finished, Outcome, StageStarted, TrainJob
from napari_d2r.models import linear_base
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.training import AnyDirectionTask, BlockTask, SequenceTask
from napari_d2r.volumes import Volume, VoxelSize


def saved(path: Path, voxels: NDArray[np.generic], edges: VoxelSize | None) -> Path:
    if edges is None:
        np.save(path, voxels)
    else:
        save_tiff(path, iter(voxels), shape=voxels.shape, dtype=voxels.dtype, voxel_size=edges)
    return path


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, phantom: tuple[Volume, Volume]) -> Path:
    """The truth of the phantom, upside down: 33 x 64 x 64."""
    path = tmp_path_factory.mktemp("reference") / "isotropic.tif"
    return saved(path, phantom[1].read()[::-1], VoxelSize(10, 10, 10))


@pytest.mark.parametrize(
    "network", ["aenet-fast", "{architecture: srunet, options: {widths: [4, 6, 6]}}"]
)
def test_the_reference_teaches_the_only_stage(
    network: str, reference: Path, small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    job = tiny_job
    if network != "aenet-fast":
        job = tiny_job.override([f"student.network={network}"])
    job = job.model_copy(update={"reference": reference})
    folder = tmp_path / "model"
    plan = resolve_train(job, small, folder)
    assert "learn from 33 x 64 x 64 voxels of isotropic" in plan.lines()[0]
    events = list(run_train(plan))
    stages = [event for event in events if isinstance(event, StageStarted)]
    assert [(s.title, s.count) for s in stages] == [("stage III: learn from the reference", 1)]
    assert load_index(folder).models == ["student"]
    card, _ = load_card(folder)
    assert (card.reference, card.trained_on, card.gap) == ("isotropic.tif", "isotropic.tif", 4)
    assert [one.name for one in card.data] == ["isotropic.tif"]
    rows = {row.measure: (row.volume, row.relation) for row in card.evaluation}
    assert rows["measured slices left out and predicted"] == ("small", "held out")
    assert (
        "supervised by the isotropic volume isotropic.tif"
        in (folder / "student/card.md").read_text()
    )
    super_resolve(small, tmp_path / "out.ome.zarr", model=folder)
    np.testing.assert_array_equal(open_volume(tmp_path / "out.ome.zarr").read()[::4], small.data)


class Linear(torch.nn.Module):
    """Linear interpolation, of sequences and of blocks; notes whether the slices given differ."""

    def __init__(self) -> None:
        super().__init__()
        self.has_seen_change = False

    def forward(self, slices: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        difference = (slices[:, 1] - slices[:, 2]).abs().mean(dim=(1, 2))
        self.has_seen_change |= bool((difference > 0.05).any())
        if told:
            return linear_base(slices[:, 1], slices[:, 2], told[0])
        return slices[:, :-1, None].expand(-1, -1, 3, -1, -1)


def any_direction(
    task: type[SequenceTask | BlockTask], truth: torch.Tensor, tiny_job: TrainJob
) -> AnyDirectionTask:
    settings = tiny_job.student.model_copy(update={"input_noise": 0.0, "crop": 16})
    return AnyDirectionTask(lambda volume: task(volume, truth[::4], 4, settings), truth, 4)


@pytest.mark.parametrize("task", [SequenceTask, BlockTask])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_is_looked_along(
    task: type[SequenceTask | BlockTask], axis: int, tiny_job: TrainJob
) -> None:
    """Slices of a volume that changes along one axis differ where that one is looked along."""
    ramp = torch.linspace(0, 1, 24).reshape([24 if k == axis else 1 for k in range(3)])
    made, network = (
        any_direction(task, ramp.repeat(*(24 // n for n in ramp.shape)), tiny_job),
        Linear(),
    )
    for seed in range(12):
        made.loss(network, np.random.default_rng(seed))
    assert network.has_seen_change


def test_what_is_kept_back_for_judging_teaches_no_direction(tiny_job: TrainJob) -> None:
    truth = torch.rand(40, 60, 40)
    truth[:, -13:] = torch.nan  # three gaps and one row
    made = any_direction(SequenceTask, truth, tiny_job)
    for seed in range(30):
        assert torch.isfinite(made.loss(Linear(), np.random.default_rng(seed)))


@pytest.mark.parametrize(
    ("shape", "edges", "words"),
    [
        ((40, 40, 40), VoxelSize(20, 10, 10), "must be isotropic"),
        ((40, 40, 40), VoxelSize(8, 8, 8), "voxels of 8 nm and small pixels of 10 nm"),
        ((12, 40, 40), VoxelSize(10, 10, 10), "at least 13 along each axis"),
        ((40, 40, 40), None, "does not say how large its voxels are"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused(
    shape: tuple[int, int, int],
    edges: VoxelSize | None,
    words: str,
    small: Volume,
    tiny_job: TrainJob,
    tmp_path: Path,
) -> None:
    name = "odd.tif" if edges else "odd.npy"
    path = saved(tmp_path / name, np.zeros(shape, np.uint8), edges)
    job = tiny_job.model_copy(update={"reference": path})
    with pytest.raises(InputError, match=words):
        resolve_train(job, small, tmp_path / "model")
    with pytest.raises(InputError, match="teaches stage III"):
        resolve_train(job.model_copy(update={"student": None}), small, tmp_path / "model")


def test_a_training_goes_on_with_the_same_reference_only(
    reference: Path, small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    path = tmp_path / "mine.tif"
    voxels = open_volume(reference).read()
    saved(path, voxels, VoxelSize(10, 10, 10))
    job, folder = tiny_job.model_copy(update={"reference": path}), tmp_path / "model"
    cancel = CancelToken()
    cancel.cancel()
    *_, last = run_train(resolve_train(job, small, folder), cancel=cancel)
    assert isinstance(last, Finished) and last.outcome is Outcome.CANCELLED
    other = np.where(np.arange(len(voxels))[:, None, None] == 5, 0, voxels)
    path.unlink()
    saved(path, other.astype(voxels.dtype), VoxelSize(10, 10, 10))
    with pytest.raises(InputError, match="begun with another input"):
        list(run_train(resolve_train(job, small, folder, resume=True), resume=True))
    path.unlink()
    saved(path, voxels, VoxelSize(10, 10, 10))
    *_, last = run_train(resolve_train(job, small, folder, resume=True), resume=True)
    assert isinstance(last, Finished) and last.outcome is Outcome.COMPLETED


def test_python_and_the_command_line_take_a_reference(
    reference: Path, phantom_files: tuple[Path, Path], tiny_job: TrainJob, tmp_path: Path
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(tiny_job.to_yaml())
    words = ["train", str(phantom_files[0]), str(tmp_path / "cli"), "--job", str(job)]
    assert main([*words, "--reference", str(reference)]) == 0
    train(phantom_files[0], tmp_path / "python", job=tiny_job, reference=reference)
    for folder in ("cli", "python"):
        assert load_card(tmp_path / folder)[0].reference == "isotropic.tif"
