"""Muon: momentum whose matrices are made orthogonal before they are applied.

A convolution's gradient is dominated by a few directions; Adam follows them and learns the
rest late. Muon (Jordan et al. 2024) flattens the averaged gradient of a layer to a matrix and
replaces it by the nearest orthogonal one, so that all directions are learned at once.
Everything that is not a hidden convolution is left to AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Quintic iteration x -> a x + b x^3 + c x^5 on singular values, after which all lie near 1.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
# Below this many channels a matrix is a vector or two, and there is nothing to straighten.
_FEWEST_CHANNELS = 8


class Muon(torch.optim.Optimizer):
    """One optimiser for a whole network: Muon for hidden convolutions, AdamW for the rest.

    Parameters
    ----------
    parameters
        All of a network.
    lr
        AdamW's learning rate; Muon's is ten times that.
    weight_decay
        Of both.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Apply the gradients that the parameters hold."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                apply = self._muon if is_hidden_convolution(weight) else self._adam
                weight.add_(apply(weight), alpha=-group["lr"])

    def _muon(self, weight: Tensor, momentum: float = 0.95, scale: float = 10.0) -> Tensor:
        """Direction of one convolution's weights."""
        state = self.state[weight]
        if not state:
            state["mean"] = torch.zeros_like(weight)
        assert weight.grad is not None
        mean = state["mean"].lerp_(weight.grad, 1 - momentum)
        ahead = weight.grad.lerp(mean, momentum)  # Nesterov's
        rows, columns = weight.shape[0], weight[0].numel()
        straight = orthogonalized(ahead.reshape(rows, columns)).view_as(weight)
        step: Tensor = straight * (scale * max(1.0, rows / columns) ** 0.5)
        return step

    def _adam(self, weight: Tensor, betas: tuple[float, float] = (0.9, 0.99)) -> Tensor:
        """Direction by first and second moments (Kingma and Ba 2015)."""
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        assert weight.grad is not None
        state["step"] += 1
        count = float(state["step"])
        mean = state["mean"].lerp_(weight.grad, 1 - betas[0]) / (1 - betas[0] ** count)
        square = state["square"].lerp_(weight.grad.square(), 1 - betas[1]) / (1 - betas[1] ** count)
        step: Tensor = mean / (square.sqrt() + 1e-8)
        return step


def is_hidden_convolution(weight: Tensor) -> bool:
    """Whether a parameter is a convolution between many channels and many channels."""
    return weight.ndim >= 4 and min(weight.shape[:2]) >= _FEWEST_CHANNELS


def orthogonalized(matrix: Tensor) -> Tensor:
    """Nearly U V^T of the singular value decomposition U S V^T, by Newton and Schulz."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = _A * x + (_B * square + _C * square @ square) @ x
    straight: Tensor = x.T if is_tall else x
    return straight
