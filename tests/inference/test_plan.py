"""Shards: what they cover, what they cost, and that time limits are respected."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_d2r.inference import (
    CHUNK,
    Halo,
    InterpolationPredictor,
    choose_shard,
    fastest_shard,
    measure_rate,
)
from napari_d2r.inference import _plan as plan_module

SHAPE = (1017, 900, 1100)
HALO = Halo(slices=4, lateral=24, stride=4)


def useful_share(shard: tuple[int, int, int], factor: float, halo: Halo) -> float:
    around = (2 * halo.slices * factor, 2 * halo.lateral, 2 * halo.lateral)
    edges = [min(edge, length) for edge, length in zip(shard, SHAPE, strict=True)]
    computed = [
        min(edge + more, length) for edge, more, length in zip(edges, around, SHAPE, strict=True)
    ]
    return float(np.prod(edges) / np.prod(computed))


@pytest.mark.parametrize("rate", [1e5, 1e6, 5e6, 1e8])
@pytest.mark.parametrize("seconds", [1, 30])
def test_shards_are_whole_chunks_within_their_time(rate, seconds):
    plan = choose_shard(SHAPE, 8, HALO, rate, seconds)
    assert all(edge % CHUNK == 0 and edge > 0 for edge in plan.shape)
    assert plan.efficiency == pytest.approx(useful_share(plan.shape, 8, HALO))
    assert plan.voxels_per_s == pytest.approx(rate * plan.efficiency)
    assert plan.num_voxels == np.prod(plan.shape)
    smallest = choose_shard(SHAPE, 8, HALO, rate, seconds, fixed=(CHUNK, CHUNK, CHUNK))
    if rate > 1e5 and smallest.num_voxels / smallest.voxels_per_s <= seconds:
        assert plan.num_voxels / plan.voxels_per_s <= seconds
        assert 8 * plan.shape[1] * plan.shape[2] / rate <= 0.3 + 1e-9


def test_more_time_wastes_less_on_the_halo():
    plans = [choose_shard(SHAPE, 8, HALO, 5e6, seconds) for seconds in (0.1, 1, 10, 60)]
    efficiencies = [plan.efficiency for plan in plans]
    assert efficiencies == sorted(efficiencies)
    assert efficiencies[-1] > 1.5 * efficiencies[0]


def test_a_slow_method_gets_a_shard_of_at_most_twice_the_work_of_the_smallest():
    smallest = choose_shard(SHAPE, 8, HALO, 1e3, 1, fixed=(CHUNK, CHUNK, CHUNK))
    plan = choose_shard(SHAPE, 8, HALO, 1e3, 1)
    assert plan.efficiency > smallest.efficiency
    assert plan.num_computed <= 2 * smallest.num_computed
    assert choose_shard(SHAPE, 8, Halo(), 1e3, 1).num_voxels <= 2 * CHUNK**3


def test_a_slow_method_that_looks_at_all_of_a_small_volume_does_so_once():
    far = Halo(slices=35, lateral=69, stride=4)
    assert choose_shard((121, 128, 128), 8, far, 1e3, 1).efficiency == 1


def test_without_a_halo_nothing_is_wasted_and_the_largest_shard_in_time_is_taken():
    plan = choose_shard(SHAPE, 8, Halo(), 1e7, 1)
    assert plan.efficiency == 1
    assert 0.5e7 < plan.num_voxels <= 1e7


@pytest.mark.parametrize("shape", [(1, 5, 7), (64, 64, 64), (65, 64, 130), (200, 3000, 63)])
def test_no_shard_is_longer_than_the_chunks_that_cover_the_volume(shape):
    plan = choose_shard(shape, 8, HALO, 1e9, 1e9)
    for edge, length in zip(plan.shape, shape, strict=True):
        assert edge <= -(-length // CHUNK) * CHUNK
    assert 0 < plan.efficiency <= 1


def test_a_volume_that_fits_in_one_shard_has_no_halo():
    plan = choose_shard((100, 120, 130), 8, HALO, 1e9, 1e9)
    assert plan.efficiency == 1


def test_fixed_edges_are_rounded_up_to_whole_chunks():
    plan = choose_shard(SHAPE, 8, HALO, 1e3, 1e-3, fixed=(1, 64, 130))
    assert plan.shape == (64, 64, 192)
    assert plan.efficiency == pytest.approx(useful_share((64, 64, 192), 8, HALO))


class Slow(InterpolationPredictor):
    """Takes a known time per voxel."""

    def __init__(self, clock: list[float], voxels_per_s: float) -> None:
        super().__init__("linear")
        self.clock, self.voxels_per_s = clock, voxels_per_s

    def predict(self, slab, request, cancel=None):
        gaps, inner = request.depths.shape
        self.clock[0] += gaps * (inner + 1) * slab[0].numel() / self.voxels_per_s
        return slab


@pytest.mark.parametrize("rate", [1e4, 3.3e6, 1e9])
def test_the_measured_rate_counts_output_voxels(monkeypatch, rate):
    clock = [0.0]
    monkeypatch.setattr("napari_d2r.inference._plan.time.perf_counter", lambda: clock[0])
    assert measure_rate(Slow(clock, rate), 8, torch.device("cpu")) == pytest.approx(rate)


def test_a_rate_is_that_of_what_fits_into_memory(monkeypatch):
    class Cramped(Slow):
        def predict(self, slab, request, cancel=None):
            if slab.shape[-1] > 128:
                raise MemoryError
            return super().predict(slab, request)

    clock = [0.0]
    monkeypatch.setattr("napari_d2r.inference._plan.time.perf_counter", lambda: clock[0])
    assert measure_rate(Cramped(clock, 1e9), 8, torch.device("cpu")) == pytest.approx(1e9)
    assert clock[0] < 0.1  # it would have gone on


def test_the_largest_shard_that_memory_allows():
    free = choose_shard(SHAPE, 8, HALO, 1e9, 1e9)
    bound = choose_shard(SHAPE, 8, HALO, 1e9, 1e9, max_computed=free.num_computed / 2)
    assert 64**3 < bound.num_computed <= free.num_computed / 2
    assert choose_shard(SHAPE, 8, HALO, 1e9, 1e9, max_computed=0).num_voxels == 64**3


def test_a_real_predictor_has_a_rate():
    assert measure_rate(InterpolationPredictor("linear"), 2.727, torch.device("cpu")) > 1e3


class Accelerator:
    """A clock that predictions move on; too many voxels at once become slow, then do not fit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int = 8_000_000) -> None:
        self.now, self.halo, self.most, self.seen = 0.0, HALO, most, []
        monkeypatch.setattr(plan_module.time, "perf_counter", lambda: self.now)

    def predict(self, slab, request, cancel=None):
        voxels = slab[0].numel() * request.depths.numel()
        self.seen.append(tuple(slab.shape))
        if voxels > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 bytes.")
        self.now += 1e-3 + 1e-9 * voxels + 1e-17 * max(0, voxels - 4_000_000) ** 2


