"""A small stack to a finer one: geometry, every input and output, and every interruption."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import zarr

from napari_d2r.checkpoints import HaloCard, load_model, save_model
from napari_d2r.errors import InputError
from napari_d2r.inference import measure_halo, predictor_for
from napari_d2r.io import create_output, open_volume
from napari_d2r.jobs import (
    BlockWritten,
    CancelToken,
    Event,
    Finished,
    Outcome,
    Progress,
    StageStarted,
    Started,
    SuperResolveJob,
    Warned,
)
from napari_d2r.models import architecture_named
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.volumes import AxialGrid, Volume, VoxelSize, interpolate_axial

pytestmark = pytest.mark.usefixtures("known_rate")
ANISOTROPIC = VoxelSize(40, 10, 10)
LINEAR = SuperResolveJob(method="linear", device="cpu")


def stream(
    job: SuperResolveJob,
    volume: Volume,
    output: Path,
    *,
    cancel: CancelToken | None = None,
    **keep: bool,
) -> Iterator[Event]:
    plan = resolve_super_resolve(job, volume, output, **keep)
    yield from run_super_resolve(plan, **keep, cancel=cancel)


def finished(events: Iterator[Event]) -> Finished:
    """The last event; a job has one `Started`, first, and one `Finished`, last."""
    told = list(events)
    assert [isinstance(e, Started) for e in told] == [True] + [False] * (len(told) - 1)
    assert [isinstance(e, Finished) for e in told] == [False] * (len(told) - 1) + [True]
    return told[-1]


def run(job: SuperResolveJob, volume: Volume, output: Path, **keep: bool) -> np.ndarray:
    """Run to the end and read level 0 of the store."""
    ended = finished(stream(job, volume, output, **keep))
    assert ended.outcome is Outcome.COMPLETED
    assert ended.result.path == output
    return level0(output)


def level0(path: Path) -> np.ndarray:
    return zarr.open_array(path / "0", mode="r")[:]


class Recorder:
    """A lazy array that remembers what it was asked for."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.reads = values, []
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        part = self.values[key]
        self.reads.append(part.shape)
        return part


# geometry -----------------------------------------------------------------------------


