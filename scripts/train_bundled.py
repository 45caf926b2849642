"""Train the provisional models that ship with napari-d2r, supervised by isotropic truth.

    python scripts/train_bundled.py DATA OUT --minutes 60 [--roles prior student]

``DATA/fib25`` holds the two isotropic FIB-25 training samples (250^3 voxels of 10 nm, CC BY
3.0 US). Both networks are fitted by the engine's own loop to all three directions of both
samples: the ``prior`` restores slices with rows left out, the ``student`` predicts the slices
between four parallel ones. The gap is drawn anew for every batch, evenly in log from 2 to 12;
crops are now and then made coarser laterally, so that gaps are not whole numbers only. The
last rows of y take no part in training; there, XY slices are left out and predicted.

Each role gets an equal part of the minutes. A time budget is not reproducible to the bit;
``--steps`` in its place is.
"""

from __future__ import annotations

import argparse
import logging
import math
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from napari_d2r.checkpoints import (
    HaloCard,
    ModelCard,
    ModelIndex,
    load_card,
    save_index,
    save_model,
)
from napari_d2r.inference import AxialPredictor, GapRequest, log2_of, measure_halo, predictor_for
from napari_d2r.io import open_volume
from napari_d2r.jobs import Event, LossSettings, OptimizerSettings, Progress, Scalars
from napari_d2r.models import (
    architecture_named,
    build_network,
    describe_config,
    linear_base,
)
from napari_d2r.training import FitResult, fit
from napari_d2r.training._batches import draw_rows, draw_sequences, inner_depths
from napari_d2r.training._losses import restoration_loss
from napari_d2r.training._tasks import gain_db, picture
from napari_d2r.volumes import IntensityRange

Role = Literal["prior", "student"]
logger = logging.getLogger("train_bundled")

SAMPLES = ("fib25_training_sample1.tif", "fib25_training_sample2.tif")
TITLE = "FIB-25, provisional"
ATTRIBUTION = (
    "Trained on FIB-25 training samples 1 and 2 (Drosophila medulla, FIB-SEM, 10 nm), FlyEM, "
    "Janelia Research Campus; Takemura et al., PNAS 2015; data CC BY 3.0 US."
)
NETWORKS: Mapping[Role, tuple[str, Mapping[str, object]]] = {
    "prior": ("lateral", {}),
    "student": ("aenet-fast", {"widths": (40, 80, 96)}),
}
GAP_RANGE = (2.0, 12.0)
JUDGED_GAPS = (3, 5, 8, 12)
HELD_OUT_ROWS = 40
BLURS, BLUR_CHANCES = (0.0, 0.7, 1.2), (0.6, 0.25, 0.15)  # sigma in voxels
ORIENTATIONS = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
SQUARES = LossSettings(l1=0, l2=1)


class Truth:
    """The isotropic samples in unit intensity: parts to learn from, and parts kept back."""

    def __init__(self, data: Path) -> None:
        self.learned: list[list[Tensor]] = []  # per sample, per blur
        self.held_out: list[Tensor] = []
        for name in SAMPLES:
            volume = open_volume(data / "fib25" / name)
            unit = IntensityRange.of(volume).to_unit(volume.read())
            part = unit[:, :-HELD_OUT_ROWS]
            blurred = [gaussian_filter(part, sigma) if sigma else part for sigma in BLURS]
            self.learned.append([torch.from_numpy(np.ascontiguousarray(one)) for one in blurred])
            self.held_out.append(torch.from_numpy(unit[:, -HELD_OUT_ROWS:].copy()))

    def view(self, rng: Generator) -> Tensor:
        """One sample at random, sharp or blurred, with any axis in front."""
        blurs = self.learned[int(rng.integers(len(self.learned)))]
        chosen = blurs[int(rng.choice(len(BLURS), p=BLUR_CHANCES))]
        return chosen.permute(ORIENTATIONS[int(rng.integers(len(ORIENTATIONS)))])


