"""One trial of a design: fit a network, fill a stack with it, score the result."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from napari_d2r.inference import AxialPredictor, Box, fill_shard
from napari_d2r.jobs import PriorSettings, StudentSettings
from napari_d2r.models import build_network
from napari_d2r.stages.evaluate import evaluate
from napari_d2r.training import Task, fit
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume

GAP = 8
CPU = torch.device("cpu")
SCORES = ["XZ PSNR, dB (gain)", "XZ SSIM", "FSC 0.5"]


def trained(
    settings: PriorSettings | StudentSettings, task: Task, seconds: float | None = None
) -> nn.Module:
    """A fitted network."""
    torch.manual_seed(0)
    network = build_network(settings.network.architecture, settings.network.options)
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.safetensors"
        for _ in fit(
            network,
            task,
            settings.optimizer,
            seed=0,
            device=CPU,
            state_path=state,
            identity="benchmark",
            max_seconds=seconds,
        ):
            pass
    return network


def filled(volume: Volume, k: int, predictor: AxialPredictor, unit: IntensityRange) -> np.ndarray:
    """The volume with k - 1 slices in every gap."""
    grid = AxialGrid(volume.shape[0], k)
    box = Box((0, 0, 0), (grid.num_output, *volume.shape[1:]))
    return fill_shard(volume, grid, box, predictor, unit, GAP, CPU)


def scores(truth: Volume, result: np.ndarray) -> list[str]:
    """PSNR with its gain over linear, SSIM and FSC of a result."""
    report = evaluate(Volume(result, truth.voxel_size, "result"), truth, factor=GAP)
    tested, linear = ({p.plane: p for p in one.planes} for one in (report.result, report.linear))
    gain = tested["XZ"].psnr_db - linear["XZ"].psnr_db
    return [
        f"{tested['XZ'].psnr_db:.2f} ({gain:+.2f})",
        f"{tested['XZ'].ssim:.3f}",
        report.result.curves.plain.resolution_text(0.5),
    ]
