"""Losses of stage III against scikit-image and against formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as reference_ssim

from napari_d2r.jobs import LossSettings
from napari_d2r.training._losses import (
    cubic_weighted_loss,
    focal_frequency_loss,
    restoration_loss,
    structural_similarity,
)
from napari_d2r.volumes import interpolate_axial


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.random(shape, np.float32))
    noise = torch.from_numpy(rng.standard_normal(shape, np.float32))
    return (truth + 0.2 * noise).clamp(0, 1), truth


def test_ssim_is_the_gaussian_variant_of_scikit_image():
    predicted, truth = pair(2, 3, 40, 33)
    expected = [
        reference_ssim(
            t.numpy(),
            p.numpy(),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for p, t in zip(predicted.flatten(0, 1), truth.flatten(0, 1), strict=True)
    ]
    assert float(structural_similarity(predicted, truth)) == pytest.approx(
        np.mean(expected), abs=1e-4
    )
    assert float(structural_similarity(truth, truth)) == pytest.approx(1, abs=1e-6)


def test_ssim_keeps_its_accuracy_under_autocast():
    predicted, truth = pair(2, 3, 24, 24)
    accurate = structural_similarity(predicted, truth)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(structural_similarity(predicted, truth), accurate)


@pytest.mark.parametrize("size", [(8, 40), (1, 16), (10, 10)])
def test_ssim_of_pictures_smaller_than_its_window(size):
    """A crop is as high as the pseudo-HR volume, which four slices at k = 3 make 10 rows."""
    predicted, truth = pair(2, 3, *size)
    assert float(structural_similarity(truth, truth)) == pytest.approx(1, abs=1e-6)
    assert 0 < float(structural_similarity(predicted, truth)) < 1


def test_focal_frequency_loss_written_out():
    predicted, truth = pair(2, 3, 12, 9)
    per_image = []
    for p, t in zip(predicted.flatten(0, 1), truth.flatten(0, 1), strict=True):
        spectra = [np.fft.fft2(image.double().numpy()) / np.sqrt(12 * 9) for image in (p, t)]
        distance = np.abs(spectra[0] - spectra[1])
        weight = distance / distance.max()
        per_image.append(np.mean(weight * distance**2))
    found = float(focal_frequency_loss(predicted, truth))
    assert found == pytest.approx(np.mean(per_image), rel=1e-4)
    assert float(focal_frequency_loss(truth, truth)) == 0


def test_focal_weights_are_not_differentiated():
    """The gradient of mean(w d^2) with w held fixed is 2 w d / N in each frequency."""
    predicted, truth = pair(1, 1, 8, 8)
    predicted.requires_grad_()
    focal_frequency_loss(predicted, truth).backward()
    error = np.fft.fft2((predicted - truth).detach().double().numpy()[0, 0], norm="ortho")
    weight = np.abs(error) / np.abs(error).max()
    expected = np.fft.ifft2(2 * weight * error / 64, norm="ortho").real
    np.testing.assert_allclose(predicted.grad[0, 0].numpy(), expected, atol=1e-7)


def test_squares_weigh_twice_where_cubic_interpolation_errs_most():
    """Against the interpolation of the engine, block by block."""
    slices = pair(2, 5, 6, 7)[1]
    predicted, truth = pair(2, 4, 3, 6, 7)
    per_block = []
    for block, p, t in zip(slices.numpy(), predicted.numpy(), truth.numpy(), strict=True):
        positions = (np.arange(4)[:, None] + np.arange(1, 4) / 4).ravel()
        cubic = interpolate_axial(block, positions, "cubic").reshape(t.shape)
        error = (cubic - t) ** 2
        per_block.append(np.mean((p - t) ** 2 * (error / (2 * error.max()) + 0.5)))
    found = float(cubic_weighted_loss(predicted, truth, slices))
    assert found == pytest.approx(np.mean(per_block), rel=1e-5)
    assert float(cubic_weighted_loss(truth, truth, slices)) == 0


def test_the_loss_is_the_weighted_sum_of_those_asked_for():
    predicted, truth = pair(2, 3, 24, 24)
    parts = {
        "l1": (predicted - truth).abs().mean(),
        "l2": (predicted - truth).square().mean(),
        "ssim": 1 - structural_similarity(predicted, truth),
        "ffl": focal_frequency_loss(predicted, truth),
    }
    none = dict.fromkeys(parts, 0.0)
    for name, part in parts.items():
        alone = restoration_loss(predicted, truth, LossSettings(**(none | {name: 3.0})))
        assert float(alone) == pytest.approx(3 * float(part), rel=1e-6)
    published = restoration_loss(predicted, truth, LossSettings(l1=1, l2=0, ssim=1, ffl=100))
    expected = parts["l1"] + parts["ssim"] + 100 * parts["ffl"]
    assert float(published) == pytest.approx(float(expected), rel=1e-6)


def test_the_gradient_is_finite_where_prediction_and_truth_agree():
    truth = pair(1, 1, 24, 24)[1]
    predicted = truth.clone().requires_grad_()
    restoration_loss(predicted, truth, LossSettings(l1=1, l2=1, ssim=1, ffl=100)).backward()
    assert torch.isfinite(predicted.grad).all()
