"""Quality against speed of the networks of stage III, each fitted for the same CPU time.

python benchmarks/front.py OUT MINUTES [NAME ...]

Every network learns from FIB-25 sample 1 (all directions, gaps of 2 to 12) in one thread for so
many minutes of processor time, other jobs beside it or not, and is measured on sample 2 at r = 8,
of which it has seen nothing. OUT collects one JSON file per network, and a picture; networks
that are there already are not fitted again. Their speed is measured at the end, one after the
other, in processor time too.
"""

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from _common import DATA, print_table

from napari_d2r.inference import (
    AxialPredictor,
    GapRequest,
    InterpolationPredictor,
    log2_of,
    predictor_for,
)
from napari_d2r.io import open_volume
from napari_d2r.jobs import OptimizerSettings, StudentSettings
from napari_d2r.metrics import score_plane
from napari_d2r.models import architecture_named, build_network
from napari_d2r.training import BlockTask, SupervisedTask, Task, Variety, fit
from napari_d2r.volumes import IntensityRange

R, EDGE = 8, 96
SHARE_OF_BATCH = {"aenet": 2, "srunet": 1}  # large networks see few crops at once
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "published AENet": ("aenet", {}),
    "AENet, half width": ("aenet", {"width": 32}),
    "AENet, quarter width": ("aenet", {"width": 16}),
    "small, 16-32-48": ("aenet-fast", {"widths": (16, 32, 48), "blocks": (1, 1, 1)}),
    "small, 32-64-96": ("aenet-fast", {"widths": (32, 64, 96), "blocks": (1, 1, 2)}),
    "small, 48-96-128": ("aenet-fast", {"widths": (48, 96, 128), "blocks": (1, 1, 2)}),
    "small, 48-96-128, AdamW": ("aenet-fast", {"widths": (48, 96, 128), "blocks": (1, 1, 2)}),
    "small, 48-96-160": ("aenet-fast", {"widths": (48, 96, 160), "blocks": (1, 2, 4)}),
    "small, 64-128-192": ("aenet-fast", {"widths": (64, 128, 192), "blocks": (1, 2, 3)}),
    "SRUNet": ("srunet", {"factor": R}),
    "lateral regressor": ("lateral", {}),
}


def unit(sample: int) -> np.ndarray:
    volume = open_volume(DATA / "fib25" / f"fib25_training_sample{sample}.tif")
    return IntensityRange.of(volume).to_unit(volume.read())


def measured(name: str, minutes: float, truth: np.ndarray, other: torch.Tensor, out: Path) -> dict:
    """Fit one network and say what it gains on the other sample, and how fast it is."""
    architecture, options = NETWORKS[name]
    contract = architecture_named(architecture).contract
    torch.manual_seed(0)
    network = build_network(architecture, options)
    settings = OptimizerSettings(
        method="adamw" if name.endswith("AdamW") else "muon",
        learning_rate=1e-3,
        batch=SHARE_OF_BATCH.get(architecture, 16),
        ema_decay=0.998,
        validate_every=1_000_000,
    )
    task: Task = SupervisedTask([truth], contract, settings, Variety())
    if contract == "blocks":  # whole blocks at one gap; nothing is varied
        student = StudentSettings(optimizer=settings, crop=48, input_noise=0)
        whole = torch.from_numpy(truth)
        task = BlockTask(whole, whole[::R], R, student)
    torch.set_num_threads(1)
    began = time.process_time()
    steps = ended(
        fit(
            network,
            task,
            settings,
            seed=0,
            device=torch.device("cpu"),
            state_path=out / "state",
            identity=name,
            max_seconds=60 * minutes,
            clock=time.process_time,
        )
    ).steps
    seconds = time.process_time() - began
    torch.set_num_threads(2)
    predictor = predictor_for(network, contract)
    whole, linear = (filled(other, one) for one in (predictor, InterpolationPredictor("linear")))
    scores = [
        score_plane(other.numpy(), one, "XZ", factor=R, data_range=1.0) for one in (whole, linear)
    ]
    return {
        "network": name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "steps": steps,
        "cpu_s": round(seconds),
        "gain_db": round(scores[0].psnr_db - scores[1].psnr_db, 3),
        "ssim": round(scores[0].ssim, 4),
    }


def rate(name: str) -> float:
    """Million voxels per processor second, in one thread; the weights do not change it."""
    architecture, options = NETWORKS[name]
    network = build_network(architecture, options)
    predictor = predictor_for(network, architecture_named(architecture).contract)
    torch.set_num_threads(1)
    edge = 128 if architecture == "aenet-fast" else 64
    slab, least = torch.rand(5, edge, edge), math.inf
    request = GapRequest(0, (torch.arange(1, R) / R).expand(4, -1), log2_of(R))
    for _ in range(3):
        began = time.process_time()
        voxels = predictor.predict(slab, request).numel()
        least = min(least, time.process_time() - began)
    return round(voxels / least / 1e6, 3)


def filled(truth: torch.Tensor, predictor: AxialPredictor) -> np.ndarray:
    """Every R-th slice as measured, the others predicted from those."""
    gaps = (len(truth) - 1) // R
    depths = (torch.arange(1, R) / R).expand(gaps, -1)
    found = predictor.predict(truth[::R], GapRequest(0, depths, log2_of(R)))
    whole = truth[: gaps * R + 1].clone()
    whole[:-1].unflatten(0, (gaps, R))[:, 1:] = found.clamp(0, 1)
    return whole.numpy()


def ended(events: Iterator[Any]) -> Any:
    """Run a generator to its end and hand on what it returns."""
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def draw(rows: list[dict], path: Path) -> None:
    """Gain over voxels per second; the best at each speed are joined."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    front: list[dict] = []
    for row in sorted(rows, key=lambda row: -row["mvoxel_s"]):
        if not front or row["gain_db"] > front[-1]["gain_db"]:
            front.append(row)
    axes.plot([r["mvoxel_s"] for r in front], [r["gain_db"] for r in front], "-", color="0.7")
    for row in rows:
        axes.plot(row["mvoxel_s"], row["gain_db"], "o")
        place = (row["mvoxel_s"], row["gain_db"])
        axes.annotate(row["network"], place, (4, 4), textcoords="offset points", fontsize=8)
    axes.margins(x=0.15)
    axes.set(
        xscale="log",
        xlabel="million voxels per processor second, one thread",
        ylabel="gain over linear, dB",
    )
    figure.savefig(path, dpi=150)


def main() -> None:
    out, minutes, names = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:] or list(NETWORKS)
    out.mkdir(parents=True, exist_ok=True)
    truth, other = unit(1), torch.from_numpy(unit(2)[:, :EDGE, :EDGE].copy())
    for name in names:
        path = out / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(measured(name, minutes, truth, other, out)))
    found = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    rows = [one | {"mvoxel_s": rate(one["network"])} for one in found]
    draw(rows, out / "front.png")
    header = ["network", "parameters", "steps", "CPU s", "XZ gain, dB", "SSIM", "Mvoxel/s"]
    print_table(header, [[str(value) for value in row.values()] for row in rows])


main()
