"""What bfloat16 and torch's compiler gain on a processor, what they cost, and how long they take.

python benchmarks/half_and_compiled.py [MODEL] [VOLUME] [COMPILES]

Every 8th slice of a volume, the middle 128 x 128 pixels, all in one process. The ways take turns; a
ratio is that of the least processor time of each, which other programs disturb less than time on
the clock. COMPILES is 0 to leave the compiler out, which takes minutes.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _common import print_table, truth_and_stack

from napari_d2r.checkpoints import load_model, model_folder
from napari_d2r.inference import (
    AxialPredictor,
    Box,
    compiled,
    fill_shard,
    in_half,
    predictor_of,
    sample_slabs,
)
from napari_d2r.metrics import peak_signal_noise_ratio
from napari_d2r.volumes import AxialGrid, IntensityRange

R, EDGE, TURNS = 8, 128, 4


def main(
    folder: str = "bundled/student", name: str = "fib25/fib25_training_sample2", compiles: str = "1"
) -> None:
    truth, stack = truth_and_stack(name, R)
    intensity, grid = IntensityRange.of(stack), AxialGrid(stack.shape[0], float(R))
    slabs = sample_slabs(stack, intensity)
    top, left = ((length - EDGE) // 2 // 8 * 8 for length in stack.shape[1:])
    box = Box((0, top, left), (grid.num_output, top + EDGE, left + EDGE))
    reference = truth.read(slice(0, grid.num_output), *box.lateral).astype(float)

    def run(predictor: AxialPredictor) -> tuple[float, float, float]:
        """Processor and clock seconds, and XZ PSNR."""
        cpu, clock = time.process_time(), time.perf_counter()
        args = (stack, grid, box, predictor, intensity, float(R), torch.device("cpu"))
        found = fill_shard(*args)
        spent = time.process_time() - cpu, time.perf_counter() - clock
        pairs = zip(reference.swapaxes(0, 1), found.swapaxes(0, 1), strict=True)
        decibels = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs]
        return *spent, float(np.mean(decibels))

    plain = predictor_of(load_model(model_folder(Path(folder))))
    makers: dict[str, Callable[[], AxialPredictor]] = {
        "float32": lambda: plain,
        "bfloat16": lambda: in_half(plain, slabs, float(R))[0],
    }
    if int(compiles):
        makers["float32, compiled"] = lambda: compiled(plain, slabs, float(R))
    ready, ways = {}, {}
    for way, make in makers.items():
        begun = time.process_time(), time.perf_counter()
        ways[way] = make()
        run(ways[way])  # compiles for the shape of this tile too
        ready[way] = time.process_time() - begun[0], time.perf_counter() - begun[1]
    turns = np.array([[run(one) for one in ways.values()] for _ in range(TURNS)])
    cpu, clock, decibels = turns.min(0).T
    print(f"{folder}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    print_table(
        ["way", "XZ PSNR, dB", "faster, processor time", "faster, clock", "first result after, s"],
        [
            [
                way,
                f"{decibels[n]:.3f}",
                f"{cpu[0] / cpu[n]:.2f}",
                f"{clock[0] / clock[n]:.2f}",
                f"{ready[way][0]:.0f} of processor ({ready[way][1]:.0f})",
            ]
            for n, way in enumerate(ways)
        ],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
