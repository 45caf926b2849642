"""Masked slices: which rows are known, what the loss asks for, and what it never sees."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_d2r.diffusion import PreservingSchedule
from napari_d2r.jobs import LossSettings, OptimizerSettings, PriorSettings
from napari_d2r.models import architecture_named, build_network
from napari_d2r.training import PRIOR_TASKS
from napari_d2r.training._masked_task import MaskedDenoiserTask, MaskedTask, draw_known_rows
from napari_d2r.training._midpoint_task import MidpointTask
from napari_d2r.training._tasks import held_out_slices

L1 = PriorSettings(
    optimizer=OptimizerSettings(batch=8), loss=LossSettings(l1=1, l2=0), num_gaps=12, columns=24
)
TINY = {"width": 4, "multipliers": [1, 2], "blocks": 1}


def patterned(num_slices: int = 20) -> Tensor:
    """(Z, 48, 44): stripes that curve, every fourth slice of a volume alike in all directions."""
    z, y, x = torch.meshgrid(
        torch.arange(num_slices) * 4, torch.arange(48), torch.arange(44), indexing="ij"
    )
    return 0.5 + 0.4 * torch.sin(2 * math.pi * (x / 17 + y / 21 + z / 40))


class NoiseOfGrey(nn.Module):
    """Of a slice that is 0 everywhere the noise is what is there, over its size at time t."""

    def __init__(self, also_in_known_rows: float = 0.0) -> None:
        super().__init__()
        self.extra, self.share_known = also_in_known_rows, 0.0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        signal = torch.tensor(PreservingSchedule().alpha_bar)[t.long()][:, None, None, None].to(x)
        known = (x == 0).all(3, keepdim=True)
        self.share_known = float(known.float().mean())
        return x / (1 - signal).sqrt() + self.extra * known


def test_the_target_is_the_noise_in_hidden_rows_and_zero_in_known_ones_over_all_pixels():
    grey = torch.full((10, 48, 48), 0.5)  # 0 to the network
    task = MaskedDenoiserTask(grey, 4, L1)
    exact, wrong = NoiseOfGrey(), NoiseOfGrey(also_in_known_rows=1.0)
    for n in range(5):
        assert task.loss(exact, np.random.default_rng(n)).item() < 1e-4
        found = task.loss(wrong, np.random.default_rng(n)).item()
        assert 0.1 < wrong.share_known < 0.42
        assert found == pytest.approx(wrong.share_known, abs=1e-4)


def test_the_regression_is_asked_for_the_whole_clean_slice():
    grey = torch.full((10, 48, 48), 0.75)
    seen: list[Tensor] = []

    def answer(x: Tensor, t: Tensor) -> Tensor:
        seen.append(x)
        return torch.full_like(x, 0.5)  # 0.75 between -1 and 1

    assert MaskedTask(grey, 4, L1).loss(answer, np.random.default_rng(0)).item() < 1e-6
    known = (seen[0] == 0.5).all(3)[:, 0]
    assert set(known.sum(1).tolist()) <= set(range(5, 21))
    assert seen[0][:, 0][~known].std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("rows", "least", "most"), [(48, 5, 20), (96, 10, 40), (24, 2, 10)])
def test_any_number_of_rows_is_known_at_any_place(rows, least, most):
    known = draw_known_rows(np.random.default_rng(0), 16_000, rows)[:, 0, :, 0]
    counts = torch.bincount(known.sum(1), minlength=rows + 1) / len(known)
    expected = torch.zeros(rows + 1)
    expected[least : most + 1] = 1 / (most - least + 1)
    torch.testing.assert_close(counts, expected, rtol=0, atol=0.01)
    often = known.float().mean(0)
    torch.testing.assert_close(
        often, torch.full((rows,), (least + most) / 2 / rows), rtol=0, atol=0.02
    )


def test_a_stack_of_wide_gaps_is_practised_at_its_own_width():
    task = MaskedTask(patterned(), 12, L1.model_copy(update={"num_gaps": 4}))
    draws = (task._draw(np.random.default_rng(n))[1] for n in range(9))
    fewest = min(int(known.sum((1, 2, 3)).min()) for known in draws)
    assert fewest == round(44 / 12)


@pytest.mark.parametrize("make", [MaskedTask, MaskedDenoiserTask])
def test_held_out_slices_take_no_part_in_training(make):
    held_out = held_out_slices(20)
    spoilt = patterned()
    spoilt[held_out] = math.nan
    network = build_network("ms-unet", TINY)
    task = make(spoilt, 4, L1)
    with torch.no_grad():
        losses = [task.loss(network, np.random.default_rng(n)).item() for n in range(6)]
    assert np.isfinite(losses).all()
    judged = torch.full_like(spoilt, math.nan)
    judged[held_out] = patterned()[held_out]
    with torch.no_grad():
        assert math.isfinite(make(judged, 4, L1).validate(network)["score"])


def test_channels_are_learned_together():
    volume = torch.stack([patterned(), 1 - patterned(), patterned() / 2])
    for make in (MaskedTask, MaskedDenoiserTask):
        task = make(volume, 4, L1)
        network = build_network("msdsr-unet", TINY | {"in_channels": 3, "out_channels": 3})
        assert math.isfinite(task.loss(network, np.random.default_rng(0)).item())
        with torch.no_grad():
            assert math.isfinite(task.validate(network)["score"])
            assert task.preview(network)["prediction"].ndim == 2


def test_three_slices_keep_their_colours_in_either_order():
    """Red is a ramp along z, the others are constant: only red has a step between slices."""
    z = torch.arange(20.0)[:, None, None].expand(20, 48, 44) / 20
    volume = torch.stack([z, torch.full_like(z, 0.25), torch.full_like(z, 0.75)])
    task = MidpointTask(volume, 4, L1)
    rises = set()
    for n in range(8):
        below, middle, above = task._draw(np.random.default_rng(n))
        assert below.shape == middle.shape == above.shape == (8, 3, 24, 24)
        assert torch.all(middle[:, 1] == 0.25) and torch.all(middle[:, 2] == 0.75)
        torch.testing.assert_close((below + above) / 2, middle)
        rises.add(bool((above - below)[0, 0, 0, 0] > 0))
    assert rises == {True, False}


def test_two_slices_in_colour_go_in_and_one_comes_out():
    volume = torch.stack([patterned(), 1 - patterned(), patterned() / 2])
    task = MidpointTask(volume, 4, L1)
    network = build_network("e2e-unet", TINY | {"in_channels": 6, "out_channels": 3})
    with torch.no_grad():
        assert math.isfinite(task.loss(network, np.random.default_rng(0)).item())
        assert math.isfinite(task.validate(network)["score"])
        assert {image.shape for image in task.preview(network).values()} == {(13, 44)}


@pytest.mark.parametrize("name", ["ms-unet", "msdsr-unet", "e2e-unet", "emdiffuse-unet"])
def test_a_batch_can_be_learned_by_heart(name):
    torch.manual_seed(0)
    network = build_network(name, {"width": 8, "multipliers": [1, 2], "blocks": 1})
    task = PRIOR_TASKS[architecture_named(name).contract](patterned(), 4, L1)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        torch.manual_seed(1)
        loss = task.loss(network, np.random.default_rng(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():
        pictures = task.preview(network.eval())
    assert pictures.keys() == {"linear", "prediction", "truth"}
    assert len({image.shape for image in pictures.values()}) == 1


@pytest.mark.parametrize("name", ["midpoint", "midpoint-denoiser"])
def test_the_end_of_y_is_kept_back_between_slices(name):
    network = build_network("e2e-unet" if name == "midpoint" else "emdiffuse-unet", TINY)
    spoilt = patterned()
    spoilt[:, -13:] = math.nan  # three gaps and one row
    task = PRIOR_TASKS[name](spoilt, 4, L1)
    with torch.no_grad():
        losses = [task.loss(network, np.random.default_rng(n)).item() for n in range(6)]
    assert np.isfinite(losses).all()
    judged = patterned()
    judged[:, :-13] = math.nan
    with torch.no_grad():
        assert math.isfinite(PRIOR_TASKS[name](judged, 4, L1).validate(network)["score"])
