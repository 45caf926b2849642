"""The sliding window: any cut gives the same voxels, measured slices come through exactly."""

from __future__ import annotations

from copy import deepcopy
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_d2r.checkpoints import HaloCard
from napari_d2r.errors import InputError, NotFiniteError
from napari_d2r.inference import (
    AxialPredictor,
    BlockPredictor,
    Box,
    DiffusionPredictor,
    Feeding,
    InterpolationPredictor,
    Interrupted,
    LateralPredictor,
    SequencePredictor,
    _predictors,
    fill_shard,
    predictor_for,
)
from napari_d2r.jobs import CancelToken, SamplerSettings
from napari_d2r.models import build_network
from napari_d2r.volumes import AxialGrid, IntensityRange, Volume, VoxelSize, interpolate_axial

UNIT = IntensityRange(0, 1)
CPU = torch.device("cpu")
SHAPE = (20, 21, 56)


def noise(shape: tuple[int, int, int] = SHAPE) -> Volume:
    """A float volume; noise has no redundancy that would hide a missing halo."""
    data = np.random.default_rng(0).random(shape, np.float32)
    return Volume(data, VoxelSize(4, 1, 1), "noise.tif")


def fill(volume: Volume, factor: float, box: Box | None, predictor: AxialPredictor, **more):
    grid = AxialGrid(volume.shape[0], factor)
    box = box or Box((0, 0, 0), (grid.num_output, *volume.shape[1:]))
    more = {"intensity": UNIT, "gap": factor, "device": CPU} | more
    return fill_shard(volume, grid, box, predictor, **more)


def boxes(shape: tuple[int, ...], edges: tuple[int, int, int]) -> list[Box]:
    starts = product(*(range(0, n, edge) for n, edge in zip(shape, edges, strict=True)))
    return [
        Box(start, tuple(min(a + e, n) for a, e, n in zip(start, edges, shape, strict=True)))
        for start in starts
    ]


