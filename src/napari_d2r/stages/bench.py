"""What this machine reaches: every network against its own dense matrix product."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from napari_d2r.checkpoints import load_model, model_folder
from napari_d2r.inference import (
    CHUNK,
    AxialPredictor,
    Feeding,
    GapRequest,
    Halo,
    NoVariant,
    faster_types,
    in_half,
    log2_of,
    predictor_for,
    predictor_of,
    share_out,
    synchronize,
)
from napari_d2r.jobs import (
    CancelToken,
    Device,
    Event,
    Finished,
    Outcome,
    Progress,
    SamplerSettings,
    Started,
)
from napari_d2r.models import (
    ARCHITECTURES,
    SAMPLED,
    AENet,
    AENetConfig,
    architecture_named,
    build_network,
)
from napari_d2r.stages._bench_report import (
    BenchReport,
    NetworkRate,
    SharedEncoder,
    TrainingRate,
    WholeRun,
)
from napari_d2r.stages._bench_run import whole_run
from napari_d2r.stages._bench_training import memory_rate, training_rate
from napari_d2r.stages._device import resolve_device

__all__ = ["BenchReport", "bench_stream"]

GAP = 8  # measured slices are so many lateral voxels apart, and so much finer is the output
DEFAULT, PUBLISHED = "default model", "published AENet, depth by depth"
_SHARED = "published AENet, encoder shared by all depths"
_DEPTHS = torch.arange(1, GAP)[None] / GAP
_TURNS = 10
_ONE_STEP = SamplerSettings(steps=1)
_SMALLEST_EDGE, _LARGEST_EDGE, _SEED = 16, 256, 0


class OnePass:
    """A network of AENet's contract as published: every gap once, as it stands.

    ``at_once`` predicts all depths of a gap in one call, otherwise there is one call for each.
    """

    def __init__(self, network: nn.Module, *, at_once: bool) -> None:
        self.network, self.at_once = network.eval(), at_once
        self.halo = Halo(1, int(network.lateral_halo), int(network.lateral_stride))  # type: ignore[arg-type]

    def predict(
        self, slab: Tensor, request: GapRequest, cancel: CancelToken | None = None
    ) -> Tensor:
        """Like any `AxialPredictor`."""
        log2_gap = torch.tensor([request.log2_gap], device=slab.device)

        def fill(offset: int) -> Tensor:
            taps = (torch.arange(-1, 3) + request.first + offset).clamp(0, len(slab) - 1)
            depths = request.depths[offset : offset + 1].to(slab)
            parts = [depths] if self.at_once else depths.split(1, dim=1)
            found = [self.network(slab[taps][None], part, log2_gap) for part in parts]
            return torch.cat(found, dim=1)

        return torch.cat(share_out(fill, range(len(request.depths)), slab.device))


def bench_stream(
    *, device: Device = "auto", quick: bool = False, cancel: CancelToken | None = None
) -> Iterator[Event]:
    """Measure; ends in ``Finished`` with a `BenchReport`.

    Networks are built from the registry at their default sizes with random weights, which
    does not change their speed; the default model is the bundled one.

    Parameters
    ----------
    device
        Where to compute.
    quick
        A shorter look at each, and a smaller whole run: less certain.
    """
    target = resolve_device(device)
    seconds = 0.2 if quick else 1.0
    torch.manual_seed(_SEED)
    matmul: dict[str, float] = {}
    rates: dict[str, NetworkRate] = {}
    found: dict[str, object] = {}

    def products() -> None:
        matmul.update(matmul_rates(target, seconds))

    def network(name: str, predictor: AxialPredictor) -> Callable[[], None]:
        def measure() -> None:
            flops = flops_per_voxel(predictor, target)
            used, dtype = as_run_on(target, predictor)
            rates[name] = NetworkRate(
                name, flops, voxels_per_second(used, target, seconds), dtype, matmul[dtype]
            )

        return measure

    def shared() -> None:
        found["shared"] = shared_encoder(target, seconds)

    def training() -> None:
        found["training"] = training_rate(target, matmul, memory_rate(target))

    def whole() -> None:
        edge, num_gaps = (4 * CHUNK, 8 if quick else 32) if target.type == "cpu" else (512, 64)
        found["whole"] = whole_run(device, (GAP * num_gaps + 1, edge, edge), GAP)

    steps: list[Callable[[], None]] = [products]
    published = AENet(AENetConfig(depth_in="encoder")).to(target)
    steps.append(network(PUBLISHED, OnePass(published, at_once=False)))
    for name in ARCHITECTURES:
        built, contract = build_network(name, {}).to(target), architecture_named(name).contract
        row = f"{name}, one step" if contract in SAMPLED else name
        steps.append(network(row, predictor_for(built, contract, Feeding(sampler=_ONE_STEP))))
    steps += [network(DEFAULT, default_predictor(target)), shared, training, whole]

    yield Started("bench", None)
    for done, step in enumerate(steps):
        yield Progress(done, len(steps), "measurements")
        if cancel:
            yield Finished(Outcome.CANCELLED, None)
            return
        step()
    yield Progress(len(steps), len(steps), "measurements")
    assert isinstance(found["shared"], SharedEncoder)
    assert isinstance(found["training"], TrainingRate)
    assert isinstance(found["whole"], WholeRun)
    report = BenchReport(
        device=str(target),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        matmul=matmul,
        networks=tuple(rates.values()),
        baseline=PUBLISHED,
        shared_encoder=found["shared"],
        training=found["training"],
        whole_run=found["whole"],
    )
    yield Finished(Outcome.COMPLETED, report)


def default_predictor(device: torch.device) -> AxialPredictor:
    """The bundled model, as `super-resolve` runs it."""
    return predictor_of(load_model(model_folder(None), device))


def as_run_on(device: torch.device, predictor: AxialPredictor) -> tuple[AxialPredictor, str]:
    """A predictor as `super-resolve` runs it on cuda, elsewhere in float32; and its type."""
    if device.type == "cuda":
        try:
            half, engine = in_half(predictor, [torch.rand(4, 64, 64)], GAP)
        except NoVariant:
            pass
        else:
            return half, engine.rpartition(" ")[2]
    return predictor, "float32"


def matmul_rates(device: torch.device, seconds: float) -> dict[str, float]:
    """FLOP per second of large square products, in float32 and in what is faster than that.

    On a CPU every core multiplies its own matrices, as it predicts its own gaps.
    """
    on_cpu = device.type == "cpu"
    edge = 768 if on_cpu else 8192
    copies = torch.get_num_threads() if on_cpu else 1
    rates = {}
    for dtype in (torch.float32, *faster_types(device)):
        a, b = (torch.rand(edge, edge, device=device).to(dtype) for _ in "ab")

        def product(
            _: int, a: Tensor = a, b: Tensor = b, times: range = range(4 if on_cpu else 1)
        ) -> Tensor:
            return [a @ b for _ in times][-1]

        def multiply(product: Callable[[int], Tensor] = product) -> None:
            share_out(product, range(copies), device)

        flops = 2 * edge**3 * copies * (4 if on_cpu else 1)
        rates[str(dtype).removeprefix("torch.")] = flops / shortest(multiply, device, seconds)
    return rates


def flops_per_voxel(predictor: AxialPredictor, device: torch.device) -> float:
    """Operations per output voxel, counted by torch on one small gap: 2 per multiply-add."""
    slab, request = _task(device, 1, _SMALLEST_EDGE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the counter sees one thread only
    try:
        with FlopCounterMode(display=False) as counter:
            predictor.predict(slab, request)
    finally:
        torch.set_num_threads(threads)
    return float(counter.get_total_flops()) / (GAP * _SMALLEST_EDGE**2)


def voxels_per_second(predictor: AxialPredictor, device: torch.device, seconds: float) -> float:
    """Output voxels per second without halo and files, measured slices included."""
    gaps = torch.get_num_threads() if device.type == "cpu" else 8
    edge = _SMALLEST_EDGE
    while True:
        slab, request = _task(device, gaps, edge)

        def predict(slab: Tensor = slab, request: GapRequest = request) -> None:
            predictor.predict(slab, request)

        elapsed = _timed(predict, device)
        if elapsed > seconds / 4 or edge >= _LARGEST_EDGE:
            best = min(elapsed, shortest(predict, device, seconds))
            return GAP * gaps * edge * edge / best
        edge *= 2


def shared_encoder(device: torch.device, seconds: float) -> SharedEncoder:
    """The published size, depth in the decoder: all depths at once against one by one."""
    network = AENet(AENetConfig(depth_in="decoder")).to(device)
    with torch.no_grad():  # random networks start as the linear base
        network.head.weight.normal_(std=0.02)
    ways = [OnePass(network, at_once=at_once) for at_once in (False, True)]
    gaps = torch.get_num_threads() if device.type == "cpu" else 1
    slab, request = _task(device, gaps, 2 * _SMALLEST_EDGE)
    one_by_one, at_once = (way.predict(slab, request) for way in ways)
    best = [math.inf, math.inf]
    end = time.perf_counter() + seconds
    for turn in range(_TURNS):  # in turns, so that other jobs disturb both alike
        for index, way in enumerate(ways):
            best[index] = min(best[index], _timed(partial(way.predict, slab, request), device))
        if turn and time.perf_counter() > end:
            break
    slow, fast = (GAP * gaps * slab[0].numel() / duration for duration in best)
    difference = 255 * float((one_by_one - at_once).abs().max())
    return SharedEncoder(_SHARED, slow, fast, difference)


def shortest(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """The shortest of as many runs as fit into ``seconds``, one at least."""
    end, best = time.perf_counter() + seconds, float("inf")
    while True:
        best = min(best, _timed(work, device))
        if time.perf_counter() > end:
            return best


def _timed(work: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def _task(device: torch.device, gaps: int, edge: int) -> tuple[Tensor, GapRequest]:
    """Noise, and all gaps of it but the outermost."""
    slab = torch.rand(gaps + 3, edge, edge, device=device)
    return slab, GapRequest(1, _DEPTHS.expand(gaps, -1), log2_of(GAP))
