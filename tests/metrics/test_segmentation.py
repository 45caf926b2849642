"""Segmentations whose scores are known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import adapted_rand_error, variation_of_information

from napari_d2r.metrics import mask_overlap, neuron_overlap, segmentation_scores

# Two neurons of equal size.
TRUTH = np.repeat(np.array([7, 900], np.uint16), 32).reshape(4, 4, 4)
QUARTERS = np.repeat(np.arange(4), 16).reshape(4, 4, 4)


def test_the_same_neurons_under_other_names() -> None:
    scores = segmentation_scores(np.where(TRUTH == 7, 1_000_000, 0), TRUTH)
    assert scores.variation_of_information == pytest.approx(0)
    assert scores.adapted_rand_error == pytest.approx(0)
    assert (scores.precision, scores.recall) == pytest.approx((1, 1))


def test_a_neuron_cut_in_two_costs_one_bit_of_splits() -> None:
    scores = segmentation_scores(QUARTERS, TRUTH)
    assert (scores.split, scores.merge) == pytest.approx((1, 0))
    # Pairs of voxels, a voxel with itself left out: 4 C(16, 2) of 2 C(32, 2) stay together.
    recall = 4 * (16 * 15) / (2 * (32 * 31))
    assert (scores.precision, scores.recall) == pytest.approx((1, recall))
    assert scores.adapted_rand_error == pytest.approx(1 - 2 * recall / (1 + recall))


def test_two_neurons_run_together_cost_one_bit_of_merges() -> None:
    scores = segmentation_scores(np.ones_like(TRUTH), TRUTH)
    assert (scores.split, scores.merge) == pytest.approx((0, 1))
    assert scores.recall == pytest.approx(1)
    assert scores.precision == pytest.approx(32 * 31 * 2 / (64 * 63))


def test_as_scikit_image_counts_random_labels() -> None:
    rng = np.random.default_rng(0)
    test, truth = rng.integers(1, 9, (2, 8, 8, 8))
    scores = segmentation_scores(test, truth)
    assert (scores.split, scores.merge) == pytest.approx(variation_of_information(truth, test))
    assert scores.adapted_rand_error == pytest.approx(adapted_rand_error(truth, test)[0], abs=1e-3)


def test_what_the_truth_does_not_label_does_not_count() -> None:
    truth = TRUTH.copy()
    truth[0] = 0
    test = TRUTH.copy()
    test[0] = np.arange(16).reshape(4, 4)
    assert segmentation_scores(test, truth).variation_of_information == pytest.approx(0)
    with pytest.raises(ValueError, match="labels no voxel"):
        segmentation_scores(test, np.zeros_like(truth))


def test_masks_that_share_half() -> None:
    left, right = np.arange(8) < 4, (np.arange(8) >= 2) & (np.arange(8) < 6)
    overlap = mask_overlap(left, right)
    assert (overlap.iou, overlap.dice) == pytest.approx((2 / 6, 2 * 2 / 8))
    assert mask_overlap(left, ~left).iou == 0
    assert mask_overlap(np.zeros(3, bool), np.zeros(3, bool)).dice == 1


def test_a_neuron_is_compared_with_the_segment_that_covers_most_of_it() -> None:
    test = np.where(QUARTERS == 0, 5, 6)
    assert neuron_overlap(test, TRUTH, 900).iou == pytest.approx(32 / 48)
    with pytest.raises(ValueError, match="no neuron 8"):
        neuron_overlap(test, TRUTH, 8)


def test_regions_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        segmentation_scores(TRUTH[1:], TRUTH)
