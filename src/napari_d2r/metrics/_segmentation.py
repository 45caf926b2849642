"""What a result is worth to a segmentation: membranes as masks, neurons as labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far two masks cover each other, from 0 (nowhere) to 1 (everywhere).

    ``iou`` is |A and B| / |A or B|, ``dice`` is 2 |A and B| / (|A| + |B|).
    """

    iou: float
    dice: float


@dataclass(frozen=True, slots=True)
class SegmentationScores:
    """How two segmentations differ.

    Parameters
    ----------
    adapted_rand_error
        1 - F, where F is the harmonic mean of ``precision`` and ``recall`` (Arganda-Carreras
        et al. 2015); 0 is perfect.
    precision
        Of two voxels that share a segment, how often they share a neuron. Merges lower it.
    recall
        Of two voxels that share a neuron, how often they share a segment. Splits lower it.
    split, merge
        Variation of information (Meila 2007) in bits: H(test | truth), which grows with every
        neuron cut into pieces, and H(truth | test), which grows with neurons run together.
    """

    adapted_rand_error: float
    precision: float
    recall: float
    split: float
    merge: float

    @property
    def variation_of_information(self) -> float:
        """Splits and merges together, in bits; 0 is perfect."""
        return self.split + self.merge


def mask_overlap(test: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Overlap:
    """Compare two masks of one shape; two empty ones agree.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    _require_same_shape(test, truth)
    both, either = np.count_nonzero(test & truth), np.count_nonzero(test | truth)
    iou = both / either if either else 1.0
    return Overlap(iou, 2 * iou / (1 + iou))


def segmentation_scores(
    test: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]
) -> SegmentationScores:
    """Compare two label volumes of one shape; voxels that the truth labels 0 do not count.

    Raises
    ------
    ValueError
        When the shapes differ, or the truth labels nothing.
    """
    _require_same_shape(test, truth)
    known = truth != 0
    if not known.any():
        raise ValueError("The truth labels no voxel; compare a region that holds neurons.")
    num = int(np.count_nonzero(known))
    segments, neurons = (np.unique(a[known], return_inverse=True)[1] for a in (test, truth))
    table = coo_array((np.ones(num), (segments, neurons))).tocsr()
    joint, by_segment, by_neuron = table.data, table.sum(axis=1), table.sum(axis=0)
    # Pairs of different voxels that share both, a segment, or a neuron.
    together, in_segment, in_neuron = (
        float(np.square(counts).sum()) - num for counts in (joint, by_segment, by_neuron)
    )
    precision = together / in_segment if in_segment else 1.0
    recall = together / in_neuron if in_neuron else 1.0
    f_score = 2 * together / (in_segment + in_neuron) if in_segment + in_neuron else 1.0
    bits = _entropy(joint, num)
    return SegmentationScores(
        adapted_rand_error=1 - f_score,
        precision=precision,
        recall=recall,
        split=bits - _entropy(by_neuron, num),
        merge=bits - _entropy(by_segment, num),
    )


def neuron_overlap(
    test: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]], label: int
) -> Overlap:
    """One neuron of the truth against the segment that covers most of it.

    Raises
    ------
    ValueError
        When the shapes differ, or the truth does not hold the label.
    """
    _require_same_shape(test, truth)
    neuron = truth == label
    if not neuron.any():
        raise ValueError(f"The truth holds no neuron {label}; choose one of its labels.")
    segments, sizes = np.unique(test[neuron], return_counts=True)
    return mask_overlap(test == segments[sizes.argmax()], neuron)


def _require_same_shape(test: NDArray[Any], truth: NDArray[Any]) -> None:
    if test.shape != truth.shape:
        raise ValueError(
            f"Segmentations of shapes {test.shape} and {truth.shape} cannot be compared; cut both "
            "to the same region."
        )


def _entropy(counts: NDArray[Any], total: int) -> float:
    """In bits."""
    shares = counts[counts > 0] / total
    return float(-(shares * np.log2(shares)).sum())
