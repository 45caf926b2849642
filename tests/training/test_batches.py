"""Training examples: the truth lies exactly where it should, and never along z.

The volumes here encode the coordinates of their voxels, so that every number of a batch
tells where it came from.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from napari_d2r.training._batches import (
    GapMix,
    MeasurementNoise,
    draw_blocks,
    draw_rows,
    draw_sequences,
    inner_depths,
)
from napari_d2r.training._measurement import Measurement
from napari_d2r.volumes import Degradation

SHAPE = (11, 40, 37)


def encoded() -> torch.Tensor:
    """(Z, Y, X) with value 10000 z + 100 y + x: exact in float32."""
    z, y, x = (torch.arange(n, dtype=torch.float32) for n in SHAPE)
    return 10_000 * z[:, None, None] + 100 * y[:, None] + x


def decoded(values: torch.Tensor) -> torch.Tensor:
    """(..., 3) integers z, y, x."""
    v = values.round().long()
    return torch.stack([v // 10_000, v // 100 % 100, v % 100], dim=-1)


def require_runs(along: torch.Tensor, step: int) -> set[int]:
    """Each row (B, N) goes up or down by ``step``; returns the directions that occur."""
    differences = along.diff(dim=1)
    assert (differences.abs() == step).all()
    assert (differences == differences[:, :1]).all()
    return set(torch.sign(differences[:, 0]).tolist())


@pytest.mark.parametrize("gap", [2, 3, 8])
def test_rows_and_the_rows_left_out_between_them(gap):
    batch = draw_rows(
        encoded(), np.random.default_rng(gap), gap=gap, batch=40, num_gaps=4, columns=20
    )
    assert batch.rows.shape == (40, 5, 20)
    assert batch.truth.shape == (40, 4, gap - 1, 20)
    assert batch.depths.tolist() == [pytest.approx([m / gap for m in range(1, gap)])]
    assert float(batch.log2_gap) == pytest.approx(math.log2(gap))
    # Put together again, each crop is a contiguous piece of one XY slice.
    with_truth = torch.cat([batch.rows[:, :-1, None], batch.truth], dim=2).flatten(1, 2)
    crops = decoded(torch.cat([with_truth, batch.rows[:, -1:]], dim=1))  # (40, 4 gap + 1, 20, 3)
    z = crops[..., 0]
    assert (z == z[:, :1, :1]).all()
    assert len(z.unique()) > 5
    for half, row_axis in ((crops[:20], 1), (crops[20:], 2)):  # rows along y, then along x
        column_axis = 3 - row_axis
        down, across = half[..., row_axis], half[..., column_axis]
        assert (down == down[:, :, :1]).all()
        assert (across == across[:, :1]).all()
        assert require_runs(down[:, :, 0], 1) == {-1, 1}
        assert require_runs(across[:, 0], 1) == {-1, 1}


def test_truth_at_depth_d_is_where_linear_interpolation_of_a_ramp_puts_it():
    """A half-step or reversed depth would show as a shift."""
    batch = draw_rows(encoded(), np.random.default_rng(0), gap=8, batch=10, num_gaps=3, columns=10)
    d = batch.depths[..., None]
    linear = batch.rows[:, :-1, None] * (1 - d) + batch.rows[:, 1:, None] * d
    torch.testing.assert_close(batch.truth, linear, rtol=1e-6, atol=1e-2)


def test_rows_are_never_sampled_along_z():
    flat = torch.arange(11.0)[:, None, None].expand(SHAPE).contiguous()
    batch = draw_rows(flat, np.random.default_rng(0), gap=8, batch=32, num_gaps=4, columns=20)
    first = batch.rows[:, :1, :1]
    assert (batch.rows == first).all()
    assert (batch.truth == first[..., None]).all()
    assert len(first.unique()) > 5


def test_crops_shrink_to_what_the_slices_offer():
    batch = draw_rows(encoded(), np.random.default_rng(0), gap=8, batch=4, num_gaps=99, columns=999)
    assert batch.rows.shape == (4, 5, 37)  # 36 // 8 gaps on the shorter axis
    single = draw_rows(encoded(), np.random.default_rng(0), gap=36, batch=1, num_gaps=8, columns=16)
    assert single.rows.shape == (1, 2, 16)


@pytest.mark.parametrize("gap", [2, 3, 8])
def test_sequences_are_lateral_and_the_truth_is_between_the_middle_two(gap):
    batch = draw_sequences(
        encoded(), np.random.default_rng(gap), gap=gap, batch=40, crop=9, end_chance=0
    )
    assert batch.slices.shape == (40, 4, 9, 9)
    assert batch.truth.shape == (40, gap - 1, 9, 9)
    assert batch.log2_gap.tolist() == pytest.approx([math.log2(gap)] * 40)
    slices, truth = decoded(batch.slices), decoded(batch.truth)
    for number, (through_axis, along_axis) in enumerate(((1, 2), (2, 1))):
        half = slice(20 * number, 20 * (number + 1))
        position, rows, along = (slices[half][..., axis] for axis in (through_axis, 0, along_axis))
        # Each picture is an XZ or YZ plane: z down its rows, one place in the sequence.
        assert (position == position[..., :1, :1]).all()
        assert require_runs(rows[:, 0, :, 0], 1) == {-1, 1}
        assert (rows == rows[:, :1, :, :1]).all()
        assert require_runs(along[:, 0, 0], 1) == {-1, 1}
        assert (along == along[:, :1, :1]).all()
        # The sequence walks laterally, a gap at a time ..
        assert require_runs(position[:, :, 0, 0], gap) == {-1, 1}
        # .. and the truth stands at its depths between slices 1 and 2, on the same picture.
        below, above = position[:, 1:2], position[:, 2:3]
        wanted = below + batch.depths[half, :, None, None] * (above - below)
        found = truth[half][..., through_axis].float()
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
        for axis in (0, along_axis):
            assert (truth[half][..., axis] == slices[half][:, 1:2][..., axis]).all()


@pytest.mark.parametrize("gap", [2, 3, 8])
def test_blocks_are_lateral_and_hold_all_that_lies_between(gap):
    batch = draw_blocks(
        encoded(), np.random.default_rng(gap), gap=gap, batch=40, num_slices=4, crop=9
    )
    assert batch.slices.shape == (40, 4, 9, 9)
    assert batch.truth.shape == (40, 3, gap - 1, 9, 9)
    slices, truth = decoded(batch.slices), decoded(batch.truth)
    for number, (through_axis, along_axis) in enumerate(((1, 2), (2, 1))):
        half = slice(20 * number, 20 * (number + 1))
        position = slices[half][..., through_axis]
        assert (position == position[..., :1, :1]).all()
        assert require_runs(position[:, :, 0, 0], gap) == {-1, 1}
        steps = torch.arange(1, gap)[:, None, None] * (position.diff(dim=1) // gap)[:, :, None]
        assert (truth[half][..., through_axis] == position[:, :-1, None] + steps).all()
        for axis in (0, along_axis):
            assert (truth[half][..., axis] == slices[half][:, :1, None][..., axis]).all()


def test_blocks_hold_as_many_slices_as_the_volume_has():
    shortest = min(encoded().shape[1:])
    gap = (shortest - 1) // 2
    batch = draw_blocks(encoded(), np.random.default_rng(0), gap=gap, batch=1, num_slices=9, crop=9)
    assert batch.slices.shape == (1, 3, 9, 9)


def test_sequences_never_walk_along_z():
    flat = torch.arange(11.0)[:, None, None].expand(SHAPE).contiguous()
    batch = draw_sequences(flat, np.random.default_rng(0), gap=4, batch=32, crop=9, end_chance=0)
    assert (batch.slices == batch.slices[:, :1]).all()
    assert (batch.truth == batch.slices[:, :1]).all()
    assert not (batch.slices == batch.slices[:, :, :1]).all()


def test_ends_are_practised_by_replicating_a_neighbour():
    batch = draw_sequences(
        encoded(), np.random.default_rng(0), gap=3, batch=64, crop=9, end_chance=0.5
    )
    first = (batch.slices[:, 0] == batch.slices[:, 1]).all(dim=(1, 2))
    last = (batch.slices[:, 3] == batch.slices[:, 2]).all(dim=(1, 2))
    for ends in (first, last):
        assert 16 < int(ends.sum()) < 48
    assert len(set(zip(first.tolist(), last.tolist(), strict=True))) == 4  # independent
    clean = draw_sequences(
        encoded(), np.random.default_rng(0), gap=3, batch=64, crop=9, end_chance=0
    )
    assert torch.equal(batch.truth, clean.truth)
    assert torch.equal(batch.slices[:, 1:3], clean.slices[:, 1:3])


def test_noise_is_added_to_restored_rows_of_the_input_and_nowhere_else():
    torch.manual_seed(0)
    flat = 1000 * torch.arange(11.0)[:, None, None].expand(SHAPE).contiguous()
    batch = draw_sequences(
        flat,
        np.random.default_rng(0),
        gap=2,
        batch=64,
        crop=11,
        noise=MeasurementNoise(sigma=2.0, k=5),
        end_chance=0,
    )
    z = (batch.truth[:, :1] / 1000).round()
    assert torch.equal(batch.truth, 1000 * z.expand_as(batch.truth))  # the truth is clean
    noise = batch.slices - 1000 * z
    measured = (z % 5 == 0).expand_as(noise)
    assert (noise[measured] == 0).all()
    restored = noise[~measured]
    assert float((restored != 0).float().mean()) > 0.999
    assert float(restored.std()) == pytest.approx(2, rel=0.02)
    first, second = noise[:, 0][~measured[:, 0]], noise[:, 1][~measured[:, 1]]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02


@pytest.mark.parametrize("gap", [4, 8])
@pytest.mark.parametrize(
    "degradation", [Degradation("block"), Degradation("gaussian", 1.5)], ids=lambda d: d.kind
)
def test_blurred_rows_and_sequences_keep_their_phase(degradation, gap):
    """Of a volume that rises evenly along y and x, linear interpolation is the truth."""
    kernel = degradation.kernel(4)
    rows = draw_rows(
        encoded(), np.random.default_rng(0), gap=gap, batch=20, num_gaps=2, columns=9, kernel=kernel
    )
    d = rows.depths[..., None]
    linear = rows.rows[:, :-1, None] * (1 - d) + rows.rows[:, 1:, None] * d
    torch.testing.assert_close(rows.truth, linear, rtol=1e-6, atol=1e-2)
    sequences = draw_sequences(
        encoded(),
        np.random.default_rng(0),
        gap=4,
        batch=20,
        crop=7,
        end_chance=0,
        kernel=kernel,
    )
    d = sequences.depths[..., None, None]
    linear = sequences.slices[:, 1:2] * (1 - d) + sequences.slices[:, 2:3] * d
    torch.testing.assert_close(sequences.truth, linear, rtol=1e-6, atol=1e-2)


def test_measured_slices_that_are_blurred_are_to_be_restored_themselves():
    blurred, block = Degradation("gaussian", 2.0).kernel(4), Degradation("block").kernel
    assert Measurement(blurred, 4).depths.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert Measurement(block(3), 3).depths.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    # Between the centres of means over four there is no slice at either.
    assert Measurement(block(4), 4).depths.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert Measurement(block(4), 4).wanted.tolist() == [2, 3, 4, 5]


def test_rows_are_blurred_by_the_kernel_and_nothing_else():
    impulse = torch.zeros(1, 41, 41)
    impulse[0, 20] = 1  # a bright row in the middle
    kernel = Degradation("gaussian", 2.0).kernel(8)
    batch = draw_rows(
        impulse, np.random.default_rng(0), gap=8, batch=1, num_gaps=9, columns=5, kernel=kernel
    )
    assert batch.rows.shape == (1, 4, 5)  # 41 rows hold three gaps and two tails
    measured = Degradation("gaussian", 2.0).matrix(41, 8)[:, 20]
    found = batch.rows[0, :, 0].numpy()
    np.testing.assert_allclose(found, measured[1:5], atol=1e-6)


def test_draws_depend_on_the_generator_alone():
    for draw in (
        lambda seed: (
            draw_rows(
                encoded(), np.random.default_rng(seed), gap=4, batch=6, num_gaps=3, columns=12
            ).truth
        ),
        lambda seed: (
            draw_sequences(encoded(), np.random.default_rng(seed), gap=4, batch=6, crop=9).truth
        ),
    ):
        assert torch.equal(draw(3), draw(3))
        assert not torch.equal(draw(3), draw(4))


def test_inner_depths():
    assert inner_depths(4).tolist() == [0.25, 0.5, 0.75]
    assert inner_depths(8).dtype == np.float32


def drawn(mix: GapMix, longest: int = 1000, count: int = 4000) -> Counter[int]:
    rng = np.random.default_rng(0)
    return Counter(mix.draw(rng, longest) for _ in range(count))


def test_mostly_the_factor_itself_then_twice_and_a_few_others():
    gaps = drawn(GapMix(8))
    assert set(gaps) <= set(range(2, 17))
    assert gaps[8] / 4000 == pytest.approx(0.85, abs=0.03)
    assert gaps[16] / 4000 == pytest.approx(0.1, abs=0.02)
    assert len(gaps) == 15  # 2 .. 16 are all met


def test_a_real_factor_is_practised_at_its_neighbours_in_proportion():
    gaps = drawn(GapMix(2.727, double=0, other=0))
    assert set(gaps) == {2, 3}
    assert gaps[3] / 4000 == pytest.approx(0.727, abs=0.03)


@pytest.mark.parametrize("factor", [1.5, 2, 2.727, 16])
def test_gaps_stay_between_two_and_what_fits(factor):
    gaps = drawn(GapMix(factor))
    assert min(gaps) == 2 if factor < 3 else min(gaps) >= 2
    assert max(gaps) <= math.ceil(2 * factor)
    assert max(drawn(GapMix(factor), longest=5)) <= 5