@pytest.mark.parametrize("factor", [4, 2.727])
def test_many_boxes_equal_the_whole(predictor, factor):
    """With exact halos; edges that are no multiple of anything."""
    volume = noise()
    whole = fill(volume, factor, None, predictor)
    linear = fill(volume, factor, None, InterpolationPredictor("linear"))
    assert np.abs(whole - linear).max() > 0.05  # there is something to disagree about
    covered = np.zeros(whole.shape, int)
    for box in boxes(whole.shape, (37, 13, 23)):
        region = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
        part = fill(volume, factor, box, predictor)
        assert part.shape == box.shape
        np.testing.assert_allclose(part, whole[region], rtol=0, atol=1e-5)
        covered[region] += 1
    assert (covered == 1).all()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    shape=st.tuples(st.integers(4, 9), st.integers(1, 24), st.integers(1, 24)),
    factor=st.sampled_from([1.5, 2, 3, 8]),
    edges=st.tuples(*[st.integers(1, 24)] * 3),
)
def test_any_shape_cut_in_any_way_equals_the_whole(regressor, shape, factor, edges):
    """Axes shorter than the halo and of length 1 too; up to three boxes along each axis."""
    volume = noise(shape)
    whole = fill(volume, factor, None, regressor)
    edges = tuple(max(e, -(-n // 3)) for e, n in zip(edges, whole.shape, strict=True))
    for box in boxes(whole.shape, edges):
        region = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
        part = fill(volume, factor, box, regressor)
        np.testing.assert_allclose(part, whole[region], rtol=0, atol=1e-5)


def test_a_halo_that_is_too_short_shows(regressor):
    """The test above can fail: without context, seams appear."""
    volume = noise()
    whole = fill(volume, 4, None, regressor)
    short = type(regressor)(regressor.network, HaloCard(slices=0, lateral=0))
    part = fill(volume, 4, Box((0, 0, 0), (40, 16, 24)), short)
    assert np.abs(part - whole[:40, :16, :24]).max() > 1e-3


@pytest.mark.parametrize("factor", [4, 2.727, 3.5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_measured_slices_are_copied_bit_by_bit(regressor, dtype, factor):
    data = (np.random.default_rng(0).random((9, 16, 24)) * 100).astype(dtype)
    data[4, 3, 5] = 120  # outside the intensity range
    volume = Volume(data, VoxelSize(4, 1, 1))
    output = fill(volume, factor, None, regressor, intensity=IntensityRange(13.7, 71.3))
    positions = AxialGrid(9, factor).positions()
    whole = np.flatnonzero(positions % 1 == 0)
    assert len(whole) >= 1
    assert output.dtype == data.dtype
    np.testing.assert_array_equal(output[whole], data[positions[whole].astype(int)])


@pytest.mark.parametrize("factor", [4, 2.727, 3.5])
@pytest.mark.parametrize("kind", ["nearest", "linear", "cubic"])
def test_baselines_are_interpolation_however_they_are_cut(kind, factor):
    volume = noise((8, 12, 14))
    positions = AxialGrid(8, factor).positions()
    expected = interpolate_axial(volume.data, positions, kind)
    for box in boxes(expected.shape, (5, 7, 14)):
        region = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
        part = fill(volume, factor, box, InterpolationPredictor(kind))
        np.testing.assert_allclose(part, expected[region], rtol=0, atol=1e-6)


def test_networks_are_told_the_gap_and_not_the_factor(regressor):
    volume = noise((8, 16, 16))
    as_usual = fill(volume, 4, None, regressor)
    same_depths = fill(volume, 2, None, regressor, gap=4)
    np.testing.assert_allclose(same_depths, as_usual[::2], rtol=0, atol=1e-5)
    other_gap = fill(volume, 4, None, regressor, gap=8)
    assert np.abs(other_gap - as_usual).max() > 1e-3


def test_diffusion_restores_round_gap_rows_and_interpolates_between_them(diffusion):
    volume = noise((8, 16, 16))
    restored = fill(volume, 4, None, diffusion, gap=4)
    finer = fill(volume, 8, None, diffusion, gap=4)
    np.testing.assert_allclose(finer[::2], restored, rtol=0, atol=1e-5)
    between = (restored[:-1] + restored[1:]) / 2
    np.testing.assert_allclose(finer[1::2], between, rtol=0, atol=1e-5)


def test_diffusion_samples_follow_the_seed(diffusion):
    volume = noise((8, 16, 16))
    first, again, other = (
        fill(volume, 4, None, DiffusionPredictor(diffusion.network, diffusion.sampler, seed=seed))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_the_mean_of_many_samples_is_smoother_than_one(diffusion):
    volume = noise((6, 16, 16))
    settings = {"steps": 2, "shared_noise": False}
    one, five = (
        [
            fill(
                volume,
                4,
                None,
                DiffusionPredictor(
                    diffusion.network, SamplerSettings(samples=samples, **settings), seed=seed
                ),
            )
            for seed in (0, 1)
        ]
        for samples in (1, 5)
    )
    assert np.std(five[0] - five[1]) < 0.6 * np.std(one[0] - one[1])


class CancelOnCall(torch.nn.Module):
    """A network that sets the token when it is called, and counts."""

    def __init__(self, network: torch.nn.Module, token: CancelToken) -> None:
        super().__init__()
        self.network, self.token, self.calls = network, token, 0
        for name in (
            "lateral_halo",
            "axial_halo",
            "decoder_halo",
            "lateral_stride",
            "halo",
            "stride",
        ):
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.token.cancel()
        return self.network(*inputs)

    def encode(self, slices: torch.Tensor) -> list[torch.Tensor]:
        """The part of SRUNet that is called first."""
        self.calls += 1
        self.token.cancel()
        return self.network.encode(slices)


def test_cancel_is_honoured_after_one_call(predictor, monkeypatch):
    monkeypatch.setitem(_predictors._PIXELS_AT_ONCE, "cpu", 2000)
    token = CancelToken()
    predictor.network = watched = CancelOnCall(predictor.network, token)
    with pytest.raises(Interrupted):
        fill(noise((12, 20, 20)), 4, None, predictor, cancel=token)
    assert watched.calls <= 2  # two pieces may have been begun at once


def test_a_token_that_is_set_already_stops_everything(predictor):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Interrupted):
        fill(noise((6, 16, 16)), 4, None, predictor, cancel=token)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_refused_where_they_matter(bad):
    volume = noise((12, 16, 16))
    volume.data[9, 3, 3] = bad
    linear = InterpolationPredictor("linear")
    with pytest.raises(InputError, match=r"noise\.tif holds NaN or infinite"):
        fill(volume, 4, None, linear)
    assert np.isfinite(fill(volume, 4, Box((0, 0, 0), (30, 16, 16)), linear)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_network_that_computes_no_numbers_ends_the_run(regressor, bad):
    broken = deepcopy(regressor)
    with torch.no_grad():
        next(broken.network.parameters()).view(-1)[0] = bad
    with pytest.raises(NotFiniteError, match=r"between slices 0 and .*repeat with --engine torch"):
        fill(noise(), 4, None, broken)


@pytest.mark.parametrize(
    ("name", "contract", "kind"),
    [
        ("lateral", "rows", LateralPredictor),
        ("aenet-fast", "sequence", SequencePredictor),
        ("nafnet", "denoiser", DiffusionPredictor),
        ("srunet", "blocks", BlockPredictor),
    ],
)
def test_every_contract_has_its_predictor(name, contract, kind):
    options = {"nafnet": {"width": 4}, "srunet": {"widths": [3, 4, 4]}}
    network = build_network(name, options.get(name, {"widths": [6, 8], "blocks": [1, 1]}))
    exact = predictor_for(network, contract)
    assert type(exact) is kind
    shorter = predictor_for(network, contract, Feeding(halo=HaloCard(slices=1, lateral=3)))
    assert (shorter.halo.slices, shorter.halo.lateral) == (1, 3)
    assert shorter.halo.stride == exact.halo.stride
    assert shorter.halo.lateral < exact.halo.lateral
