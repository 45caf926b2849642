"""What should stage III learn from? The same student and budget, five kinds of targets.

python benchmarks/targets.py FOLDER [VOLUME] [PRIOR_MINUTES] [STUDENT_MINUTES]

Trains each kind on every 8th slice of the volume alone, and evaluates the student, and the
prior where there is one, against the full volume.
"""

import sys
import time
from pathlib import Path

from _common import print_table, truth_and_stack

import napari_d2r as d2r
from napari_d2r.jobs import TrainJob, load_preset
from napari_d2r.volumes import Volume

FACTOR = 8


def job(process: str, kind: str, samples: int, prior_minutes: float, minutes: float) -> TrainJob:
    """The `quick` student on the targets asked for; the prior of `balanced` where it diffuses."""
    name = "balanced" if process == "irsde" else "quick"
    preset, quick = load_preset(name), load_preset("quick")
    needs_prior = kind == "prior"
    total = minutes + (prior_minutes if needs_prior else 0)
    settings = [f"targets.kind={kind}", "targets.max_voxels=8000000", f"max_minutes={total}"]
    settings += [f"targets.sampler.samples={samples}", "student.optimizer.share=1.0"]
    preset = preset.model_copy(update={"student": quick.student, "factor": float(FACTOR)})
    if not needs_prior:
        return preset.model_copy(update={"prior": None}).override(settings)
    return preset.override([*settings, f"prior.optimizer.share={prior_minutes / total}"])


def score(stack: Volume, truth: Volume, model: Path, output: Path) -> list[str]:
    began = time.perf_counter()
    d2r.super_resolve(stack, output, model=model, overwrite=True)
    seconds = time.perf_counter() - began
    report = d2r.evaluate(output, truth, factor=FACTOR)
    planes = {plane.plane: plane for plane in report.result.planes}
    linear = {plane.plane: plane for plane in report.linear.planes}
    resolution = report.result.curves.plain.resolution_at(0.5)
    return [
        f"{planes['XZ'].psnr_db:.2f} ({planes['XZ'].psnr_db - linear['XZ'].psnr_db:+.2f})",
        f"{planes['XZ'].ssim:.3f}",
        "not crossed" if resolution is None else f"{resolution:.1f}",
        f"{seconds:.0f}",
    ]


def main(
    folder: str,
    name: str = "fib25/fib25_training_sample1",
    prior_minutes: str = "6",
    student_minutes: str = "3",
) -> None:
    truth, stack = truth_and_stack(name, FACTOR)
    kinds = [
        ("k = 1 (none)", "regression", "none", 1),
        ("linear", "regression", "linear", 1),
        ("regressor", "regression", "prior", 1),
        ("diffusion, one sample", "irsde", "prior", 1),
        ("diffusion, mean of 4", "irsde", "prior", 4),
    ]
    rows = []
    for label, process, kind, samples in kinds:
        model = Path(folder) / label.replace(" ", "_")
        minutes = (float(prior_minutes), float(student_minutes))
        d2r.train(stack, model, job=job(process, kind, samples, *minutes), overwrite=True)
        output = Path(folder) / "output.ome.zarr"
        rows.append([f"student of {label}", *score(stack, truth, model / "student", output)])
        if kind == "prior":
            rows.append([f"{label} itself", *score(stack, truth, model / "prior", output)])
        print_table(["targets", "XZ PSNR (gain)", "XZ SSIM", "FSC 0.5, nm", "s"], rows[-2:])
    print_table(["targets", "XZ PSNR (gain)", "XZ SSIM", "FSC 0.5, nm", "s"], rows)


main(*sys.argv[1:])
