"""Learn how far bundled models may be off, and write it into their cards.

    python scripts/learn_uncertainty.py DATA [--model FOLDER] [--samples 1 2] [--roles student]

``DATA/fib25`` holds the isotropic FIB-25 samples. Their last rows of y took no part in the
training of the models; there, slices along Z are left out at several gaps and predicted, and
the shape of the errors is fitted (`napari_d2r.inference.learn_uncertainty`). Seeded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from napari_d2r.checkpoints import (
    UncertaintyCard,
    bundled_model,
    load_card,
    load_index,
    load_model,
    save_card,
)
from napari_d2r.inference import learn_uncertainty, predictor_of
from napari_d2r.io import open_volume
from napari_d2r.volumes import IntensityRange

HELD_OUT_ROWS = 40  # as in train_bundled.py


def held_out(data: Path, sample: int) -> torch.Tensor:
    """What no model has learned from, in unit intensity."""
    volume = open_volume(data / "fib25" / f"fib25_training_sample{sample}.tif")
    unit = IntensityRange.of(volume).to_unit(volume.read())
    return torch.from_numpy(unit[:, -HELD_OUT_ROWS:].copy())


def learned(data: Path, folder: Path, samples: Sequence[int]) -> UncertaintyCard:
    """The shapes for the model in a folder."""
    model = load_model(folder)
    names = " and ".join(map(str, samples))
    return learn_uncertainty(
        predictor_of(model),
        [held_out(data, sample) for sample in samples],
        f"rows of FIB-25 training sample {names} that took no part in training",
    )


def main() -> None:
    """Read the arguments, learn, and write the cards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with fib25/ in it")
    parser.add_argument("--model", type=Path, default=bundled_model(), help="folder of models")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--roles", nargs="+", help="those of them; default: all")
    arguments = parser.parse_args()
    index = load_index(arguments.model)
    for name in arguments.roles or (index.models if index else [""]):
        found = learned(arguments.data, arguments.model / name, arguments.samples)
        card, folder = load_card(arguments.model / name)
        save_card(folder, card.model_copy(update={"uncertainty": found}))


if __name__ == "__main__":
    main()
