"""Noise keyed by position: agreement of windows, independence of keys, whiteness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_d2r.diffusion import NoiseField

FIELD = NoiseField(seed=7, shared=False)


def test_shape_and_type():
    noise = FIELD.draw(0, [3, 4, 9], 10, 20, 33, 65)
    assert noise.shape == (3, 1, 33, 65)
    assert noise.dtype == torch.float32


@given(
    row=st.integers(-130, 130),
    col=st.integers(-130, 130),
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    shared=st.booleans(),
)
def test_any_window_is_cut_from_one_field(row, col, height, width, shared):
    field = NoiseField(seed=3, shared=shared)
    whole = field.draw(2, [5, 6], -130, -130, 390, 390)
    window = field.draw(2, [6], row, col, height, width)
    rows = slice(row + 130, row + 130 + height)
    cols = slice(col + 130, col + 130 + width)
    assert torch.equal(window, whole[1:, :, rows, cols])


def test_batch_and_order_do_not_matter():
    together = FIELD.draw(1, [4, 2, 8], 0, 0, 40, 40)
    for k, number in enumerate([4, 2, 8]):
        assert torch.equal(FIELD.draw(1, [number], 0, 0, 40, 40)[0], together[k])


def test_shared_fields_are_one_field_for_all_slices():
    noise = NoiseField(seed=7, shared=True).draw(0, [3, 1000], 5, 5, 20, 20)
    assert torch.equal(noise[0], noise[1])


def draw_near(
    seed: int = 7, step: int = 0, number: int = 0, row: int = 0, col: int = 0
) -> np.ndarray:
    return NoiseField(seed, False).draw(step, [number], row, col, 256, 256).numpy().ravel()


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 8},
        {"step": 1},
        {"number": 1},
        {"row": 64},
        {"col": 64},
        {"row": -64},
        {"row": 1},
        {"col": 1},
    ],
)
def test_other_keys_give_unrelated_noise(other):
    correlation = np.corrcoef(draw_near(), draw_near(**other))[0, 1]
    assert abs(correlation) < 4 / 256  # four standard errors


def test_standard_normal_and_white():
    noise = FIELD.draw(0, range(4), -300, 700, 512, 512).numpy().astype(np.float64)
    count = noise.size
    assert noise.mean() == pytest.approx(0, abs=4 / count**0.5)
    assert noise.var() == pytest.approx(1, abs=4 * (2 / count) ** 0.5)
    assert (noise**4).mean() == pytest.approx(3, abs=4 * (96 / count) ** 0.5)
    power = (np.abs(np.fft.fft2(noise[:, 0])) ** 2 / 512**2).mean(axis=0)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512), indexing="ij"))
    for low in np.arange(0.05, 0.5, 0.05):
        shell = power[(radius >= low) & (radius < low + 0.05)]
        assert shell.mean() == pytest.approx(1, abs=4 * (0.5 / shell.size) ** 0.5)
