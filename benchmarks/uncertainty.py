"""Are the intervals true? Shape from one FIB-25 sample, checked on the slices of the other.

    python benchmarks/uncertainty.py MODEL_OF_SAMPLE_1 MODEL_OF_SAMPLE_2 [--figure FILE]

Each model was trained on its sample alone (scripts/train_bundled.py --samples). The shape of
its intervals is learned on the rows of that sample that it has not seen, their scale on every
8th slice of the other sample; then the slices in between judge. The intervals around linear
interpolation are learned, scaled and judged in the same way, from the features that it has.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _common import DATA, print_table
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from napari_d2r.checkpoints import UncertaintyCard, load_model
from napari_d2r.inference import (
    LINEAR_FEATURES,
    AxialPredictor,
    InterpolationPredictor,
    calibrate,
    predictor_of,
    seen_at_gap,
)
from napari_d2r.io import open_volume
from napari_d2r.metrics import IntervalShape, coverage, share_removed
from napari_d2r.volumes import IntensityRange, centred_box

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from learn_uncertainty import learned

R, SHARE_KEPT = 8, 0.25
CALIBRATED = (49, 256, 256)  # as in a run


@dataclass
class Judged:
    """Of voxels of the inserted slices: error, half-width, depth, gradient, error around."""

    error: NDArray[np.float32]
    width: NDArray[np.float32]
    depth: NDArray[np.float32]
    gradient: NDArray[np.float32]
    around: NDArray[np.float32]
    scale: float

    def covered(self, chosen: NDArray[np.bool_]) -> float:
        return 100 * coverage(self.error[chosen], self.width[chosen])

    def by_depth(self) -> list[float]:
        return [self.covered(self.depth == k) for k in range(1, R)]

    def by_gradient(self) -> list[float]:
        edges = np.quantile(self.gradient, np.arange(1, 10) / 10)
        decile = np.searchsorted(edges, self.gradient)
        return [self.covered(decile == k) for k in range(10)]

    def width_at_level(self) -> float:
        """Mean half-width once scaled to hold exactly 90 % here, so that methods compare."""
        return float(self.width.mean() * np.quantile(self.error / self.width, 0.9))

    def oracle(self) -> float:
        """What dropping 10 % of all voxels removes at most, if 25 x 25 mean errors were known."""
        return 100 * share_removed(*self._with_measured(self.around))

    def removed(self) -> tuple[float, float]:
        """By dropping 10 % of the inserted voxels, and of all, of which 1 in R is measured."""
        every = self._with_measured(self.width)
        return 100 * share_removed(self.error, self.width), 100 * share_removed(*every)

    def _with_measured(
        self, width: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        measured = np.zeros(len(self.error) // (R - 1), np.float32)
        return np.append(self.error, measured), np.append(width, measured)


def judge(
    method: AxialPredictor, shape: IntervalShape, volume: torch.Tensor, kept: NDArray[np.bool_]
) -> Judged:
    """Scale the shape on every R-th slice, then look at what lies between."""
    stack = volume[: (len(volume) - 1) // R * R + 1 : R]
    part = stack[centred_box(stack.shape, CALIBRATED)]
    scale = calibrate(method, shape, part, R)
    columns: list[list[NDArray[np.float32]]] = [[], [], [], [], []]
    names = frozenset(shape.curves)
    for (error, features), chosen in zip(seen_at_gap(method, volume, R, names), kept, strict=True):
        width = scale * shape.half_width(features)
        depth = np.arange(1, R, dtype=np.float32)[:, None, None]
        around = uniform_filter(error**2, (0, 25, 25))
        seen = (error, width, depth, features["gradient"], around)
        for column, values in zip(columns, seen, strict=True):
            column.append(np.broadcast_to(values, error.shape)[chosen])
    return Judged(*(np.concatenate(column) for column in columns), scale)


def compared(folder: Path, own: int, other: int) -> tuple[Judged, Judged]:
    """The model, and linear interpolation, on the sample that neither has seen."""
    model = load_model(folder)
    card: UncertaintyCard = model.card.uncertainty or learned(DATA, folder, [own])
    method = predictor_of(model)
    stored = open_volume(DATA / "fib25" / f"fib25_training_sample{other}.tif")
    volume = torch.from_numpy(IntensityRange.of(stored).to_unit(stored.read()))
    num_gaps = (len(volume) - 1) // R
    rng = np.random.default_rng(0)
    kept = rng.random((num_gaps, R - 1, *volume.shape[1:])) < SHARE_KEPT
    linear = InterpolationPredictor("linear")
    assert set(card.linear.curves) == LINEAR_FEATURES
    return judge(method, card.model, volume, kept), judge(linear, card.linear, volume, kept)


def row(name: str, found: Judged, linear: Judged) -> list[str]:
    every = np.ones(len(found.error), bool)
    inserted, whole = found.removed()
    depth, gradient = found.by_depth(), found.by_gradient()
    return [
        name,
        f"{found.scale:.2f}",
        f"{found.covered(every):.1f}",
        f"{min(depth):.1f} to {max(depth):.1f}",
        f"{min(gradient):.1f} to {max(gradient):.1f}",
        f"{255 * found.width.mean():.1f}",
        f"{found.width_at_level() / linear.width_at_level():.3f}",
        f"{whole:.1f} ({inserted:.1f})",
        f"{found.oracle():.1f}",
    ]


def draw(pairs: dict[str, Judged], path: Path) -> None:
    """Coverage by depth and by gradient decile."""
    figure = Figure((8, 3), layout="constrained")
    by_depth, by_gradient = figure.subplots(1, 2, sharey=True)
    for (name, found), colour in zip(pairs.items(), ("#0072b2", "#d55e00"), strict=False):
        by_depth.plot(np.arange(1, R) / R, found.by_depth(), "o-", color=colour, label=name)
        by_gradient.plot(range(1, 11), found.by_gradient(), "o-", color=colour, label=name)
    for axes, label in ((by_depth, "depth in the gap"), (by_gradient, "gradient decile")):
        axes.axhspan(88, 92, color="#8a8a8a", alpha=0.2, lw=0)
        axes.axhline(90, color="#8a8a8a", lw=1)
        axes.set(xlabel=label, ylim=(84, 96))
    by_depth.set_ylabel("errors within, %")
    by_depth.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs=2, help="of sample 1, and of sample 2")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    rows, pairs = [], {}
    for own, folder in enumerate(arguments.models, start=1):
        found, linear = compared(folder, own, 3 - own)
        name = f"learned on sample {own}, checked on {3 - own}"
        rows += [row(name, found, linear), row(f"linear, on {3 - own}", linear, linear)]
        pairs[name] = found
        print(name, "by depth", np.round(found.by_depth(), 1), file=sys.stderr)
        print(name, "by gradient", np.round(found.by_gradient(), 1), file=sys.stderr, flush=True)
    print_table(
        [
            "intervals of 90 %",
            "scale",
            "hold, %",
            "by depth",
            "by gradient decile",
            "mean half-width",
            "width at equal coverage, against linear",
            "squared error in the widest 10 %",
            "the same, were errors around known",
        ],
        rows,
    )
    if arguments.figure:
        draw(pairs, arguments.figure)


if __name__ == "__main__":
    main()
