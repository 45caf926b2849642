"""What should stage III learn from? One student, equal steps, five kinds of targets.

python benchmarks/targets.py [VOLUME] [PRIOR_MINUTES] [STUDENT_STEPS] [EDGE]

Priors learn from every 8th slice of the whole volume, in the same time. Targets, students and
evaluation see a central box of EDGE x EDGE pixels and all slices: sampling is slow on a CPU.
"""

import sys
import time

import torch
from _common import print_table, truth_and_stack
from _trial import GAP, SCORES, filled, scores, trained

from napari_d2r.inference import (
    AxialPredictor,
    Feeding,
    InterpolationPredictor,
    SequencePredictor,
    predictor_for,
)
from napari_d2r.jobs import SamplerSettings, load_preset
from napari_d2r.training import DiffusionTask, LateralTask, SequenceTask
from napari_d2r.volumes import IntensityRange, Volume, centred_box

UNIT = IntensityRange(0.0, 1.0)


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
        how = Feeding(prediction=balanced.prior.prediction, sampler=sampler)
        return predictor_for(denoiser, "denoiser", how)

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
        network = SequencePredictor(trained(student, task))
        result = filled(stack, GAP, network, intensity)
        rows.append([f"student of {label}", *scores(truth, result), f"{made_in:.0f}"])
        print(rows[-2:], flush=True)
    print_table(["", *SCORES, "targets made in, s"], rows)


main(*sys.argv[1:])
