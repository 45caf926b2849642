"""How large a shard should be, from the rate this machine reaches."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from itertools import product

import torch

from napari_d2r.inference._device import synchronize
from napari_d2r.inference._memory import is_out_of_memory
from napari_d2r.inference._predictors import AxialPredictor, GapRequest, Halo, log2_of

CHUNK = 64  # edge of a zarr chunk: isotropic, because users look at XZ and YZ
_PROBE_S = 0.1
_PROBES = 3
_WASTEFUL = 0.25  # useful over computed voxels
_SLOW_S = 1.0  # such a method is not asked again to make sure
_PROBE_GAPS = 8  # as in a small shard; gaps are shared out among cores
_LONGEST_GAP_S = 0.3  # a cancel is honoured between gaps
_MAX_SHARD_VOXELS = 2**24
_TRIAL_S = 0.25


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Edges of a shard (z, y, x) in output voxels, and what it will cost."""

    shape: tuple[int, int, int]
    efficiency: float  # useful over computed voxels: the price of the halo
    voxels_per_s: float  # useful output voxels

    @property
    def num_voxels(self) -> int:
        """Voxels of a shard."""
        z, y, x = self.shape
        return z * y * x

    @property
    def num_computed(self) -> int:
        """Voxels of a shard and of its halo."""
        return round(self.num_voxels / self.efficiency)


@torch.inference_mode()
def measure_rate(predictor: AxialPredictor, gap: float, device: torch.device) -> float:
    """Output voxels per second of a predictor, without any halo.

    Doubles a slab of noise until predicting it takes a tenth of a second, or memory ends.
    """
    edge, inner, rate = 32, max(1, round(gap) - 1), 0.0
    depths = torch.arange(1, inner + 1)[None] / (inner + 1)
    while True:
        slab = torch.rand(_PROBE_GAPS + 1, edge, edge, device=device)
        request = GapRequest(0, depths.expand(_PROBE_GAPS, -1), log2_of(gap))
        elapsed = math.inf
        try:
            for _ in range(_PROBES):  # the first of a shape is slower, and others may interfere
                began = time.perf_counter()
                predictor.predict(slab, request)
                synchronize(device)
                elapsed = min(elapsed, time.perf_counter() - began)
                if elapsed > _SLOW_S:
                    break
        except (MemoryError, RuntimeError) as error:
            if not rate or not is_out_of_memory(error):
                raise
            return rate
        rate = float(_PROBE_GAPS * (inner + 1) * edge * edge / elapsed)
        if elapsed > _PROBE_S or edge >= 512:
            return rate
        edge *= 2


