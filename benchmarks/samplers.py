"""How many steps does a sample need? One denoiser, its samples in 5, 8, 20 and 100 steps.

python benchmarks/samplers.py [STEPS] [EDGE] [SLICES]

The denoiser of `balanced` learns for STEPS steps from every 8th slice of FIB-25 sample 1. SLICES of
those are then restored in a central box of EDGE x EDGE pixels.
"""

import sys
import time

import torch
from _common import print_table, truth_and_stack
from _trial import GAP, SCORES, filled, scores, trained

from napari_d2r.inference import DiffusionPredictor
from napari_d2r.jobs import SamplerSettings, load_preset
from napari_d2r.training import DiffusionTask
from napari_d2r.volumes import IntensityRange, Volume, centred_box

SAMPLERS = {
    "DPM-Solver++, 5": SamplerSettings(solver="dpm++", steps=5),
    "DPM-Solver++, 8": SamplerSettings(solver="dpm++", steps=8),
    "DPM-Solver++, 20": SamplerSettings(solver="dpm++", steps=20),
    "mean of 4, each of 5": SamplerSettings(solver="dpm++", steps=5, samples=4),
    "DPM-Solver++, 100": SamplerSettings(solver="dpm++", steps=100),
    "reverse SDE, 100": SamplerSettings(solver="reverse_sde", steps=100),
}


def main(steps: str = "800", edge: str = "48", slices: str = "9") -> None:
    whole_truth, whole_stack = truth_and_stack("fib25/fib25_training_sample1", GAP)
    intensity = IntensityRange.of(whole_stack)
    z, y, x = centred_box(whole_stack.shape, (int(slices), int(edge), int(edge)))
    stack = Volume(whole_stack.read(z, y, x), whole_stack.voxel_size)
    finely = slice(z.start * GAP, (z.stop - 1) * GAP + 1)
    truth = Volume(whole_truth.read(finely, y, x), whole_truth.voxel_size, "truth")

    unit = torch.from_numpy(intensity.to_unit(whole_stack.read()))
    prior = load_preset("balanced").prior
    fitting = prior.optimizer.model_copy(
        update={"max_steps": int(steps), "validate_every": int(steps)}
    )
    prior = prior.model_copy(update={"optimizer": fitting})
    denoiser = trained(prior, DiffusionTask(unit, GAP, prior))
    rows = []
    for label, sampler in SAMPLERS.items():
        began = time.process_time()
        predictor = DiffusionPredictor(denoiser, sampler, prior.prediction)
        result = filled(stack, GAP, predictor, intensity)
        spent = time.process_time() - began
        rows.append([label, *scores(truth, result), f"{spent:.0f}"])
        print(rows[-1], flush=True)
    print_table(["sampler, steps", *SCORES, "CPU seconds"], rows)


main(*sys.argv[1:])
