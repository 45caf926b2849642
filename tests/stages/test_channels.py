"""Volumes with channels: trained and restored together by networks made for it, else refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_d2r.checkpoints import load_card
from napari_d2r.cli import main
from napari_d2r.errors import InputError
from napari_d2r.io import open_volume
from napari_d2r.jobs import Finished, SuperResolveJob, load_preset
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.volumes import ChannelRanges, IntensityRange, Volume

TINY = [
    "device=cpu",
    "max_minutes=null",
    "prior.network.options={width: 4, multipliers: [1], blocks: 1}",
    "prior.optimizer={max_steps: 2, batch: 2, validate_every: 2}",
    "prior.num_gaps=3",
    "prior.columns=16",
    "targets.sampler.steps=2",
]


@pytest.fixture(scope="module")
def coloured(small: Volume) -> Volume:
    """3 x 5 x 32 x 32, each channel with grey values of its own."""
    grey = small.read().astype(np.uint16)
    return Volume(np.stack([grey, 4000 - 9 * grey, 200 + grey // 2]), small.voxel_size, "coloured")


@pytest.fixture(scope="module", params=["msdsr", "ms-unet", "e2e"])
def model(
    request: pytest.FixtureRequest, coloured: Volume, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "model"
    job = load_preset(request.param).override(TINY)
    *_, last = run_train(resolve_train(job, coloured, folder))
    assert isinstance(last, Finished) and last.result is not None
    return folder


def test_all_channels_are_restored_each_in_its_own_range(
    model: Path, coloured: Volume, tmp_path: Path, known_rate: None
) -> None:
    card, _ = load_card(model / "prior")
    slices_seen = 2 if card.architecture == "e2e-unet" else 1
    assert (card.options["in_channels"], card.options["out_channels"]) == (3 * slices_seen, 3)
    output = tmp_path / "out.ome.zarr"
    job = SuperResolveJob(model=model, device="cpu")
    *_, last = run_super_resolve(resolve_super_resolve(job, coloured, output))
    assert isinstance(last, Finished) and last.result is not None
    values = open_volume(output, channel="all").read()
    assert (values.shape, values.dtype) == ((3, 17, 32, 32), np.uint16)
    np.testing.assert_array_equal(values[:, ::4], coloured.data)
    for channel, given in zip(values, coloured.data, strict=True):
        spread = 0.5 * np.ptp(given)
        assert given.min() - spread < channel.min() <= channel.max() < given.max() + spread
    assert open_volume(output, channel=1).shape == (17, 32, 32)


@pytest.mark.parametrize(
    ("fields", "name", "words"),
    [
        ({}, "out.tif", "written as OME-Zarr only"),
        ({"uncertainty": True}, "out.ome.zarr", "Half-widths of several channels"),
        ({"engine": "half"}, "out.ome.zarr", "in float32 only; pass --engine torch"),
        ({"method": "linear", "model": None}, "out.ome.zarr", "choose one with --channel N"),
    ],
)
def test_what_channels_cannot_have_is_refused(
    fields: dict[str, object],
    name: str,
    words: str,
    model: Path,
    coloured: Volume,
    tmp_path: Path,
) -> None:
    job = SuperResolveJob.checked({"model": model, "device": "cpu"} | fields)
    with pytest.raises(InputError, match=words):
        resolve_super_resolve(job, coloured, tmp_path / name)


def test_a_model_of_channels_refuses_others(model: Path, small: Volume, tmp_path: Path) -> None:
    job = SuperResolveJob(model=model, device="cpu")
    with pytest.raises(InputError, match="restores 3 channels together; small has 1"):
        resolve_super_resolve(job, small, tmp_path / "out.ome.zarr")


def test_an_empty_channel_stays_as_it_is(coloured: Volume) -> None:
    """RGB images often have one."""
    data = coloured.read().copy()
    data[1] = 7
    volume = Volume(data, coloured.voxel_size, "two colours")
    ranges = IntensityRange.of(volume)
    np.testing.assert_array_equal(ranges.from_unit(ranges.to_unit(data), data.dtype), data)
    with pytest.raises(InputError, match="is constant"):
        IntensityRange.of(Volume(np.full_like(data, 7), coloured.voxel_size))


@pytest.mark.parametrize("preset", ["quick", "irsde", "vemdiffuse-a"])
def test_other_methods_take_one_channel_and_name_those_that_take_all(
    preset: str, coloured: Volume, tmp_path: Path
) -> None:
    words = "3 channels; choose one with --channel N, or take a preset .*: e2e, ms-unet or msdsr"
    with pytest.raises(InputError, match=words):
        resolve_train(load_preset(preset), coloured, tmp_path / "model")


@pytest.mark.parametrize("preset", ["msdsr", "e2e"])
def test_a_network_made_for_channels_refuses_a_grey_stack(
    preset: str, small: Volume, tmp_path: Path
) -> None:
    options = "prior.network.options={width: 4, in_channels: 6, out_channels: 3}"
    with pytest.raises(InputError, match="made for 3 channels and small has 1"):
        resolve_train(load_preset(preset).override([options]), small, tmp_path / "model")


def test_every_channel_has_its_own_range(coloured: Volume) -> None:
    ranges = IntensityRange.of(coloured)
    assert isinstance(ranges, ChannelRanges)
    unit = ranges.to_unit(coloured.data)
    assert all(-0.1 < channel.min() < 0.1 and 0.9 < channel.max() < 1.1 for channel in unit)
    np.testing.assert_array_equal(ranges.from_unit(unit, coloured.dtype), coloured.data)
    first = IntensityRange.of(Volume(coloured.data[0], coloured.voxel_size))
    assert ranges.ranges[0] == first


def test_the_command_line_keeps_channels_when_asked(
    model: Path, coloured: Volume, tmp_path: Path
) -> None:
    np.save(tmp_path / "in.npy", coloured.data)
    output = tmp_path / "out.ome.zarr"
    asked = ["super-resolve", str(tmp_path / "in.npy"), str(output), "--model", str(model)]
    asked += ["--voxel-size", "40,10,10", "--device", "cpu"]
    assert main(asked) == 2
    assert main([*asked, "--channel", "all"]) == 0
    assert open_volume(output, channel="all").num_channels == 3
