"""Real volumes, degraded on purpose: what is found, and that it was not there before."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_d2r.inspection import Finding, inspect_volume
from napari_d2r.io import open_volume
from napari_d2r.jobs import Event, StageStarted, SuperResolveJob, TrainJob, Warned
from napari_d2r.stages.super_resolve import resolve_super_resolve, run_super_resolve
from napari_d2r.stages.train import resolve_train, run_train
from napari_d2r.volumes import Volume, VoxelSize

Stack = NDArray[np.float64]
SIZE, SIZE_OF_FOURTH = VoxelSize(80, 10, 10), VoxelSize(80, 20, 20)


@pytest.fixture(scope="module")
def fib(data_dir: Path) -> Stack:
    """Every second slice of the first half of sample 1, as floats to be degraded."""
    return open_volume(data_dir / "fib25/fib25_training_sample1.tif").read()[:128:2] * 1.0


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def found_in(values: Stack) -> dict[str, Finding]:
    grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return {one.kind: one for one in inspect_volume(Volume(grey, SIZE))}


def test_as_delivered_nothing_is_found(fib):
    assert found_in(fib) == found_in(fib[::4]) == {}


def test_flicker(fib, rng):
    (found,) = found_in(fib[::4] + rng.normal(0, 6, (16, 1, 1))).values()
    assert (found.kind, found.severity) == ("flicker", "warning")
    assert "a quarter of the slices differ" in found.sentence


def test_drift(fib):
    (found,) = found_in(fib[::4] + np.linspace(-25, 25, 16)[:, None, None]).values()
    assert (found.kind, found.severity) == ("drift", "note")
    assert "% of the contrast" in found.sentence


@pytest.mark.parametrize(("shape", "along"), [((16, 1, 250), "y"), ((16, 250, 1), "x")])
def test_stripes_in_every_slice(fib, rng, shape, along):
    streaks = ndimage.gaussian_filter1d(rng.normal(0, 1, shape), 1, axis=2 if along == "y" else 1)
    (found,) = found_in(fib[::4] + 4 / streaks.std() * streaks).values()
    assert (found.kind, found.slices) == ("stripes", ())
    assert found.sentence.startswith(f"Slices are striped along {along}: ")


def test_stripes_in_a_few_slices_are_named(fib, rng):
    values = fib[::4].copy()
    values[[5, 9]] += rng.normal(0, 6, (2, 1, 250))
    (found,) = found_in(values).values()
    assert (found.kind, found.slices) == ("stripes", (5, 9))
    assert found.sentence.startswith("Slice 5 and slice 9 are striped along y: ")


def test_a_slice_that_is_flat_in_the_middle_hides_no_stripes(rng):
    tissue = ndimage.gaussian_filter(rng.normal(0, 1, (6, 300, 300)), (0, 3, 3))
    values = 128 + 40 * tissue / tissue.std() + rng.normal(0, 15, (6, 1, 300))
    values[3, 20:280, 20:280] = 100
    assert found_in(values)["stripes"].slices == ()


def test_straight_edges_are_no_stripes_and_hide_none(fib, rng):
    values = fib[::4].copy()
    values[:, 100:150] = 20  # a band from side to side, and a block in it
    values[:, 110:140, 60:190] = 230
    assert "stripes" not in found_in(values)
    found = found_in(values + rng.normal(0, 3, (16, 1, 250)))["stripes"]
    assert (found.slices, "striped along y" in found.sentence) == ((), True)


@pytest.mark.parametrize("noise", [0, 3])
def test_a_block_in_nothing_is_no_stripe(rng, noise):
    values = np.full((8, 256, 256), 60.0)
    values[:, 80:170, 50:200] = 200
    assert "stripes" not in found_in(values + rng.normal(0, noise, values.shape))


def test_jitter(fib, rng):
    moves = np.rint(rng.normal(0, 1.5, (len(fib), 2))).astype(int)
    found = found_in(np.stack([np.roll(s, m, (0, 1)) for s, m in zip(fib, moves, strict=True)]))
    assert found["jitter"].severity == "warning"
    assert set(found) <= {"jitter", "shift"}


@pytest.mark.parametrize("way", ["moved", "turned", "bright"])
def test_edges_that_alignment_leaves(fib, way):
    def aligned(plane: Stack, k: int) -> Stack:
        if way == "turned":
            return ndimage.rotate(plane, 3 * np.sin(k), reshape=False, order=1)
        ground = 255 if way == "bright" else 0
        return ndimage.shift(plane, (5 * np.sin(k), 7 * np.cos(k)), order=1, cval=ground)

    found = found_in(np.stack([aligned(plane, k) for k, plane in enumerate(fib[::4])]))
    assert set(found) == {"masked"}  # and not that grey values are saturated
    assert len(found["masked"].slices) >= 14
    assert "no image at an edge" in found["masked"].sentence


def test_a_missing_slice_and_one_twice(fib):
    values = np.delete(fib, slice(20, 26), 0)
    assert found_in(values)["unlike"].slices == (19, 20)
    values[31] = values[30]
    assert found_in(values)["repeated"].slices == (30, 31)


def test_a_masked_edge_does_no_harm_further_away(fib, tmp_path):
    truth = fib[:33, :192:2, :192:2].astype(np.uint8)  # isotropic: slices are 20 nm apart
    masked = truth.copy()
    masked[:, :, :24] = 0

    def restored(values: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        job = SuperResolveJob(engine="torch", device="cpu", fall_back=False)
        plan = resolve_super_resolve(job, Volume(values, SIZE_OF_FOURTH), tmp_path / name)
        list(run_super_resolve(plan))
        return open_volume(tmp_path / name).read()

    whole, beside = restored(truth[::4], "whole.zarr"), restored(masked[::4], "masked.zarr")

    def psnr(result: NDArray[np.uint8], columns: slice) -> float:
        off = (result * 1.0 - truth[: len(result)])[:, :, columns] / 255
        return float(-10 * np.log10(np.mean(off**2)))

    near, far = slice(24, 28), slice(40, None)
    assert psnr(beside, near) < psnr(whole, near) - 1
    assert psnr(beside, far) > psnr(whole, far) - 0.1


@pytest.fixture
def spoiled(fib: Stack) -> Volume:
    """A drift and a slice of one grey value."""
    values = fib[::4, :64, :64] + np.linspace(-25, 25, 16)[:, None, None]
    values[7] = 90
    return Volume(np.clip(values, 0, 255).astype(np.uint8), SIZE)


def told_before(stage: str, events: Iterable[Event]) -> list[Warned]:
    """What is told until a stage begins."""

    def is_before(event: Event) -> bool:
        return not (isinstance(event, StageStarted) and event.title.startswith(stage))

    return [event for event in takewhile(is_before, events) if isinstance(event, Warned)]


def test_a_run_tells_what_it_does_not_mend(spoiled: Volume, tmp_path: Path) -> None:
    job = SuperResolveJob(engine="torch", device="cpu")
    plan = resolve_super_resolve(job, spoiled, tmp_path / "out.ome.zarr")
    told = told_before("super-resolve", run_super_resolve(plan))
    assert [one.finding for one in told if one.finding] == ["drift"]
    assert sum("brightness drifts" in one.message for one in told) == 1
    assert sum("linear interpolation" in one.message for one in told) == 1  # of the empty slice


def test_a_training_tells_all_of_it(spoiled: Volume, tmp_path: Path) -> None:
    plan = resolve_train(TrainJob(device="cpu"), spoiled, tmp_path / "model")
    told = told_before("stage I", run_train(plan))
    assert sorted(one.finding for one in told if one.finding) == ["drift", "empty"]