class SupervisedTask:
    """What both roles share: gaps, jitter, and judgement on the rows kept back."""

    def __init__(self, truth: Truth, role: Role, batch: int) -> None:
        self.truth, self.role, self.batch = truth, role, batch

    def loss(self, network: nn.Module, rng: Generator) -> Tensor:
        """Two half batches, each of its own sample, direction and gap."""
        halves = [self._half_batch(network, rng) for _ in range(2)]
        return torch.stack(halves).mean()

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """Mean gain over linear in dB, on a part of what was kept back."""
        scores = held_out_gains(network, self.role, [t[:97, :, :96] for t in self.truth.held_out])
        return {"score": sum(scores.values()) / len(scores), **scores}

    def preview(self, network: nn.Module) -> Mapping[str, NDArray[np.float32]]:
        """The first gap of the slices kept back, at its middle."""
        slices = self.truth.held_out[0][::8]
        request = GapRequest(0, torch.tensor([[0.5]]), log2_of(8))
        return {
            "prediction": picture(predictor_of(network, self.role).predict(slices, request)[0, 0])
        }

    def _half_batch(self, network: nn.Module, rng: Generator) -> Tensor:
        view = self.truth.view(rng)
        coarser = float(np.exp(rng.uniform(0, math.log(2)))) if rng.random() < 0.4 else 1.0
        wanted = np.exp(rng.uniform(*np.log(GAP_RANGE)))
        gap = max(2, round(float(wanted) * coarser))
        log2_gap = math.log2(gap / coarser)
        half = self.batch // 2
        if self.role == "prior":
            columns = round(128 * coarser)
            rows = draw_rows(view, rng, gap=gap, batch=half, num_gaps=8, columns=columns)
            given = _coarsen(rows.rows[:, None], coarser, only_columns=True)[:, 0]
            truth = _coarsen(rows.truth, coarser, only_columns=True)
            given, truth = _jitter(rng, given, truth)
            predicted = network(given, rows.depths, torch.tensor(log2_gap))
        else:
            sequence = draw_sequences(view, rng, gap=gap, batch=half, crop=round(80 * coarser))
            given = _coarsen(sequence.slices, coarser, only_columns=False)
            truth = _coarsen(sequence.truth, coarser, only_columns=False)
            given, truth = _jitter(rng, given, truth)
            log2_gaps = torch.full((len(given),), log2_gap)
            predicted = network(given, sequence.depths, log2_gaps)
        return restoration_loss(predicted, truth, SQUARES)


def _coarsen(planes: Tensor, times: float, *, only_columns: bool) -> Tensor:
    """(B, C, H, W) with pixels ``times`` larger, averaged over; heights stay where told."""
    if times == 1.0:
        return planes
    height, width = planes.shape[-2:]
    size = (height if only_columns else round(height / times), round(width / times))
    return F.interpolate(planes, size=size, mode="bilinear", antialias=True)


