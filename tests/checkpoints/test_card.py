"""Cards for people, and what a card says of a volume."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from napari_d2r.checkpoints import (
    ComputeCard,
    DataCard,
    EvaluationCard,
    ModelCard,
    UseCard,
    bundled_model,
    compare_with_card,
    load_card,
    render_card,
    save_card,
)
from napari_d2r.checkpoints._card_text import SECTIONS
from napari_d2r.inspection import describe_domain
from napari_d2r.jobs import TrainJob
from napari_d2r.samples import make_phantom
from napari_d2r.volumes import Volume, VoxelSize

SIZE = VoxelSize(80, 10, 10)


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    return make_phantom((24, 64, 64))


@pytest.fixture
def bare(pair: Path) -> ModelCard:
    """A card as it was before it could say more."""
    return load_card(pair)[0]


@pytest.fixture
def full(bare: ModelCard, tissue: np.ndarray) -> ModelCard:
    """A card that says all it can."""
    return bare.model_copy(
        update={
            "title": "Flies",
            "licence": "BSD-3-Clause",
            "attribution": "Somebody, CC BY.",
            "uses": UseCard(intended=("Fly brains.",), out_of_scope=("Mice.",)),
            "data": (
                DataCard(
                    name="medulla.tif",
                    species="Drosophila melanogaster",
                    tissue="medulla",
                    instrument="FIB-SEM",
                    voxel_size_nm=(10, 10, 10),
                    shape=(250, 250, 250),
                    licence="CC BY 3.0",
                ),
            ),
            "evaluation": (
                EvaluationCard(
                    volume="mouse.tif",
                    relation="foreign",
                    measure="XZ",
                    factor=8,
                    gain_db=1.234,
                    psnr_db=math.inf,
                ),
            ),
            "compute": ComputeCard(device="a processor", num_threads=2),
            "domain": describe_domain([Volume(tissue, SIZE)]),
        }
    )


def headings(text: str, level: int) -> list[str]:
    marks = "#" * level + " "
    return [line[len(marks) :] for line in text.splitlines() if line.startswith(marks)]


def test_every_card_has_the_nine_sections(bare: ModelCard, full: ModelCard) -> None:
    for card in (bare, full):
        for level in (1, 2):
            text = render_card(card, level)
            assert headings(text, level + 1) == list(SECTIONS)
            assert len(headings(text, level)) == 1
        assert "None" not in text
        assert "{" not in text
    assert "not stated" in render_card(bare)
    assert "| stack.tif | – | leave-one-out | – | +1.25 | – |" in render_card(bare)


def test_a_card_says_what_it_knows(full: ModelCard, pair: Path) -> None:
    text = render_card(full)
    for words in (
        "# Flies: student",
        "- Fly brains.",
        "- Mice.",
        "| medulla.tif | Drosophila melanogaster | medulla | FIB-SEM | 10 x 10 x 10 | "
        "250 x 250 x 250 | CC BY 3.0 | – |",
        "| mouse.tif | foreign | XZ | 8 | +1.23 | inf |",
        "**Species:** Drosophila melanogaster",
        "**Hardware type:** a processor, threads: 2",
        "**Attribution:** Somebody, CC BY.",
        "Pixels of 10 nm.",
        full.weights_sha256,
    ):
        assert words in text, words
    save_card(pair / "student", full)
    assert load_card(pair)[0] == full
    assert (pair / "student" / "card.md").read_text("utf-8") == text


def test_a_card_of_ones_own_tells_how_it_was_made(full: ModelCard) -> None:
    own = full.model_copy(update={"trained_by": TrainJob(start_from="bundled")})
    assert "**Finetuned from model:** bundled" in render_card(own)
    assert "targets of kind prior; batch 16, learning rate 0.002" in render_card(own)


def test_a_stranger_cannot_steer_the_terminal(bare: ModelCard) -> None:
    text = render_card(bare.model_copy(update={"trained_on": "x\x1b[2Jy\x07"}))
    assert "x[2Jy" in text
    assert all(c.isprintable() or c == "\n" for c in text)


def test_a_volume_is_held_against_the_card(full: ModelCard, tissue: np.ndarray) -> None:
    def kinds(volume: Volume, card: ModelCard = full, **more: float) -> list[str]:
        return [f"{one.severity} {one.kind}" for one in compare_with_card(volume, card, **more)]

    volume = Volume(tissue, SIZE)
    assert kinds(volume) == []
    assert kinds(volume, gap=20) == ["warning unlike-gap", "warning unlike"]
    assert kinds(Volume(tissue, VoxelSize(10, 10, 10))) == []  # nothing to do between slices
    far = Volume(tissue, VoxelSize(20000, 1000, 1000))
    *_, last = compare_with_card(far, full)
    assert "(distance of slices, pixel size): measure what is gained" in str(last)
    old = full.model_copy(update={"domain": None})
    assert kinds(far, old) == ["warning unlike-gap", "note unlike-unknown", "warning unlike"]


@pytest.mark.parametrize("role", ["prior", "student"])
def test_the_cards_that_ship_are_full_and_not_stale(role: str) -> None:
    card, folder = load_card(bundled_model(role))
    again = "it is stale: run python scripts/model_cards.py"
    assert (folder / "card.md").read_text("utf-8") == render_card(card), again
    page = (Path(__file__).parents[2] / "docs" / "model-cards.md").read_text("utf-8")
    assert render_card(card, level=2) in page, again
    assert card.domain is not None
    assert card.compute is not None
    assert card.num_parameters
    assert {row.relation for row in card.evaluation} >= {"held out"}
    assert all(one.licence and one.species and one.instrument for one in card.data)