def tried(accelerator: Accelerator, shape=SHAPE, rate=1e9, **more):
    return fastest_shard(accelerator, shape, 8, 8.0, torch.device("cpu"), rate, **more)


def test_an_accelerator_gets_the_shard_that_was_fastest_of_those_that_fit(monkeypatch):
    accelerator = Accelerator(monkeypatch)
    plan = tried(accelerator)
    others = {}
    for z in (64, 128, 256):
        for edge in (128, 256, 512):
            before = accelerator.now
            gaps, around = z // 8, edge + 2 * HALO.lateral
            if gaps * 7 * around**2 <= accelerator.most:
                accelerator.predict(torch.empty(gaps, around, around), _request(gaps))
                others[z, edge, edge] = z * edge * edge / (accelerator.now - before)
    assert plan.shape == max(others, key=others.get)
    assert plan.voxels_per_s == pytest.approx(others[plan.shape])
    assert plan.efficiency == pytest.approx(useful_share(plan.shape, 8, HALO))
    assert max(slab[1] for slab in accelerator.seen) > plan.shape[1] + 2 * HALO.lateral


def _request(gaps: int):
    return plan_module.GapRequest(0, torch.zeros(gaps, 7), 3.0)


def test_candidates_are_bounded_by_time_and_by_memory(monkeypatch):
    accelerator = Accelerator(monkeypatch)
    assert tried(accelerator, rate=1e6) is None  # each would take more than a quarter of a second
    assert tried(accelerator, max_computed=1e5) is None
    assert not accelerator.seen
    small = tried(accelerator, max_computed=4e6)
    assert small.num_computed <= 4e6


def test_no_larger_shard_is_tried_than_the_volume(monkeypatch):
    accelerator = Accelerator(monkeypatch)
    plan = tried(accelerator, shape=(57, 100, 90))
    assert plan.shape == (64, 128, 128)
    assert set(accelerator.seen) == {(8 + 1 + 2 * HALO.slices, 100, 90)}


def test_an_error_that_is_none_of_memory_rises(monkeypatch):
    accelerator = Accelerator(monkeypatch)
    accelerator.predict = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        tried(accelerator)