def choose_shard(
    shape: tuple[int, int, int],
    factor: float,
    halo: Halo,
    rate: float,
    seconds: float,
    fixed: tuple[int, int, int] | None = None,
    max_computed: float = math.inf,
) -> ShardPlan:
    """The shard that wastes least on its halo within ``seconds`` of work.

    The smallest where none is within the bounds; of a slow method that looks far, which would so
    compute everything many times, the one that wastes least of those that take up to twice as long.

    Parameters
    ----------
    shape
        Output shape (z, y, x).
    factor
        Output slices per gap.
    rate
        Voxels per second without a halo, from `measure_rate`.
    fixed
        These edges, rounded up to whole chunks, instead of the best ones.
    max_computed
        Most voxels of a shard with its halo.
    """
    if fixed is not None:
        z, y, x = (-(-edge // CHUNK) * CHUNK for edge in fixed)
        candidates = [(z, y, x)]
    else:
        depths = [CHUNK * n for n in (1, 2, 4)]
        laterals = [CHUNK * n for n in range(1, 9)]
        candidates = [
            (z, y, x)
            for z, y, x in product(
                *(_useful(c, n) for c, n in zip((depths, laterals, laterals), shape, strict=True))
            )
        ]
    plans = [_price(candidate, shape, factor, halo, rate) for candidate in candidates]
    smallest = min(plans, key=lambda plan: plan.num_voxels)
    fitting = [
        plan
        for plan in plans
        if plan.num_voxels <= _MAX_SHARD_VOXELS
        and plan.num_computed <= max_computed
        and plan.num_voxels / plan.voxels_per_s <= seconds
        and factor * plan.shape[1] * plan.shape[2] / rate <= _LONGEST_GAP_S
    ]
    cheap = [
        plan
        for plan in plans
        if smallest.efficiency < _WASTEFUL
        and plan.num_computed <= min(2 * smallest.num_computed, max_computed)
    ]
    # Of equally efficient ones the largest: fewer files, and fewer waits for the disk.
    return max(
        fitting or cheap or [smallest],
        key=lambda plan: (round(plan.efficiency, 2), plan.num_voxels),
    )


@torch.inference_mode()
def fastest_shard(
    predictor: AxialPredictor,
    shape: tuple[int, int, int],
    factor: float,
    gap: float,
    device: torch.device,
    rate: float,
    max_computed: float = math.inf,
) -> ShardPlan | None:
    """The shard of which most useful voxels per second are predicted, found by trying a few.

    For accelerators, whose rate depends on how much they are given at once. Those that would take
    longer than a quarter of a second at ``rate``, or more memory than there is, are not candidates;
    None where none is left. The other parameters are those of `choose_shard`.
    """
    best: ShardPlan | None = None
    laterals = _useful([CHUNK * n for n in (2, 4, 8)], max(shape[1:]))
    for z, edge in product(_useful([CHUNK * n for n in (1, 2, 4)], shape[0]), laterals):
        plan = _price((z, edge, edge), shape, factor, predictor.halo, rate)
        is_small = plan.num_voxels <= _MAX_SHARD_VOXELS and plan.num_computed <= max_computed
        if not is_small or plan.num_computed > rate * _TRIAL_S:
            continue
        try:
            elapsed = _seconds_of(plan.shape, shape, predictor, factor, gap, device)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            continue
        useful = math.prod(min(edge, n) for edge, n in zip(plan.shape, shape, strict=True))
        if best is None or useful / elapsed > best.voxels_per_s:
            best = replace(plan, voxels_per_s=useful / elapsed)
    return best


def _seconds_of(
    shard: tuple[int, int, int],
    shape: tuple[int, int, int],
    predictor: AxialPredictor,
    factor: float,
    gap: float,
    device: torch.device,
) -> float:
    """The second run of a shard in the midst of its volume; the first of a shape is slower."""
    halo, gaps = predictor.halo, math.ceil(min(shard[0], shape[0]) / factor)
    y, x = (min(n, edge + 2 * halo.lateral) for edge, n in zip(shard[1:], shape[1:], strict=True))
    slab = torch.rand(gaps + 1 + 2 * halo.slices, y, x, device=device)
    inner = max(1, math.ceil(factor) - 1)
    depths = (torch.arange(1, inner + 1) / (inner + 1)).expand(gaps, -1)
    request = GapRequest(halo.slices, depths, log2_of(gap))
    elapsed = math.inf
    for _ in range(2):
        began = time.perf_counter()
        predictor.predict(slab, request)
        synchronize(device)
        elapsed = time.perf_counter() - began
    return elapsed


def _useful(edges: list[int], length: int) -> list[int]:
    """Edges up to the first that covers the axis."""
    covering = [edge for edge in edges if edge < length + CHUNK]
    return covering or edges[:1]


def _price(
    shard: tuple[int, int, int],
    shape: tuple[int, int, int],
    factor: float,
    halo: Halo,
    rate: float,
) -> ShardPlan:
    z, y, x = (min(edge, length) for edge, length in zip(shard, shape, strict=True))
    context = (2 * halo.slices * factor, 2 * halo.lateral, 2 * halo.lateral)
    efficiency = 1.0
    for edge, length, around in zip((z, y, x), shape, context, strict=True):
        efficiency *= edge / min(length, edge + around)
    return ShardPlan(shard, efficiency, rate * efficiency)