def test_the_output_is_an_ome_zarr_whose_slices_are_named_and_placed(
    stack: Volume, job: SuperResolveJob, tmp_path: Path
) -> None:
    path = tmp_path / "out.ome.zarr"
    result = run(job, stack, path)
    assert result.shape == (33, 64, 64)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.ome.zarr"]

    attributes = zarr.open_group(path, mode="r").attrs
    image = attributes["ome"]["multiscales"][0]
    assert [(axis["name"], axis["unit"]) for axis in image["axes"]] == [
        (name, "nanometer") for name in "zyx"
    ]
    assert image["datasets"][0]["path"] == "0"
    scale = image["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [10, 10, 10]
    assert open_volume(path).voxel_size == VoxelSize(10, 10, 10)


@pytest.mark.parametrize(
    ("dtype", "gain", "offset"),
    [
        ("uint8", 1, 0),
        ("int8", 1, -128),
        ("uint16", 200, 7),
        ("int16", 100, -12_000),
        ("float32", 1 / 255, -0.25),
    ],
)
def test_measured_slices_are_bit_exact_and_the_rest_scales_in_every_dtype(
    stack: Volume, job: SuperResolveJob, tmp_path: Path, dtype: str, gain: float, offset: float
) -> None:
    grey = stack.read().astype(np.float64)
    values = (grey * gain + offset).astype(dtype)
    result = run(job, Volume(values, ANISOTROPIC), tmp_path / "out.ome.zarr")
    assert result.dtype == dtype
    assert np.array_equal(result[::4], values)
    # The grey levels alone differ, so must the result: by rounding, and by nothing else.
    expected = run(job, stack, tmp_path / "uint8.ome.zarr").astype(np.float64)
    assert np.abs((result.astype(np.float64) - offset) / gain - expected).max() <= 1.01
    assert not np.array_equal(result[1::4], result[:-1:4])


def test_baselines_are_those_of_the_volumes_room(stack: Volume, tmp_path: Path) -> None:
    for method in ("nearest", "linear", "cubic"):
        job = SuperResolveJob(method=method, device="cpu")
        result = run(job, stack, tmp_path / f"{method}.ome.zarr").astype(int)
        expected = interpolate_axial(stack.read(), AxialGrid(9, 4).positions(), method)
        # Unit intensity in between may turn a tie, never more.
        assert np.abs(result - expected).max() <= 1
        assert (result != expected).mean() < 0.02


def test_a_factor_that_is_not_whole_keeps_slices_where_they_fall(
    stack: Volume, job: SuperResolveJob, tmp_path: Path
) -> None:
    path = tmp_path / "out.ome.zarr"
    events = list(stream(job.model_copy(update={"factor": 2.5}), stack, path))
    assert any("--keep-measured" in e.message for e in events if isinstance(e, Warned))
    result = level0(path)
    assert result.shape == (21, 64, 64)
    assert np.array_equal(result[::5], stack.read()[::2])  # 2.5 j is whole for even j
    assert open_volume(path).voxel_size == VoxelSize(16, 10, 10)
    linear = interpolate_axial(stack.read(), np.arange(21) / 2.5)
    difference = np.abs(result.astype(int) - linear)
    assert difference.mean() < 4  # a slice out of place differs by 20
    assert zarr.open_group(path).attrs["napari_d2r"]["measured_slices_at_multiples_of"] is None


def test_keep_measured_rounds_the_factor_and_says_so(
    stack: Volume, job: SuperResolveJob, tmp_path: Path
) -> None:
    path = tmp_path / "out.ome.zarr"
    rounding = job.model_copy(update={"factor": 2.727, "keep_measured": True})
    events = list(stream(rounding, stack, path))
    said = [e.message for e in events if isinstance(e, Warned)]
    assert any("2.727 is rounded to 3" in message for message in said)
    assert level0(path).shape == (25, 64, 64)
    assert np.array_equal(level0(path)[::3], stack.read())
    assert open_volume(path).voxel_size.z == pytest.approx(40 / 3)


def test_tiff_output_holds_the_same_voxels_and_their_size(
    stack: Volume, job: SuperResolveJob, tmp_path: Path
) -> None:
    ended = finished(stream(job, stack, tmp_path / "out.tif"))
    assert ended.outcome is Outcome.COMPLETED
    assert [p.name for p in tmp_path.iterdir()] == ["out.tif"]
    written = open_volume(tmp_path / "out.tif")
    assert written.voxel_size == VoxelSize(10, 10, 10)
    assert np.array_equal(written.read(), run(job, stack, tmp_path / "out.ome.zarr"))


# inputs on disk -----------------------------------------------------------------------


def as_ome_zarr(stack: Volume, folder: Path) -> Volume:
    output = create_output(
        folder / "in.ome.zarr",
        shape=stack.shape,
        dtype=stack.dtype,
        voxel_size=stack.voxel_size,
        identity="in",
        shard=(64, 64, 64),
    )
    for shard in output.shards():
        output.write(shard, stack.read())
    return open_volume(output.publish({}))


def as_hdf5(stack: Volume, folder: Path) -> Volume:
    with h5py.File(folder / "in.h5", "w") as file:
        dataset = file.create_dataset("tissue/em", data=stack.read(), chunks=(1, 32, 32))
        dataset.attrs["element_size_um"] = [0.04, 0.01, 0.01]
    return open_volume(f"{folder / 'in.h5'}:/tissue/em")


def as_npy(stack: Volume, folder: Path) -> Volume:
    np.save(folder / "in.npy", stack.read())
    return open_volume(folder / "in.npy", voxel_size=ANISOTROPIC)


@pytest.mark.parametrize("container", [as_ome_zarr, as_hdf5, as_npy])
def test_a_stack_on_disk_stays_there_and_gives_the_same_bytes(
    stack: Volume, job: SuperResolveJob, tmp_path: Path, container: Any
) -> None:
    volume = container(stack, tmp_path)
    assert type(volume.data) is not np.ndarray
    result = run(job, volume, tmp_path / "out.ome.zarr")
    assert np.array_equal(result, run(job, stack, tmp_path / "memory.ome.zarr"))


@pytest.mark.parametrize("suffix", [".ome.zarr", ".tif", ".h5"])
def test_a_tall_stack_is_never_read_whole(
    job: SuperResolveJob, tmp_path: Path, suffix: str
) -> None:
    tall = np.random.default_rng(0).integers(0, 255, (600, 24, 24), np.uint8)
    recorder = Recorder(tall)
    volume = Volume(recorder, ANISOTROPIC, "tall")
    ended = finished(stream(job, volume, tmp_path / f"out{suffix}"))
    assert ended.result.shape == (2397, 24, 24)
    assert max(shape[0] for shape in recorder.reads) <= 80  # 256 / 4 slices and a halo
    assert len(recorder.reads) > 600


# tiles --------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["prior", "student"])
def test_tiles_do_not_show(
    role: str, wide: Volume, stack: Volume, tiny_model: Path, tmp_path: Path
) -> None:
    """A network that has much to say, its halo measured as training does."""
    model = load_model(tiny_model / role)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.head.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    contract = architecture_named(model.card.architecture).contract
    values = torch.from_numpy(stack.read() / 255).float()
    slices, lateral = measure_halo(predictor_for(model.network, contract), values, 4)
    card = model.card.model_copy(update={"halo": HaloCard(slices=slices, lateral=lateral)})
    save_model(tmp_path / "model", model.network, card)

    volume = Volume((wide.read() / 255).astype(np.float32), ANISOTROPIC, "wide")
    tiled, whole = (
        run(
            # Eight bits round, and what is rounded may differ by a step where a halo ends.
            SuperResolveJob(model=tmp_path / "model", device="cpu", shard=edge, engine="torch"),
            volume,
            tmp_path / f"{edge}.ome.zarr",
        )
        for edge in (64, 192)
    )
    linear = interpolate_axial(volume.read(), AxialGrid(9, 4).positions())
    assert np.abs(whole - linear).std() > 0.01  # it does speak
    low, high = np.percentile(volume.read(), [0.1, 99.9])
    assert np.abs(tiled - whole).max() <= 0.5 / 255 * (high - low)


# refusals and warnings ----------------------------------------------------------------


def test_a_plan_writes_nothing_and_says_what_will_be(
    stack: Volume, job: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the rate is measured
    plan = resolve_super_resolve(job, stack, tmp_path / "out.ome.zarr")
    assert list(tmp_path.iterdir()) == []
    assert (plan.output_shape, plan.voxel_size) == ((33, 64, 64), VoxelSize(10, 10, 10))
    assert plan.num_bytes >= 33 * 64 * 64
    assert plan.memory_bytes > 0
    assert plan.seconds > 0
    words = "\n".join(plan.lines())
    for expected in ("9 x 64 x 64", "33 x 64 x 64", "40 x 10 x 10 nm", "10 x 10 x 10 nm", "GB"):
        assert expected in words


def test_what_cannot_be_written_is_refused_before_any_work(
    stack: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str, sentence: str, **keep: bool) -> None:
        with pytest.raises(InputError, match=sentence):
            resolve_super_resolve(LINEAR, stack, tmp_path / name, **keep)

    refused("missing/out.ome.zarr", "There is no folder")
    refused("out.mrc", r"\.ome\.zarr, \.tif or \.h5")
    (tmp_path / "mine.tif").mkdir()
    refused("mine.tif", "is a folder", overwrite=True)  # and not after an hour of work
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="leaves it alone"):
        list(stream(LINEAR, stack, tmp_path / "mine.zarr", overwrite=True))
    assert (tmp_path / "mine.zarr" / "thesis.txt").exists()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=200_000))
    resolve_super_resolve(LINEAR, stack, tmp_path / "out.ome.zarr")  # 33 x 64 x 64 fit
    refused("out.tif", "free some space")  # but not twice
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    refused("out.ome.zarr", "free some space")


