"""Train the models that ship with napari-d2r, supervised by isotropic truth.

    python scripts/train_bundled.py DATA OUT [--samples 1 2] [--roles prior student]

``DATA/fib25`` holds the two isotropic FIB-25 training samples (250^3 voxels of 10 nm, CC BY
3.0 US). Both networks are fitted by the engine's own loop to all directions of the samples: the
``prior`` restores slices with rows left out, the ``student`` predicts the slices between four
parallel ones. The gap is drawn anew for every batch, evenly in log from 2 to 12; contrast, sign,
noise, blur and pixel size vary. The last rows of y take no part in training; there, XY slices
are left out and predicted.

``--samples 1`` learns from one sample alone, so that the other can judge what was learned. Steps
and seed fix the result; the time they take is written into the card. Afterwards
``learn_uncertainty.py`` and ``model_cards.py`` measure what else the card says.
"""

from __future__ import annotations

import argparse
import logging
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_d2r.checkpoints import (
    HaloCard,
    ModelCard,
    ModelIndex,
    load_card,
    save_index,
    save_model,
)
from napari_d2r.inference import AxialPredictor, measure_halo, predictor_for
from napari_d2r.io import open_volume
from napari_d2r.jobs import Event, OptimizerSettings, Progress, Scalars
from napari_d2r.models import architecture_named, build_network, describe_config
from napari_d2r.training import FitResult, SupervisedTask, Variety, fit
from napari_d2r.volumes import IntensityRange

Role = Literal["prior", "student"]
logger = logging.getLogger("train_bundled")

TITLE = "FIB-25"
ATTRIBUTION = (
    "Trained on FIB-25 training samples 1 and 2 (Drosophila medulla, FIB-SEM, 10 nm), FlyEM, "
    "Janelia Research Campus; Takemura et al., PNAS 2015; data CC BY 3.0 US."
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network and how it is fitted."""

    architecture: str
    options: Mapping[str, object]
    learning_rate: float
    steps: int


RECIPES: Mapping[Role, Recipe] = {
    "prior": Recipe("lateral", {}, 2e-3, 8000),
    "student": Recipe("aenet-fast", {"widths": (48, 96, 128), "blocks": (1, 1, 2)}, 1e-3, 6000),
}
VARIETY = Variety(blurs={0.0: 0.8, 0.7: 0.12, 1.2: 0.08})
HELD_OUT_ROWS = 40


def unit_samples(data: Path, samples: list[int]) -> list[NDArray[np.float32]]:
    """The isotropic samples in unit intensity."""
    volumes = [open_volume(data / "fib25" / f"fib25_training_sample{n}.tif") for n in samples]
    return [IntensityRange.of(volume).to_unit(volume.read()) for volume in volumes]


def predictor_of(network: nn.Module, role: Role) -> AxialPredictor:
    """As the engine would use it."""
    return predictor_for(network, architecture_named(RECIPES[role].architecture).contract)


def train_role(
    role: Role, truths: list[NDArray[np.float32]], names: str, out: Path, steps: int | None
) -> None:
    """Fit one network, measure its halo, judge it, and write it with its card."""
    torch.manual_seed(0)
    recipe = RECIPES[role]
    network = build_network(recipe.architecture, recipe.options)
    settings = OptimizerSettings(
        method="muon",
        learning_rate=recipe.learning_rate,
        batch=16,
        ema_decay=0.998,
        validate_every=500,
        max_steps=steps or recipe.steps,
    )
    contract = architecture_named(recipe.architecture).contract
    task = SupervisedTask(truths, contract, settings, VARIETY, held_out_rows=HELD_OUT_ROWS)
    work = out / f"work-{role}"
    work.mkdir(parents=True, exist_ok=True)
    events = fit(
        network,
        task,
        settings,
        seed=0,
        device=torch.device("cpu"),
        state_path=work / "state.safetensors",
        identity=f"bundled/{role}",
        resume=True,
    )
    result = followed(events, role)
    whole = torch.from_numpy(truths[0])
    halos = [measure_halo(predictor_of(network, role), whole[::gap], gap) for gap in (3, 6)]
    card = ModelCard(
        title=TITLE,
        architecture=recipe.architecture,
        options=describe_config(network),
        role=role,
        gap=round(math.sqrt(math.prod(VARIETY.gaps)), 1),
        gap_range=VARIETY.gaps,
        voxel_size_nm=(10, 10, 10),
        halo=HaloCard(slices=max(z for z, _ in halos), lateral=max(xy for _, xy in halos)),
        scores={name: value for name, value in result.scores.items() if name != "score"},
        trained_on=names,
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


def followed(events: Iterator[Event], role: Role) -> FitResult:
    """Say how it goes, and hand on how it ended."""
    last = 0.0
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            result: FitResult = stop.value
            return result
        if isinstance(event, Scalars) and "gap 8" in event.values:
            gains = ", ".join(f"{name} {value:+.2f}" for name, value in event.values.items())
            logger.info("%s, step %d: %s", role, event.step, gains)
        elif isinstance(event, Progress) and event.done - last >= 0.05:
            last = event.done
            logger.info("%s: %.0f %% of the steps", role, 100 * last)


def write_index(out: Path) -> None:
    """Name the model with the larger mean gain as the default."""
    cards = {role: load_card(out / role)[0] for role in RECIPES if (out / role).is_dir()}
    means = {role: float(np.mean(list(card.scores.values()))) for role, card in cards.items()}
    default = "student" if "student" in cards else "prior"  # several times faster
    reason = f"{default}: {means[default]:+.2f} dB over linear on the rows kept back, all gaps."
    save_index(out, ModelIndex(default=default, models=list(cards), reason=reason))
    logger.info("default %s", reason)


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with fib25/ in it")
    parser.add_argument("out", type=Path, help="folder for the models")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, help="of each role; default: its recipe")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--roles", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    truths = unit_samples(arguments.data, arguments.samples)
    names = "FIB-25 training sample{} {}".format(
        "s" * (len(truths) > 1), " and ".join(map(str, arguments.samples))
    )
    for role in arguments.roles:
        train_role(role, truths, names, arguments.out, arguments.steps)
    write_index(arguments.out)


if __name__ == "__main__":
    main()