def _jitter(rng: Generator, given: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Other gammas, contrasts, offsets and signs for both; other noise for what is given.

    The truth keeps only the noise that it was measured with: what is random in it cannot
    be learned, and more of it would only slow the training down.
    """
    count = len(given)

    def per_example(values: NDArray[np.float64], like: Tensor) -> Tensor:
        return torch.from_numpy(values).to(like).reshape(-1, *[1] * (like.ndim - 1))

    gamma = np.where(rng.random(count) < 0.5, np.exp(rng.uniform(-0.4, 0.4, count)), 1.0)
    gain, offset = rng.uniform(0.6, 1.1, count), rng.uniform(-0.1, 0.2, count)
    inverted = rng.random(count) < 0.3
    sign, shift = np.where(inverted, -1.0, 1.0), np.where(inverted, 1.0, 0.0)
    changed = []
    for planes in (given, truth):
        curved = planes.clamp_min(1e-4) ** per_example(gamma, planes)
        flipped = per_example(shift, planes) + per_example(sign, planes) * curved
        changed.append(flipped * per_example(gain, planes) + per_example(offset, planes))
    noisy = rng.random(count) < 0.4
    sigma = np.where(noisy, np.exp(rng.uniform(math.log(0.01), math.log(0.08), count)), 0.0)
    noise = torch.randn(given.shape) * per_example(sigma, given)
    return changed[0] + noise, changed[1]


def predictor_of(network: nn.Module, role: Role, halo: HaloCard | None = None) -> AxialPredictor:
    """As the engine would use it."""
    return predictor_for(network, architecture_named(NETWORKS[role][0]).contract, halo=halo)


def held_out_gains(network: nn.Module, role: Role, volumes: list[Tensor]) -> dict[str, float]:
    """Gain over aligned linear interpolation in dB by gap, XY slices left out of ``volumes``."""
    predictor = predictor_of(network, role)
    gains = {}
    for gap in JUDGED_GAPS:
        squares = []
        for volume in volumes:
            num_gaps = (len(volume) - 1) // gap
            slices = volume[: num_gaps * gap + 1 : gap]
            truth = volume[: num_gaps * gap].unflatten(0, (num_gaps, gap))[:, 1:]
            depths = torch.from_numpy(inner_depths(gap)).expand(num_gaps, -1)
            found = predictor.predict(slices, GapRequest(0, depths, log2_of(gap)))
            linear = linear_base(slices[:-1], slices[1:], depths)
            squares.append([float((one - truth).square().mean()) for one in (found, linear)])
        gains[f"gap {gap}"] = round(gain_db(squares), 3)
    return gains


def train_role(
    role: Role, truth: Truth, out: Path, settings: OptimizerSettings, seconds: float
) -> None:
    """Fit one network, measure its halo, judge it, and write it with its card."""
    torch.manual_seed(0)
    architecture, options = NETWORKS[role]
    network = build_network(architecture, options)
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    events = fit(
        network,
        SupervisedTask(truth, role, settings.batch),
        settings,
        seed=0,
        device=torch.device("cpu"),
        state_path=work / f"{role}.safetensors",
        identity=f"bundled/{role}",
        max_seconds=seconds,
    )
    result = _followed(events, role)
    whole = torch.cat([truth.learned[0][0], truth.held_out[0]], dim=1)
    halos = [measure_halo(predictor_of(network, role), whole[::gap], gap) for gap in (3, 6)]
    scores = held_out_gains(network, role, truth.held_out)
    card = ModelCard(
        title=TITLE,
        provisional=True,
        architecture=architecture,
        options=describe_config(network),
        role=role,
        gap=round(math.sqrt(GAP_RANGE[0] * GAP_RANGE[1]), 1),
        gap_range=GAP_RANGE,
        voxel_size_nm=(10, 10, 10),
        halo=HaloCard(slices=max(z for z, _ in halos), lateral=max(xy for _, xy in halos)),
        scores=scores,
        trained_on="FIB-25 training samples 1 and 2",
        trained_by=None,
        seconds=round(result.elapsed_s, 1),
        steps=result.steps,
        package_version=version("napari-d2r"),
        licence="BSD-3-Clause",
        attribution=ATTRIBUTION,
    )
    save_model(out / role, network, card)
    shutil.rmtree(work)
    logger.info("%s: %s", role, card.summary)


def _followed(events: Iterator[Event], role: Role) -> FitResult:
    """Say how it goes, and hand on how it ended."""
    last = 0.0
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            result: FitResult = stop.value
            return result
        if isinstance(event, Scalars) and "score" in event.values:
            gains = ", ".join(f"{name} {value:+.2f}" for name, value in event.values.items())
            logger.info("%s, step %d: %s", role, event.step, gains)
        elif isinstance(event, Progress) and event.done - last >= 0.05:
            last = event.done
            logger.info("%s: %.0f %% of the budget", role, 100 * last)


def write_index(out: Path) -> None:
    """Name the model with the larger mean gain as the default."""
    cards = {role: load_card(out / role)[0] for role in NETWORKS if (out / role).is_dir()}
    means = {role: float(np.mean(list(card.scores.values()))) for role, card in cards.items()}
    default = max(means, key=lambda role: means[role])
    reason = f"{default}: {means[default]:+.2f} dB over linear on the rows kept back, all gaps."
    save_index(out, ModelIndex(default=default, models=list(cards), reason=reason))
    logger.info("default %s", reason)


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with fib25/ in it")
    parser.add_argument("out", type=Path, help="folder for the models")
    parser.add_argument("--minutes", type=float, default=60, help="shared by the roles")
    parser.add_argument("--steps", type=int, help="per role; the minutes still hold")
    parser.add_argument("--roles", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    truth = Truth(arguments.data)
    settings = OptimizerSettings(
        learning_rate=2e-3, batch=16, ema_decay=0.998, validate_every=500, max_steps=arguments.steps
    )
    for role in arguments.roles:
        seconds = 60 * arguments.minutes / len(arguments.roles)
        train_role(role, truth, arguments.out, settings, seconds)
    write_index(arguments.out)


if __name__ == "__main__":
    main()
