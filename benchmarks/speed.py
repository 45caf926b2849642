"""Output voxels per second of every method, tile by tile and to disk, and their ratios.

python benchmarks/speed.py

Networks have random weights; speed does not depend on
them. The baseline is the published AENet run depth by depth.
"""

import tempfile
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from _common import print_table

from napari_d2r.inference import (
    InterpolationPredictor,
    LateralPredictor,
    SequencePredictor,
    measure_rate,
)
from napari_d2r.io import create_output
from napari_d2r.models import AENet, AENetConfig, AENetFast, LateralNet
from napari_d2r.volumes import VoxelSize

GAP = 8.0


def published(depth_in: Literal["encoder", "decoder"]) -> SequencePredictor:
    """The network of the paper, 42 M parameters."""
    return SequencePredictor(AENet(AENetConfig(depth_in=depth_in)))


def writer_rate() -> float:
    """Voxels per second into sharded OME-Zarr, noise of 8 bits."""
    shape = (128, 256, 256)
    values = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        output = create_output(
            Path(folder) / "a.ome.zarr",
            shape=shape,
            dtype=values.dtype,
            voxel_size=VoxelSize(10, 10, 10),
            identity="benchmark",
            shard=shape,
        )
        began = time.perf_counter()
        output.write(output.shards()[0], values)
        return values.size / (time.perf_counter() - began)


def main() -> None:
    cpu = torch.device("cpu")
    methods = {
        "published AENet, depth by depth": published("encoder"),
        "published AENet, encoder shared": published("decoder"),
        "linear (numpy)": InterpolationPredictor("linear"),
        "lateral regressor, XZ and YZ": LateralPredictor(LateralNet()),
        "aenet-fast": SequencePredictor(AENetFast()),
    }
    rates = {name: measure_rate(predictor, GAP, cpu) for name, predictor in methods.items()}
    rates["OME-Zarr writer"] = writer_rate()
    baseline = rates["published AENet, depth by depth"]
    rows = [[name, f"{rate / 1e6:.3g}", f"{rate / baseline:.0f}"] for name, rate in rates.items()]
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    print_table(["method", "million voxels per second", "ratio to depth by depth"], rows)


main()
