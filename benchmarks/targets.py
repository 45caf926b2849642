"""What should stage III learn from? One student, equal steps, five kinds of targets.

python benchmarks/targets.py [VOLUME] [PRIOR_MINUTES] [STUDENT_STEPS] [EDGE]

Learns from every 8th slice of the volume alone. Both priors get the same time; the pseudo-HR
volume covers a central box of EDGE x EDGE pixels and all slices. Students, and the priors applied
directly, are evaluated on the whole volume.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import print_table, truth_and_stack
from torch import nn

from napari_d2r.inference import (
    AxialPredictor,
    Box,
    InterpolationPredictor,
    SequencePredictor,
    fill_shard,
    predictor_for,
)
from napari_d2r.jobs import PriorSettings, SamplerSettings, StudentSettings, load_preset
from napari_d2r.models import architecture_named, build_network
from napari_d2r.stages.evaluate import evaluate
from napari_d2r.training import DiffusionTask, LateralTask, SequenceTask, Task, fit
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume, VoxelSize, centred_box

GAP = 8
CPU = torch.device("cpu")
UNIT = IntensityRange(0.0, 1.0)


def trained(
    settings: PriorSettings | StudentSettings, task: Task, seconds: float | None
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


def scores(truth: Volume, stack: Volume, predictor: AxialPredictor) -> list[str]:
    began = time.perf_counter()
    result = filled(stack, GAP, predictor, IntensityRange.of(stack))
    seconds = time.perf_counter() - began
    report = evaluate(Volume(result, truth.voxel_size, "result"), truth, factor=GAP)
    tested, linear = ({p.plane: p for p in one.planes} for one in (report.result, report.linear))
    gain = tested["XZ"].psnr_db - linear["XZ"].psnr_db
    resolution = report.result.curves.plain.resolution_text(0.5)
    return [
        f"{tested['XZ'].psnr_db:.2f} ({gain:+.2f})",
        f"{tested['XZ'].ssim:.3f}",
        resolution,
        f"{seconds:.0f}",
    ]


def main(
    name: str = "fib25/fib25_training_sample1",
    prior_minutes: str = "5",
    student_steps: str = "800",
    edge: str = "128",
) -> None:
    truth, stack = truth_and_stack(name, GAP)
    unit = torch.from_numpy(IntensityRange.of(stack).to_unit(stack.read()))
    box = centred_box(stack.shape, (len(unit), int(edge), int(edge)))
    region = Volume(unit[box].numpy(), VoxelSize(1, 1, 1), "region")
    quick, balanced = load_preset("quick"), load_preset("balanced")
    header = ["", "XZ PSNR, dB (gain)", "XZ SSIM", "FSC 0.5", "applied in, s"]

    seconds = 60 * float(prior_minutes)
    regressor = trained(quick.prior, LateralTask(unit, GAP, quick.prior), seconds)
    denoiser = trained(balanced.prior, DiffusionTask(unit, GAP, balanced.prior), seconds)

    def sampled(samples: int) -> AxialPredictor:
        sampler = SamplerSettings(samples=samples)
        contract = architecture_named(balanced.prior.network.architecture).contract
        prediction = balanced.prior.prediction
        return predictor_for(denoiser, contract, prediction=prediction, sampler=sampler)

    lateral = predictor_for(regressor, "rows")
    rows = [
        ["regressor, applied directly", *scores(truth, stack, lateral)],
        ["diffusion sample, applied directly", *scores(truth, stack, sampled(1))],
    ]
    print_table(header, rows)

    student = quick.student
    steps = student.optimizer.model_copy(update={"max_steps": int(student_steps)})
    student = student.model_copy(update={"optimizer": steps})
    measured = torch.from_numpy(region.data)
    makers: dict[str, AxialPredictor | None] = {
        "none (k = 1)": None,
        "linear (k = 8)": InterpolationPredictor("linear"),
        "regressor (k = 8)": lateral,
        "one diffusion sample (k = 8)": sampled(1),
        "mean of 4 diffusion samples (k = 8)": sampled(4),
    }
    for label, maker in makers.items():
        targets = region.data if maker is None else filled(region, GAP, maker, UNIT)
        task = SequenceTask(torch.from_numpy(targets), measured, GAP, student)
        network = trained(student, task, None)
        rows.append([f"student of {label}", *scores(truth, stack, SequencePredictor(network))])
        print_table(header, rows[-1:])
    print_table(header, rows)


main(*sys.argv[1:])
