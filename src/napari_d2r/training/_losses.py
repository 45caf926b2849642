"""Losses: L1, L2, structural similarity, focal frequency, continuity, squares by difficulty."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_d2r.jobs import LossSettings
from napari_d2r.training._continuity import continuity_loss


def restoration_loss(predicted: Tensor, truth: Tensor, weights: LossSettings) -> Tensor:
    """Weighted sum of the losses that ``weights`` asks for; tensors (B, D, H, W)."""
    difference = predicted - truth
    total = predicted.new_zeros(())
    if weights.l1:
        total = total + weights.l1 * difference.abs().mean()
    if weights.l2:
        total = total + weights.l2 * difference.square().mean()
    if weights.ssim:
        total = total + weights.ssim * (1 - structural_similarity(predicted, truth))
    if weights.ffl:
        total = total + weights.ffl * focal_frequency_loss(predicted, truth)
    if weights.continuity:
        total = total + weights.continuity * continuity_loss(predicted, weights.perception)
    return total


def structural_similarity(a: Tensor, b: Tensor, sigma: float = 1.5, size: int = 11) -> Tensor:
    """Mean SSIM (Wang et al. 2004), Gaussian window, data range 1; tensors (B, D, H, W).

    In float32 even under autocast, because variances are small differences of squares. The
    window shrinks along an axis that is shorter than it.
    """
    a, b = a.float(), b.float()
    down, across = (_gaussian(sigma, min(size, length), length, a) for length in a.shape[-2:])

    def blur(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return down @ x @ across.T

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    contrast: Tensor = (2 * covariance + c2) / (var_a + var_b + c2)
    similarity: Tensor = (luminance * contrast).mean()
    return similarity


def focal_frequency_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Focal frequency loss (Jiang et al. 2021, alpha = 1) over the last two axes, in float32.

    Squared spectral differences weighted by their own magnitude, normalised per image.
    """
    spectrum = torch.fft.fft2((predicted - truth).float(), norm="ortho")
    power = spectrum.real**2 + spectrum.imag**2
    weight = power.detach().sqrt()
    weight = weight / weight.amax((-2, -1), keepdim=True).clamp_min(1e-12)
    loss: Tensor = (weight * power).mean()
    return loss


def cubic_weighted_loss(predicted: Tensor, truth: Tensor, slices: Tensor) -> Tensor:
    """Squared differences that count up to twice as much where cubic interpolation errs.

    Each weight is (1 + e / max e) / 2, where e is the squared error of Catmull-Rom interpolation
    (Keys 1981) there and its maximum that of the block (Heinrich et al. 2017).

    Parameters
    ----------
    predicted, truth
        (B, J - 1, D, H, W), evenly spaced within the gaps of ``slices`` (B, J, H, W).
    """
    depths = torch.arange(1, truth.shape[2] + 1) / (truth.shape[2] + 1)
    error = (_catmull_rom(slices, depths) - truth).square()
    largest = error.flatten(1).amax(1).clamp_min(1e-12)[:, None, None, None, None]
    weight = (1 + error / largest) / 2
    loss: Tensor = (weight * (predicted - truth).square()).mean()
    return loss


def _catmull_rom(slices: Tensor, depths: Tensor) -> Tensor:
    """(B, J, H, W) at depths (D,) of every gap; slices beyond the ends go on linearly."""
    before, after = 2 * slices[:, :1] - slices[:, 1:2], 2 * slices[:, -1:] - slices[:, -2:-1]
    taps = torch.cat([before, slices, after], dim=1).unfold(1, 4, 1)  # (B, J - 1, H, W, 4)
    basis = torch.tensor([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    weights = depths[:, None] ** torch.arange(4) @ basis
    return torch.einsum("bjhwk,dk->bjdhw", taps, weights.to(slices))


def _gaussian(sigma: float, size: int, length: int, like: Tensor) -> Tensor:
    """A matrix that slides the longest odd window of at most ``size``, with sum 1, along an axis.

    (length - window + 1, length): products of matrices take a fraction of the time of
    convolutions of one channel.
    """
    radius = (size - 1) // 2
    starts = torch.arange(length - 2 * radius)[:, None]
    offsets = (torch.arange(length) - starts - radius).to(like)
    window = torch.exp(-offsets.square() / (2 * sigma**2)) * (offsets.abs() <= radius)
    return window / window.sum(1, keepdim=True)
