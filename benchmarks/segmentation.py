"""What super-resolution is worth to a segmentation: membranes and neurons of FIB-25 sample 2.

    python benchmarks/segmentation.py FOLDER [NAME=MODEL ...] [--segmenter FILE]
        [--steps STEPS ...] [--seeds SEED ...]

Small membrane networks, alike but for their seeds, learn from the slices z < 125 of sample 2,
y < 200, and from its neuron labels. How long they learn, of the ``--steps`` given, and the
threshold at which each one's fragments are joined are what serves the truth best on y >= 200. All
is then fixed. Every 8th slice is kept, the methods fill in the rest, and the same networks segment
linear interpolation, the results and the truth; z >= 125 is judged against the labels. A cell is
the mean over the networks, with their range. Networks are kept in FOLDER and used again.
``--segmenter`` takes another one: TorchScript, float32 (1, 1, Z, Y, X) in unit intensity to
membrane probabilities of that shape.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import tifffile
import torch
from _common import DATA, print_table, truth_and_stack
from _membranes import (
    Segmenter,
    fragments_of,
    load_segmenter,
    membranes_of,
    train_membranes,
)
from numpy.typing import NDArray
from safetensors.torch import save_file

from napari_d2r.api import super_resolve
from napari_d2r.io import open_volume
from napari_d2r.jobs import SuperResolveJob
from napari_d2r.metrics import (
    Overlap,
    SegmentationScores,
    mask_overlap,
    neuron_overlap,
    segmentation_scores,
)
from napari_d2r.volumes import IntensityRange, Volume

NAME, R = "fib25/fib25_training_sample2", 8
LEARNED, JUDGED = slice(None, 125), slice(125, None)
ROWS_LEARNED, ROWS_CHOSEN = slice(None, 200), slice(200, None)
NUM_BODIES = 4
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)


@dataclass(frozen=True)
class Judge:
    """A segmenter, and the threshold that serves the truth best on rows it has not learned from.

    ``chosen_at`` is the variation of information that it reaches there, in bits.
    """

    segmenter: Segmenter
    threshold: float
    chosen_at: float


@dataclass(frozen=True)
class Verdict:
    """What one judge says of one volume: membranes are held against its own of the truth."""

    membranes: Overlap
    scores: SegmentationScores
    bodies: list[Overlap]


def membrane_map(segmenter: Segmenter, volume: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return segmenter(torch.from_numpy(np.ascontiguousarray(volume))).float().numpy()


def judge_by(segmenter: Segmenter, unit: NDArray[np.float32], labels: NDArray[np.uint16]) -> Judge:
    box = LEARNED, ROWS_CHOSEN
    neurons = fragments_of(membrane_map(segmenter, unit[box]))
    scores = {t: segmentation_scores(neurons.joined(t), labels[box]) for t in THRESHOLDS}
    bits = {t: found.variation_of_information for t, found in scores.items()}
    best = min(bits, key=bits.__getitem__)
    return Judge(segmenter, best, bits[best])


def trained_judges(
    folder: Path,
    lengths: Sequence[int],
    seeds: Sequence[int],
    unit: NDArray[np.float32],
    labels: NDArray[np.uint16],
) -> list[Judge]:
    """One for each seed, all of the length that serves the truth best on average."""
    judges: dict[int, list[Judge]] = {}
    for steps in lengths:
        for seed in seeds:
            path = folder / f"membranes-{steps}-{seed}.safetensors"
            if not path.exists():
                learn_membranes(path, steps, seed, unit, labels)
            judge = judge_by(load_segmenter(path), unit, labels)
            print(f"{steps} steps, seed {seed}: {judge.chosen_at:.3f} bits", flush=True)
            judges.setdefault(steps, []).append(judge)
    return min(judges.values(), key=lambda alike: mean(judge.chosen_at for judge in alike))


def learn_membranes(
    path: Path, steps: int, seed: int, unit: NDArray[np.float32], labels: NDArray[np.uint16]
) -> None:
    box, began = (LEARNED, ROWS_LEARNED), time.process_time()
    network = train_membranes(unit[box], membranes_of(labels[box]), steps, seed)
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, path)
    print(f"{path.name}: {time.process_time() - began:.0f} s of processor", flush=True)


def filled_in(
    folder: Path, stack: Volume, models: Sequence[str], intensity: IntensityRange
) -> dict[str, NDArray[np.float32]]:
    """Linear interpolation and the results of the models, in unit intensity."""
    jobs = {"linear": SuperResolveJob(method="linear", factor=R)}
    for named in models:
        name, _, model = named.partition("=")
        jobs[name] = SuperResolveJob(model=Path(model), factor=R, engine="torch")
    volumes = {}
    for name, job in jobs.items():
        path = folder / f"{name}.ome.zarr"
        super_resolve(stack, path, job=job, overwrite=True)
        volumes[name] = intensity.to_unit(open_volume(path).read())
    return volumes


def verdicts_of(
    judge: Judge,
    volumes: Mapping[str, NDArray[np.float32]],
    labels: NDArray[np.uint16],
    bodies: Sequence[int],
) -> dict[str, Verdict]:
    """Of the truth, which comes first, and of the others."""
    verdicts: dict[str, Verdict] = {}
    for name, volume in volumes.items():
        found = membrane_map(judge.segmenter, volume)
        if not verdicts:
            reference = found > 0.5
        neurons = fragments_of(found).joined(judge.threshold)
        verdicts[name] = Verdict(
            mask_overlap(found > 0.5, reference),
            segmentation_scores(neurons, labels),
            [neuron_overlap(neurons, labels, body) for body in bodies],
        )
        print(f"{name}: {verdicts[name].scores}", flush=True)
    return verdicts


def gap_closed(verdicts: Mapping[str, Verdict], name: str) -> float:
    """In percent: 0 for linear interpolation, 100 for the truth."""
    linear, truth, result = (
        verdicts[one].scores.variation_of_information for one in ("linear", "truth", name)
    )
    return 100 * (linear - result) / (linear - truth)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The mean, and of several values the range."""
    text = f"{mean(values):.{digits}f}"
    if len(values) == 1:
        return text
    return f"{text} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def print_verdicts(by_judge: Sequence[Mapping[str, Verdict]], bodies: Sequence[int]) -> None:
    rows, rows_of_bodies = [], []
    for name in by_judge[0]:
        verdicts = [one[name] for one in by_judge]
        scores = [one.scores for one in verdicts]
        closed = [gap_closed(one, name) for one in by_judge]
        rows.append(
            [
                name,
                f"{mean(one.membranes.iou for one in verdicts):.3f}",
                f"{mean(one.membranes.dice for one in verdicts):.3f}",
                spread([one.adapted_rand_error for one in scores]),
                spread([one.variation_of_information for one in scores]),
                spread([one.split for one in scores]),
                spread([one.merge for one in scores]),
                f"{mean(closed):.0f} % ({', '.join(f'{one:.0f}' for one in closed)})",
            ]
        )
        overlaps = zip(*(one.bodies for one in verdicts), strict=True)
        rows_of_bodies.append([name, *(spread([one.iou for one in body]) for body in overlaps)])
    header = ["", "membranes IoU", "Dice", "ARE", "VOI, bits", "splits", "merges", "gap closed"]
    print()
    print_table(header, rows)
    print("\nIoU of the largest bodies\n")
    print_table(["", *(f"body {body}" for body in bodies)], rows_of_bodies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", default=["bundled=bundled"], metavar="NAME=MODEL")
    parser.add_argument("--segmenter", type=Path, help="TorchScript, or safetensors of ours")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[2400], help="lengths to choose from"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one network each")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)

    truth, stack = truth_and_stack(NAME, R)
    labels = tifffile.imread(DATA / f"{NAME}_neurons.tif")
    intensity = IntensityRange.of(truth)
    unit = intensity.to_unit(truth.read())
    if arguments.segmenter is None:
        judges = trained_judges(arguments.folder, arguments.steps, arguments.seeds, unit, labels)
    else:
        judges = [judge_by(load_segmenter(arguments.segmenter), unit, labels)]

    volumes = {"truth": unit, **filled_in(arguments.folder, stack, arguments.models, intensity)}
    judged = slice(JUDGED.start, min(map(len, volumes.values())))  # to the last measured slice
    volumes = {name: volume[judged] for name, volume in volumes.items()}
    found, sizes = np.unique(labels[judged], return_counts=True)
    bodies = found[sizes.argsort()[::-1][:NUM_BODIES]].tolist()
    by_judge = []
    for judge in judges:
        print(f"\nfragments joined below {judge.threshold:g}", flush=True)
        by_judge.append(verdicts_of(judge, volumes, labels[judged], bodies))
    print_verdicts(by_judge, bodies)


if __name__ == "__main__":
    main()
