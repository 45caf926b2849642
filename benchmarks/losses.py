"""What does each loss do to PSNR, SSIM and FSC? One small AENet, equal steps, five losses.

python benchmarks/losses.py [STEPS]

Learns, fitted as `quick` says, from isotropic FIB-25 sample 1, sequences along y and x; judged on
every 8th slice of sample 2, which takes no part in it.
"""

import sys
import time

import torch
from _common import print_table, truth_and_stack
from _trial import GAP, SCORES, filled, scores, trained

from napari_d2r.inference import SequencePredictor
from napari_d2r.jobs import LossSettings, load_preset
from napari_d2r.training import SequenceTask
from napari_d2r.volumes import IntensityRange

LOSSES = {
    "L2": LossSettings(l1=0, l2=1),
    "L1": LossSettings(l1=1),
    "L1 + (1 - SSIM)": LossSettings(l1=1, ssim=1),
    "L1 + 100 FFL": LossSettings(l1=1, ffl=100),
    "L1 + (1 - SSIM) + 100 FFL": LossSettings(l1=1, ssim=1, ffl=100),
}


def main(steps: str = "300") -> None:
    source, _ = truth_and_stack("fib25/fib25_training_sample1", GAP)
    isotropic = torch.from_numpy(IntensityRange.of(source).to_unit(source.read()))
    truth, stack = truth_and_stack("fib25/fib25_training_sample2", GAP)
    intensity = IntensityRange.of(stack)
    student = load_preset("quick").student
    fitting = student.optimizer.model_copy(
        update={"max_steps": int(steps), "validate_every": int(steps)}
    )
    rows = []
    for label, loss in LOSSES.items():
        changes = {"optimizer": fitting, "loss": loss, "input_noise": 0.0}
        settings = student.model_copy(update=changes)
        task = SequenceTask(isotropic, isotropic[::GAP], GAP, settings)
        began = time.process_time()
        network = trained(settings, task)
        spent = time.process_time() - began
        result = filled(stack, GAP, SequencePredictor(network), intensity)
        rows.append([label, *scores(truth, result), f"{spent / 60:.1f}"])
        print(rows[-1], flush=True)
    print_table(["loss", *SCORES, "CPU minutes"], rows)


main(*sys.argv[1:])
