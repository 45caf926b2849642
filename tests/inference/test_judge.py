"""Leave-one-out against a loop written out; measured halos against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_d2r.inference import (
    GapRequest,
    InterpolationPredictor,
    LateralPredictor,
    SequencePredictor,
    leave_one_out,
    log2_of,
    measure_halo,
)
from napari_d2r.models import LateralNet, LateralNetConfig

TOLERANCE = 0.25 / 255


def patterned(num_slices: int, edge: int) -> torch.Tensor:
    z, y, x = torch.meshgrid(
        torch.arange(num_slices) * 4, torch.arange(edge), torch.arange(edge), indexing="ij"
    )
    torch.manual_seed(0)
    waves = torch.sin(2 * math.pi * (x / 9 + y / 11 + z / 10))
    return 0.5 + 0.4 * waves + 0.02 * torch.randn(waves.shape)


@pytest.mark.parametrize("num_slices", [4, 7, 8])
def test_leave_one_out_slice_by_slice(regressor, num_slices):
    stack = patterned(num_slices, 24)
    found = leave_one_out(regressor, stack, 4)
    assert found.slices == tuple(range(1, num_slices - 1))
    log2_gap, half = torch.full((1,), 3.0), torch.tensor([[0.5]])
    for index, m in enumerate(found.slices):
        others = list(range(m % 2 ^ 1, num_slices, 2))
        at = others.index(m - 1)
        with torch.no_grad():
            if isinstance(regressor, SequencePredictor):
                taps = [others[min(max(at + step, 0), len(others) - 1)] for step in (-1, 0, 1, 2)]
                upright = regressor.network(stack[taps][None], half, log2_gap)[0, 0]
                mirrored = regressor.network(stack[taps[::-1]][None], half, log2_gap)[0, 0]
                guess = (upright + mirrored) / 2
            else:
                kept = stack[others]
                xz, yz = kept.permute(1, 0, 2), kept.flip(0).permute(2, 0, 1)  # YZ upside down
                upright = regressor.network(xz, half, log2_gap[0])[:, at, 0]
                mirrored = regressor.network(yz, half, log2_gap[0])[:, len(others) - 2 - at, 0]
                guess = (upright + mirrored.T) / 2
        linear = (stack[m - 1] + stack[m + 1]) / 2
        assert found.mse[index] == pytest.approx(
            float((guess - stack[m]).square().mean()), rel=1e-4
        )
        expected = float((linear - stack[m]).square().mean())
        assert found.mse_linear[index] == pytest.approx(expected, rel=1e-4)
    gain = 10 * math.log10(np.mean(found.mse_linear) / np.mean(found.mse))
    assert found.gain_db == pytest.approx(gain, abs=1e-6)


def test_linear_gains_nothing_over_itself():
    found = leave_one_out(InterpolationPredictor("linear"), patterned(9, 24), 4)
    assert found.gain_db == pytest.approx(0, abs=1e-4)
    assert leave_one_out(InterpolationPredictor("nearest"), patterned(9, 24), 4).gain_db < -0.3


def change(predictor, stack: torch.Tensor, low: int, high: int, edge: int) -> float:
    """What the middle gap changes by when the stack is cut to slices and pixels."""
    middle, depths = len(stack) // 2 - 1, torch.tensor([[0.25, 0.5]])
    whole = predictor.predict(stack, GapRequest(middle, depths, log2_of(4)))
    part = stack[low:high, edge:, edge:]
    cut = predictor.predict(part, GapRequest(middle - low, depths, log2_of(4)))
    start = stack.shape[1] // 2
    difference = cut[..., start - edge :, start - edge :] - whole[..., start:, start:]
    return float(np.quantile(difference.abs().numpy(), 0.999))


def test_a_measured_halo_is_shorter_and_changes_next_to_nothing(regressor):
    stack = patterned(16, 96)
    slices, lateral = measure_halo(regressor, stack, 4)
    exact, middle = regressor.halo, 7
    assert 1 <= slices <= exact.slices
    assert max(4, exact.stride) <= lateral <= exact.lateral
    assert change(regressor, stack, middle - slices, middle + 2 + slices, 0) <= TOLERANCE
    aligned = (48 - lateral) // exact.stride * exact.stride
    assert change(regressor, stack, 0, 16, aligned) <= TOLERANCE


def test_halos_grow_as_less_change_is_allowed(regressor):
    stack, exact = patterned(16, 96), regressor.halo
    loose, usual, strict = (
        measure_halo(regressor, stack, 4, tolerance) for tolerance in (10, TOLERANCE, -1)
    )
    assert loose == (1, min(max(4, exact.stride), exact.lateral))
    assert strict == (exact.slices, exact.lateral)
    for axis in (0, 1):
        assert loose[axis] <= usual[axis] <= strict[axis]


@pytest.mark.parametrize("num_slices", [4, 6, 7, 8, 9])
def test_a_stack_too_small_to_tell_gives_the_exact_halo(num_slices):
    """Cutting nothing away changes nothing, which proves nothing."""
    torch.manual_seed(0)
    network = LateralNet(LateralNetConfig(widths=(6, 8), blocks=(2, 2)))
    torch.nn.init.normal_(network.head.generate.weight, std=0.5)
    predictor = LateralPredictor(network)
    assert predictor.halo.slices == 6
    slices, lateral = measure_halo(predictor, patterned(num_slices, 12), 4, tolerance=0)
    assert (slices, lateral) == (6, predictor.halo.lateral)
