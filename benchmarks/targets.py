"""What should stage III learn from? One student, equal steps, five kinds of targets.

python benchmarks/targets.py [VOLUME] [PRIOR_MINUTES] [STUDENT_STEPS] [EDGE]

Priors learn from every 8th slice of the whole volume, in the same time. Targets, students and
evaluation see a central box of EDGE x EDGE pixels and all slices: sampling is slow on a CPU.
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
from napari_d2r.models import build_network
from napari_d2r.stages.evaluate import evaluate
from napari_d2r.training import DiffusionTask, LateralTask, SequenceTask, Task, fit
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume, centred_box

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


def main(
    name: str = "fib25/fib25_training_sample1",
    prior_minutes: str = "5",
    student_steps: str = "800",
    edge: str = "128",
) -> None:
    whole_truth, whole_stack = truth_and_stack(name, GAP)
    intensity = IntensityRange.of(whole_stack)
    unit = torch.from_numpy(intensity.to_unit(whole_stack.read()))
    _, y, x = centred_box(whole_stack.shape, (len(unit), int(edge), int(edge)))
    truth = Volume(whole_truth.read(y=y, x=x), whole_truth.voxel_size, name)
    stack = Volume(whole_stack.read(y=y, x=x), whole_stack.voxel_size)
    region = Volume(unit[:, y, x].contiguous().numpy(), whole_stack.voxel_size)
    quick, balanced = load_preset("quick"), load_preset("balanced")

    seconds = 60 * float(prior_minutes)
    regressor = trained(quick.prior, LateralTask(unit, GAP, quick.prior), seconds)
    denoiser = trained(balanced.prior, DiffusionTask(unit, GAP, balanced.prior), seconds)

    def sampled(samples: int) -> AxialPredictor:
        sampler = SamplerSettings(samples=samples)
        return predictor_for(
            denoiser, "denoiser", prediction=balanced.prior.prediction, sampler=sampler
        )

    student = quick.student
    steps = student.optimizer.model_copy(update={"max_steps": int(student_steps)})
    student = student.model_copy(update={"optimizer": steps})
    makers: dict[str, AxialPredictor | None] = {
        "none (k = 1)": None,
        "linear": InterpolationPredictor("linear"),
        "regressor": predictor_for(regressor, "rows"),
        "one diffusion sample": sampled(1),
        "mean of 4 diffusion samples": sampled(4),
    }
    rows = []
    for label, maker in makers.items():
        began = time.perf_counter()
        targets = region.data if maker is None else filled(region, GAP, maker, UNIT)
        made_in = time.perf_counter() - began
        if maker is not None:
            direct = intensity.from_unit(targets, truth.dtype)
            direct[::GAP] = stack.read()
            rows.append([f"{label}, applied directly", *scores(truth, direct), f"{made_in:.0f}"])
        task = SequenceTask(torch.from_numpy(targets), torch.from_numpy(region.data), GAP, student)
        network = SequencePredictor(trained(student, task, None))
        result = filled(stack, GAP, network, intensity)
        rows.append([f"student of {label}", *scores(truth, result), f"{made_in:.0f}"])
        print(rows[-2:], flush=True)
    print_table(["", "XZ PSNR, dB (gain)", "XZ SSIM", "FSC 0.5", "targets made in, s"], rows)


main(*sys.argv[1:])