def test_nan_deep_in_a_stack_leaves_nothing_under_the_final_name(
    job: SuperResolveJob, tmp_path: Path
) -> None:
    values = np.random.default_rng(0).random((50, 24, 24), np.float32)
    values[1, 3, 3] = np.nan  # not among the slices that set the intensity range
    with pytest.raises(InputError, match="NaN"):
        list(stream(job, Volume(values, ANISOTROPIC), tmp_path / "out.ome.zarr"))
    assert not (tmp_path / "out.ome.zarr").exists()


def test_a_volume_unlike_the_training_stack_is_warned_about(
    stack: Volume, job: SuperResolveJob, tmp_path: Path
) -> None:
    def warnings(size: VoxelSize) -> str:
        volume = Volume(stack.data, size)
        return " ".join(resolve_super_resolve(job, volume, tmp_path / "o.zarr").warnings)

    assert warnings(ANISOTROPIC) == ""
    assert "12 lateral voxels apart" in warnings(VoxelSize(120, 10, 10))
    assert "finer of the two" in warnings(VoxelSize(40, 12, 10))


def test_a_diffusion_prior_says_that_its_result_is_a_sample(
    stack: Volume, tiny_job: Any, tmp_path: Path
) -> None:
    stack = Volume(stack.data[:5, :32, :32], ANISOTROPIC)
    nafnet = "{width: 8, encoder_blocks: [1], middle_blocks: 1, decoder_blocks: [1]}"
    job = tiny_job.override(
        [
            "student=null",
            f"prior.network={{architecture: nafnet, options: {nafnet}}}",
            "targets.sampler={solver: dpm++, steps: 2}",
        ]
    )
    list(run_train(resolve_train(job, stack, tmp_path / "model")))
    path = tmp_path / "out.ome.zarr"
    sampling = SuperResolveJob(model=tmp_path / "model", device="cpu", seed=5)
    events = list(stream(sampling, stack, path))
    assert any("sample" in e.message for e in events if isinstance(e, Warned))
    assert zarr.open_group(path).attrs["napari_d2r"]["is_sample"] is True
    assert np.array_equal(level0(path)[::4], stack.read())
    other = sampling.model_copy(update={"seed": 6})
    assert not np.array_equal(run(other, stack, tmp_path / "other.ome.zarr"), level0(path))
    again = run(sampling, stack, tmp_path / "again.ome.zarr")
    assert np.array_equal(again, level0(path))


def test_progress_counts_the_shards(wide: Volume, sharded: SuperResolveJob, tmp_path: Path) -> None:
    events = list(stream(sharded, wide, tmp_path / "out.ome.zarr"))
    progress = [e for e in events if isinstance(e, Progress) and e.unit == "shards"]
    assert [(e.done, e.total) for e in progress] == [(n, 6) for n in range(7)]
    stages = [e for e in events if isinstance(e, StageStarted)]
    assert [(e.index, e.count) for e in stages] == [(1, 1), (1, 2), (2, 2)]
    boxes = [(e.start, e.stop) for e in events if isinstance(e, BlockWritten)]
    covered = np.zeros((33, 130, 70), int)
    for (z0, y0, x0), (z1, y1, x1) in boxes:
        covered[z0:z1, y0:y1, x0:x1] += 1
    assert (covered == 1).all()
