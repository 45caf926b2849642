"""What the bench counts and times, on networks small enough for a test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_d2r.cli import main
from napari_d2r.inference import (
    AxialPredictor,
    InterpolationPredictor,
    NoVariant,
    SequencePredictor,
)
from napari_d2r.io import open_volume
from napari_d2r.jobs import CancelToken, Finished, Outcome, Progress, SuperResolveJob
from napari_d2r.models import AENet, AENetConfig, build_network
from napari_d2r.stages import _bench_run, _bench_training, bench
from napari_d2r.stages._bench_training import Roofline, memory_rate
from napari_d2r.stages.bench import OnePass, flops_per_voxel, matmul_rates, voxels_per_second
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.volumes import Volume

CPU = torch.device("cpu")
KEYS = {
    "device", "threads", "torch", "matmul_flops_per_s", "networks", "baseline", "shared_encoder",
    "training", "super_resolve",
}  # fmt: skip


def tiny_aenet(depth_in: str) -> AENet:
    torch.manual_seed(0)
    network = AENet(AENetConfig(width=2, depth_in=depth_in))
    torch.nn.init.normal_(network.head.weight, std=0.1)
    for modulation in network.modulation:
        torch.nn.init.normal_(modulation.generate.weight, std=0.1)
    return network


def predicted(predictor: AxialPredictor) -> torch.Tensor:
    torch.manual_seed(0)
    return predictor.predict(*bench._task(CPU, 3, 24))


@pytest.mark.parametrize("depth_in", ["encoder", "decoder"])
def test_depth_by_depth_equals_all_depths_at_once(depth_in: str) -> None:
    network = tiny_aenet(depth_in)
    one_by_one = predicted(OnePass(network, at_once=False))
    at_once = predicted(OnePass(network, at_once=True))
    linear = predicted(InterpolationPredictor("linear"))
    assert 255 * (at_once - linear).abs().max() > 1
    assert 255 * (one_by_one - at_once).abs().max() < 0.1


def test_one_pass_is_what_a_predictor_averages_with_its_mirror_image() -> None:
    network = tiny_aenet("decoder")
    upright = OnePass(network, at_once=True)
    slab, request = bench._task(CPU, 1, 24)  # four slices, of which the middle gap
    mirrored = upright.predict(slab.flip(0), request).flip(1)
    both = SequencePredictor(network).predict(slab, request)
    torch.testing.assert_close((upright.predict(slab, request) + mirrored) / 2, both)


def test_sharing_the_encoder_saves_operations_that_are_counted() -> None:
    network = tiny_aenet("decoder")
    one_by_one, at_once = (
        flops_per_voxel(OnePass(network, at_once=at_once), CPU) for at_once in (False, True)
    )
    assert one_by_one / at_once > 2


def test_operations_are_counted_as_two_per_multiply_add() -> None:
    class Squares:
        halo = InterpolationPredictor("linear").halo

        def predict(self, slab, request, cancel=None):
            return slab[:1] @ slab[:1]

    edge = bench._SMALLEST_EDGE
    assert flops_per_voxel(Squares(), CPU) == 2 * edge**3 / (bench.GAP * edge**2)


def test_a_rate_is_that_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that every prediction moves on by a second per 1024 pixels."""
    clock = [0.0]
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])

    class Steady:
        halo = InterpolationPredictor("linear").halo

        def predict(self, slab, request, cancel=None):
            clock[0] += slab[0].numel() * len(request.depths) / 1024

    assert voxels_per_second(Steady(), CPU, 1.0) == bench.GAP * 1024


