"""Axial shift of every method against the truth, for r from 2 to 12.

python benchmarks/registration.py MODELS [VOLUME]

MODELS is a folder that `train` left behind. Where r is not whole, measured slices are taken off the
grid of the truth by a quintic spline along z, which has no phase.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from _common import print_table, truth_and_stack
from scipy.interpolate import make_interp_spline

from napari_d2r.checkpoints import load_index, load_model
from napari_d2r.inference import Box, InterpolationPredictor, fill_shard, predictor_of
from napari_d2r.metrics import axial_shift
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume, VoxelSize

FACTORS = (2, 2.727, 3, 4, 5, 8, 10, 12)


def measured(truth: Volume, r: float) -> Volume:
    """Slices at z = j r of the truth, kept where they exist, interpolated elsewhere."""
    values = truth.read()
    positions = np.arange(0, len(values) - 1 + 1e-6, r)
    if r == int(r):
        slices = values[:: int(r)]
    else:
        spline = make_interp_spline(np.arange(len(values)), values.astype(np.float32), k=5)
        slices = np.clip(np.rint(spline(positions)), 0, 255).astype(np.uint8)
    size = truth.voxel_size
    return Volume(slices, VoxelSize(size.z * r, size.y, size.x))


def main(models: str, name: str = "fib25/fib25_training_sample2") -> None:
    truth, _ = truth_and_stack(name, 8)
    methods = {kind: InterpolationPredictor(kind) for kind in ("nearest", "linear", "cubic")}
    index = load_index(Path(models))
    for role in index.models if index else []:
        methods[role] = predictor_of(load_model(Path(models) / role))
    rows = []
    for r in FACTORS:
        stack = measured(truth, r)
        grid = AxialGrid(stack.shape[0], float(r))
        box = Box((0, 0, 0), (grid.num_output, *stack.shape[1:]))
        reference = truth.read(z=slice(0, grid.num_output))
        row = [f"{r:g}"]
        for predictor in methods.values():
            intensity = IntensityRange.of(stack)
            cpu = torch.device("cpu")
            result = fill_shard(stack, grid, box, predictor, intensity, float(r), cpu)
            row.append(f"{axial_shift(reference, result):+.4f}")
        rows.append(row)
    print_table(["r", *methods], rows)


main(*sys.argv[1:])
