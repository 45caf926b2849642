"""The continuity loss: little change is better than much, even steps better than uneven ones."""

from __future__ import annotations

import pytest
import torch

from napari_d2r.jobs import LossSettings
from napari_d2r.training._continuity import continuity_loss, gini, gradient_distance
from napari_d2r.training._losses import restoration_loss


@pytest.mark.parametrize(
    ("steps", "expected"),
    [([1, 1, 1, 1], 0), ([0, 0, 0, 1], 3 / 4), ([1, 3], 1 / 4), ([2, 6], 1 / 4), ([5], 0)],
)
def test_gini_by_hand(steps, expected):
    assert float(gini(torch.tensor(steps).float())) == pytest.approx(expected, abs=1e-5)


def test_distance_is_that_of_edges_at_three_scales():
    torch.manual_seed(0)
    a, b = torch.rand(1, 2, 24, 32), torch.rand(1, 2, 24, 32)
    assert torch.equal(gradient_distance(a, a), torch.zeros(1, 2))
    assert torch.allclose(gradient_distance(a, b), gradient_distance(b, a))
    assert torch.allclose(gradient_distance(a + 0.3, b), gradient_distance(a, b), atol=1e-5)
    assert torch.allclose(gradient_distance(2 * a, 2 * b), gradient_distance(a, b), atol=1e-5)
    assert torch.allclose(gradient_distance(a, -a), torch.ones(1, 2), atol=1e-4)
    across = torch.arange(32.0).expand(1, 1, 24, 32)  # edges along one axis, and none at all
    assert float(gradient_distance(across, torch.zeros_like(across))) == pytest.approx(1, abs=1e-4)
    assert float(gradient_distance(across, 3 * across)) == pytest.approx(0.5, abs=1e-4)


def moving(positions: list[float]) -> torch.Tensor:
    """One sequence of slices: a blob that moves along a row."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    frames = [torch.exp(-((y - 20) ** 2 + (x - 10 - p) ** 2) / 40) for p in positions]
    return torch.stack(frames)[None]


def test_even_steps_lose_less_than_a_jump_and_a_frozen_sequence_nothing():
    even, jump, frozen = moving([0, 4, 8, 12]), moving([0, 0, 12, 12]), moving([3, 3, 3, 3])
    assert float(continuity_loss(frozen)) == 0
    assert 0 < float(continuity_loss(even)) < float(continuity_loss(jump))


def test_going_down_its_gradient_evens_the_steps_out():
    slices = moving([0, 1, 9, 10]).requires_grad_()
    before = continuity_loss(slices)
    before.backward()
    assert torch.isfinite(slices.grad).all()
    with torch.no_grad():
        after = continuity_loss(slices - 2 * slices.grad)
    assert float(after) < before.item()


def test_a_single_slice_has_no_continuity():
    one = torch.rand(2, 1, 16, 16, requires_grad=True)
    assert float(continuity_loss(one)) == 0


def test_the_loss_counts_it_where_asked():
    torch.manual_seed(0)
    predicted, truth = torch.rand(2, 3, 24, 24), torch.rand(2, 3, 24, 24)
    alone = restoration_loss(predicted, truth, LossSettings(l1=0, continuity=0.1))
    assert float(alone) == pytest.approx(0.1 * float(continuity_loss(predicted)))
