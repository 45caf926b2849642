"""A network of whole blocks as stage III: made for the stack, trained, and used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_d2r.api import super_resolve
from napari_d2r.checkpoints import load_card
from napari_d2r.errors import InputError
from napari_d2r.io import open_volume
from napari_d2r.jobs import Finished, TrainJob
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.volumes import Volume, interpolate_axial

BLOCKS = [
    "student.network={architecture: srunet, options: {widths: [4, 6, 6]}}",
    "student.loss={l1: 0, cubic: 1}",
]


def test_srunet_is_trained_for_the_gap_of_the_stack_and_used(
    small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    *_, last = run_train(resolve_train(tiny_job.override(BLOCKS), small, folder))
    assert isinstance(last, Finished) and last.result is not None
    card, _ = load_card(folder / "student")
    assert (card.architecture, card.options["factor"]) == ("srunet", 4)
    assert card.gap_range == (4, 4)
    super_resolve(small, tmp_path / "out.ome.zarr", model=folder / "student")
    values = open_volume(tmp_path / "out.ome.zarr").read()
    assert values.shape == (17, 32, 32)
    np.testing.assert_array_equal(values[::4], small.data)
    linear = interpolate_axial(small.data, np.arange(17) / 4)
    assert (values != linear).any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([*BLOCKS, "student.network.options.factor=3"], "slices 3 lateral voxels apart, these are"),
        (["student.loss.cubic=1"], "for networks of blocks, not for aenet-fast"),
        (["prior.loss.cubic=1"], "for networks of blocks, not for lateral"),
        (["prior.loss.continuity=1"], "for networks of sequences, not for lateral"),
        (["student.loss={continuity: 1, perception: nowhere}"], "nowhere holds neither"),
        ([*BLOCKS, "student.loss={continuity: 1}"], "for networks of sequences, not for srunet"),
        (["student.network.architecture=nafnet"], "does not serve stage III; choose .* or srunet"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(
    settings: list[str], words: str, small: Volume, tiny_job: TrainJob, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        resolve_train(tiny_job.override(settings), small, tmp_path / "model")
