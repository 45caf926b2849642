"""What eight-bit integers cost in dB and in voxels along z, and how much faster they are.

python benchmarks/eight_bits.py [MODEL] [VOLUME ...]

Every 8th slice of FIB-25 sample 2 and of the EPFL crop, by torch and by OpenVINO in the same
process. Both engines take turns; the ratio is that of the least processor time of each, which other
programs disturb less than time on the clock. As a processor without AVX-512 does it:
ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/eight_bits.py
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from _common import print_table, truth_and_stack

from napari_d2r.checkpoints import Model, load_model, model_folder
from napari_d2r.inference import (
    AxialPredictor,
    Box,
    GapRequest,
    SequencePredictor,
    fill_shard,
    in_eight_bits,
    log2_of,
    sample_slabs,
)
from napari_d2r.metrics import axial_shift, peak_signal_noise_ratio
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume

VOLUMES = ("fib25/fib25_training_sample2", "epfl/epfl_train_crop")
R, TURNS = 8, 6


def whole(stack: Volume, predictor: AxialPredictor) -> np.ndarray:
    """The result, as super-resolve writes it."""
    grid = AxialGrid(stack.shape[0], float(R))
    box = Box((0, 0, 0), (grid.num_output, *stack.shape[1:]))
    cpu = torch.device("cpu")
    return fill_shard(stack, grid, box, predictor, IntensityRange.of(stack), float(R), cpu)


def seconds(predictor: AxialPredictor, slab: torch.Tensor) -> tuple[float, float]:
    """Processor and clock seconds of all gaps of a slab."""
    depths = (torch.arange(1, R) / R).expand(len(slab) - 1, -1)
    cpu, clock = time.process_time(), time.perf_counter()
    predictor.predict(slab, GapRequest(0, depths, log2_of(R)))
    return time.process_time() - cpu, time.perf_counter() - clock


def xz_psnr(reference: np.ndarray, result: np.ndarray) -> float:
    """Mean over XZ slices, as evaluate tells it."""
    slices = zip(reference.swapaxes(0, 1), result.swapaxes(0, 1), strict=True)
    return float(np.mean([peak_signal_noise_ratio(a, b, data_range=255) for a, b in slices]))


def main(folder: str = "bundled/student", *names: str) -> None:
    with tempfile.TemporaryDirectory() as cache:
        rows = list(measured(load_model(model_folder(Path(folder))), names or VOLUMES, Path(cache)))
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    header = [
        "volume",
        "torch, XZ PSNR, dB",
        "int8",
        "loss",
        "loss as told by the test",
        "shift along z, voxels",
        "faster, processor time",
        "faster, clock",
        "preparing, s of processor (clock)",
    ]
    print_table(header, rows)


def measured(model: Model, names: Iterable[str], cache: Path) -> Iterator[list[str]]:
    """One row for each volume; the first also makes the graph of the model."""
    full = SequencePredictor(model.network, model.card.halo)
    for name in names:
        truth, stack = truth_and_stack(name, R)
        intensity = IntensityRange.of(stack)
        begun = time.process_time(), time.perf_counter()
        fast = in_eight_bits(
            full,
            lambda stack=stack, intensity=intensity: sample_slabs(stack, intensity),
            float(R),
            weights_sha256=model.card.weights_sha256,
            cache=cache,
        )
        prepared = time.process_time() - begun[0], time.perf_counter() - begun[1]
        exact, found = whole(stack, full), whole(stack, fast.predictor)
        assert np.array_equal(found[::R], stack.read()), "a measured slice has changed"
        reference = truth.read(z=slice(0, len(found)))
        decibels = [xz_psnr(reference, result) for result in (exact, found)]
        slab = torch.from_numpy(
            intensity.to_unit(stack.read(slice(0, 6), slice(0, 240), slice(0, 240)))
        )
        turns = np.array([[seconds(p, slab) for p in (full, fast.predictor)] for _ in range(TURNS)])
        cpu, clock = turns.min(0).T
        yield [
            name.split("/")[1],
            *(f"{value:.3f}" for value in decibels),
            f"{decibels[0] - decibels[1]:+.3f}",
            f"{fast.loss_db:+.3f}",
            f"{axial_shift(exact, found):+.4f}",
            f"{cpu[0] / cpu[1]:.2f}",
            f"{clock[0] / clock[1]:.2f}",
            f"{prepared[0]:.1f} ({prepared[1]:.0f})",
        ]


main(*sys.argv[1:])
