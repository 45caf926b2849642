"""What super-resolution is worth to a segmentation: membranes and neurons of FIB-25 sample 2.

    python benchmarks/segmentation.py FOLDER [NAME=MODEL ...] [--segmenter FILE]

A small membrane network learns from the slices z < 125 of sample 2, y < 200, and from its neuron
labels; the threshold at which fragments are joined is the best of a few on y >= 200. Network and
threshold are then fixed. Every 8th slice is kept, the methods fill in the rest, and the same
network segments linear interpolation, the results and the truth; z >= 125 is judged against the
labels. The network is kept in FOLDER and used again. ``--segmenter`` takes another one:
TorchScript, float32 (1, 1, Z, Y, X) in unit intensity to membrane probabilities of that shape.
"""

import argparse
import time
from pathlib import Path

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
from napari_d2r.metrics import SegmentationScores, mask_overlap, neuron_overlap, segmentation_scores
from napari_d2r.volumes import IntensityRange

NAME, R = "fib25/fib25_training_sample2", 8
LEARNED, JUDGED = slice(None, 125), slice(125, None)
ROWS_LEARNED, ROWS_CHOSEN = slice(None, 200), slice(200, None)
NUM_BODIES = 4
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)


def membrane_map(segmenter: Segmenter, volume: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return segmenter(torch.from_numpy(np.ascontiguousarray(volume))).float().numpy()


def chosen_threshold(
    segmenter: Segmenter, unit: NDArray[np.float32], labels: NDArray[np.uint16]
) -> float:
    """The one with the least variation of information on rows that were not learned from."""
    box = LEARNED, ROWS_CHOSEN
    neurons = fragments_of(membrane_map(segmenter, unit[box]))
    scores = {t: segmentation_scores(neurons.joined(t), labels[box]) for t in THRESHOLDS}
    for threshold, found in scores.items():
        print(f"threshold {threshold:g}: {found.split:.3f} + {found.merge:.3f} bits", flush=True)
    return min(scores, key=lambda t: scores[t].variation_of_information)


def row(
    name: str,
    found: SegmentationScores,
    membranes: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    gap: tuple[float, float],
) -> list[str]:
    overlap = mask_overlap(membranes, reference)
    linear, truth = gap
    closed = (linear - found.variation_of_information) / (linear - truth)
    return [
        name,
        f"{overlap.iou:.3f}",
        f"{overlap.dice:.3f}",
        f"{found.adapted_rand_error:.3f}",
        f"{found.variation_of_information:.3f}",
        f"{found.split:.3f}",
        f"{found.merge:.3f}",
        f"{100 * closed:.0f} %",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", default=["bundled=bundled"], metavar="NAME=MODEL")
    parser.add_argument("--segmenter", type=Path, help="TorchScript, or safetensors of ours")
    parser.add_argument("--steps", type=int, default=600, help="of the membrane network")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)

    truth, stack = truth_and_stack(NAME, R)
    labels = tifffile.imread(DATA / f"{NAME}_neurons.tif")
    intensity = IntensityRange.of(truth)
    unit = intensity.to_unit(truth.read())
    own = arguments.folder / "membranes.safetensors"
    if arguments.segmenter is None and not own.exists():
        box, began = (LEARNED, ROWS_LEARNED), time.perf_counter()
        network = train_membranes(unit[box], membranes_of(labels[box]), arguments.steps)
        save_file(network.state_dict(), own)
        print(f"membranes learned in {time.perf_counter() - began:.0f} s", flush=True)
    segmenter = load_segmenter(arguments.segmenter, own)
    threshold = chosen_threshold(segmenter, unit, labels)

    jobs = {"linear": SuperResolveJob(method="linear", factor=R)}
    for named in arguments.models:
        name, _, model = named.partition("=")
        jobs[name] = SuperResolveJob(model=Path(model), factor=R, engine="torch")
    volumes = {"truth": unit}
    for name, job in jobs.items():
        path = arguments.folder / f"{name}.ome.zarr"
        super_resolve(stack, path, job=job, overwrite=True)
        volumes[name] = intensity.to_unit(open_volume(path).read())
    judged = slice(JUDGED.start, min(map(len, volumes.values())))  # to the last measured slice
    maps, found, largest = {}, {}, {}
    bodies, sizes = np.unique(labels[judged], return_counts=True)
    chosen = bodies[sizes.argsort()[::-1][:NUM_BODIES]].tolist()
    for name, volume in volumes.items():
        maps[name] = membrane_map(segmenter, volume[judged])
        neurons = fragments_of(maps[name]).joined(threshold)
        found[name] = segmentation_scores(neurons, labels[judged])
        largest[name] = [neuron_overlap(neurons, labels[judged], body) for body in chosen]
        print(f"{name}: {found[name]}", flush=True)
    gap = found["linear"].variation_of_information, found["truth"].variation_of_information
    print(f"\nfragments joined below {threshold:g}\n")
    header = ["", "membranes IoU", "Dice", "ARE", "VOI, bits", "splits", "merges", "gap closed"]
    reference = maps["truth"] > 0.5
    print_table(header, [row(n, found[n], maps[n] > 0.5, reference, gap) for n in volumes])
    print("\nIoU (Dice) of the largest bodies\n")
    print_table(
        ["", *(f"body {body}" for body in chosen)],
        [[n, *(f"{one.iou:.3f} ({one.dice:.3f})" for one in largest[n])] for n in volumes],
    )


if __name__ == "__main__":
    main()
