"""The optimiser: orthogonal steps for hidden convolutions, AdamW for the rest."""

import pytest
import torch
from torch import nn

from napari_d2r.training._muon import Muon, is_hidden_convolution, orthogonalized


@pytest.mark.parametrize("shape", [(16, 16), (8, 72), (60, 12)])
def test_all_directions_of_a_matrix_become_equally_long(shape):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    skewed = u * torch.logspace(0, -1, min(shape)) @ v
    straight = torch.linalg.svdvals(orthogonalized(skewed))
    assert 0.6 < float(straight.min()) <= float(straight.max()) < 1.3


def test_singular_vectors_stay():
    torch.manual_seed(0)
    matrix = torch.randn(12, 30)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    core = u.T @ orthogonalized(matrix) @ v.T
    assert float((core - core.diag().diag()).abs().max()) < 1e-3


def test_only_convolutions_between_many_channels_are_hidden():
    assert is_hidden_convolution(nn.Conv2d(8, 16, 3).weight)
    assert is_hidden_convolution(nn.Conv3d(8, 8, 3).weight)
    assert not is_hidden_convolution(nn.Conv2d(1, 16, 3).weight)  # a stem
    assert not is_hidden_convolution(nn.Conv2d(16, 1, 7).weight)  # a head
    assert not is_hidden_convolution(nn.Conv2d(16, 16, 3, groups=16).weight)
    assert not is_hidden_convolution(nn.Linear(64, 64).weight)


def test_the_rest_moves_as_adamw_moves_it():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(6, 5), nn.Linear(6, 5)
    theirs.load_state_dict(ours.state_dict())
    muon = Muon(ours.parameters(), lr=3e-3, weight_decay=0.1)
    adamw = torch.optim.AdamW(theirs.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=0.1)
    for step in range(5):
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        for network, optimizer in ((ours, muon), (theirs, adamw)):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.bias, theirs.bias, rtol=0, atol=1e-6)


def test_a_convolution_is_fitted_in_fewer_steps_than_by_adamw():
    """A badly conditioned problem: inputs whose channels differ in size by a factor of 100."""
    torch.manual_seed(0)
    target = nn.Conv2d(16, 16, 3)
    x = torch.randn(4, 16, 12, 12) * torch.logspace(0, -2, 16)[:, None, None]
    wanted = target(x).detach()

    def error_of(optimizer_of) -> float:
        torch.manual_seed(1)
        network = nn.Conv2d(16, 16, 3)
        optimizer = optimizer_of(network.parameters())
        for step in range(60):
            optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / 60)
            optimizer.zero_grad()
            loss = (network(x) - wanted).square().mean()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert error_of(lambda p: Muon(p, lr=2e-3)) < error_of(lambda p: torch.optim.AdamW(p, lr=2e-3))
