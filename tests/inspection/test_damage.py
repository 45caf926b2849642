"""Slices unlike their neighbours, and from findings to gaps."""

from __future__ import annotations

import numpy as np
import pytest

from napari_d2r.inspection import Finding, damaged_gaps, inspect_volume
from napari_d2r.samples import make_phantom
from napari_d2r.volumes import Volume, VoxelSize

SIZE = VoxelSize(20, 10, 10)


@pytest.fixture(scope="module")
def slices() -> np.ndarray:
    """20 slices, two voxels apart."""
    return make_phantom((39, 96, 96), seed=1)[::2]


def gaps(values: np.ndarray) -> tuple[int, ...]:
    return damaged_gaps(inspect_volume(Volume(values, SIZE)), len(values))


def test_a_sound_stack_has_no_damaged_gap(slices: np.ndarray) -> None:
    assert gaps(slices) == ()


def test_noise_in_place_of_a_slice(slices: np.ndarray) -> None:
    spoilt = slices.copy()
    spoilt[9] = np.random.default_rng(0).normal(130, 30, spoilt[9].shape).clip(0, 255)
    assert gaps(spoilt) == (8, 9)


def test_a_dozen_slices_that_are_missing(slices: np.ndarray) -> None:
    whole = make_phantom((79, 96, 96), seed=1)[::2]
    cut = np.concatenate([whole[:10], whole[26:]])
    (found,) = inspect_volume(Volume(cut, SIZE))
    assert found.kind == "unlike"
    assert found.slices == (9, 10)
    assert "Slice 9 and slice 10 are far less alike" in found.sentence
    assert gaps(cut) == (9,)


@pytest.mark.parametrize("change", ["empty", "brightness"])
def test_an_empty_or_bright_slice(slices: np.ndarray, change: str) -> None:
    spoilt = slices.astype(np.float32)
    spoilt[5] = 0 if change == "empty" else spoilt[5] + 150
    assert gaps(spoilt) == (4, 5)


def test_of_two_that_are_the_same_either_may_be_the_copy(slices: np.ndarray) -> None:
    spoilt = slices.copy()
    spoilt[5] = spoilt[4]
    assert gaps(spoilt) == (3, 4, 5)


def test_a_stack_that_stands_twice_in_the_file_is_sound(slices: np.ndarray) -> None:
    twice = np.concatenate([slices, slices])
    assert set(gaps(twice)) <= {19}  # where one ends and the other begins


def test_ends_of_the_stack_and_findings_of_no_slice() -> None:
    findings = [Finding("empty", "warning", "", (0, 9)), Finding("voxel-size", "warning", "")]
    assert damaged_gaps(findings, 10) == (0, 8)