def test_dense_products_are_timed_in_float32_and_in_nothing_slower() -> None:
    rates = matmul_rates(CPU, 0.01)
    assert next(iter(rates)) == "float32"
    assert all(1e8 < rate < 1e14 for rate in rates.values())


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry at toy size, and a short whole run."""
    toys = {
        "lateral": {"widths": [6, 8], "blocks": [1, 1]},
        "aenet-fast": {"widths": [6, 8], "blocks": [1, 1]},
        "nafnet": {"width": 4, "encoder_blocks": [1], "decoder_blocks": [1]},
    }
    monkeypatch.setattr(bench, "ARCHITECTURES", toys)
    monkeypatch.setattr(bench, "build_network", lambda name, _: build_network(name, toys[name]))
    monkeypatch.setattr(bench, "AENet", lambda config: tiny_aenet(config.depth_in))
    monkeypatch.setattr(bench, "_LARGEST_EDGE", 32)
    monkeypatch.setattr(bench, "CHUNK", 16)
    monkeypatch.setattr(_bench_run, "CHUNK", 16)
    monkeypatch.setattr(
        _bench_training, "build_network", lambda name, _: build_network(name, toys[name])
    )
    monkeypatch.setattr(bench, "memory_rate", lambda device: memory_rate(device, 1))


@pytest.mark.usefixtures("small_networks")
def test_the_command_reports_every_network_in_words_and_as_plain_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "bench.json"
    assert main(["bench", "--quick", "--device", "cpu", "--json", str(target)]) == 0
    table, values = capsys.readouterr().out, json.loads(target.read_text())
    assert values.keys() == KEYS
    names = [bench.PUBLISHED, "lateral", "aenet-fast", "nafnet, one step", bench.DEFAULT]
    assert list(values["networks"]) == names
    for name in names:
        row = values["networks"][name]
        rate = row["voxels_per_s"]
        assert rate > 0
        np.testing.assert_allclose(row["flops_per_s"], row["flops_per_voxel"] * rate)
        assert row["ratio"] == rate / values["networks"][bench.PUBLISHED]["voxels_per_s"]
        assert f"| {name} |" in table
    assert values["shared_encoder"]["difference_grey"] < 0.1
    assert values["super_resolve"]["shape"] == [65, 64, 64]
    assert values["super_resolve"]["halo_factor"] > 1
    run = values["super_resolve"]
    assert run["writer_share"] > 0
    assert run["device_s"] > 0
    assert 0 < run["store_s"] < run["seconds"]
    step = values["training"]
    assert 0 < step["share_of_matmul"] < 1
    assert 0 < step["share_that_memory_allows"] < 1


@pytest.mark.usefixtures("small_networks")
def test_it_stops_between_measurements() -> None:
    cancel = CancelToken()
    for event in bench.bench_stream(device="cpu", quick=True, cancel=cancel):
        if isinstance(event, Progress) and event.done == 1:
            cancel.cancel()
    assert isinstance(event, Finished)
    assert event.outcome is Outcome.CANCELLED


def test_the_least_time_of_a_call_is_that_of_its_operations_or_of_its_bytes() -> None:
    a, b = torch.ones(8, 16), torch.ones(16, 4)
    with Roofline(flops_per_s=1.0, bytes_per_s=1e9) as by_operations:
        a @ b
    assert by_operations.seconds == by_operations.flops == 2 * 8 * 16 * 4
    with Roofline(flops_per_s=1e9, bytes_per_s=1.0) as by_bytes:
        (a.T + 1)  # a view costs nothing
    assert by_bytes.flops == 0
    assert by_bytes.seconds == 2 * a.numel() * 4


def test_on_cuda_networks_run_in_half_and_are_held_against_products_in_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the processor, which is taken for a GPU."""
    cuda = torch.device("cuda")
    predictor = SequencePredictor(tiny_aenet("decoder"))
    monkeypatch.setattr(bench, "in_half", lambda one, slabs, gap: (one, "torch in bfloat16"))
    assert bench.as_run_on(cuda, predictor)[1] == "bfloat16"
    assert bench.as_run_on(CPU, predictor) == (predictor, "float32")

    def refuse(*_: object) -> None:
        raise NoVariant("no")

    monkeypatch.setattr(bench, "in_half", refuse)
    assert bench.as_run_on(cuda, predictor) == (predictor, "float32")


def test_every_missing_voxel_is_predicted_on_the_device_once(
    stack: Volume, job: SuperResolveJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the run itself predicts them: 9 x 64 x 64 voxels at r = 4, in shards of 32 columns."""
    plan = resolve_super_resolve(job, stack, tmp_path / "a.ome.zarr")
    small = replace(plan, shard=replace(plan.shard, shape=(16, 32, 48)))
    found = []
    monkeypatch.setattr(_bench_run, "to_stored", lambda kept, *_: found.append(kept))
    assert _bench_run._on_the_device(small) > 0
    assert sum(part.numel() for part in found) == 8 * 3 * 64 * 64
    list(run_super_resolve(plan))
    wanted = open_volume(tmp_path / "a.ome.zarr").read()[1:4, :32, :48]
    one = plan.intensity.from_unit(found[0][0].numpy(), stack.dtype)
    assert np.abs(one.astype(int) - wanted).max() <= 1
