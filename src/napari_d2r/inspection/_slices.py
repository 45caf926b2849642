"""Slice after slice: doubles, empty ones, brightness, saturation, and what others watch for."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_d2r.inspection._findings import Finding, Label, listed
from napari_d2r.inspection._mask import MaskWatch
from napari_d2r.inspection._shift import ShiftWatch
from napari_d2r.inspection._stripes import StripeWatch
from napari_d2r.inspection._trend import TrendWatch

__all__ = ["SliceWatch"]

_EDGE = 1024  # grey values are taken from a grid of at most so many pixels per side
_REACH = 3  # slices on either side that a slice's brightness is held against
_FAR = 8.0  # robust standard deviations of those differences, and
_FAR_OF_CONTRAST = 0.6  # share of the contrast within slices, beyond both of which one stands out
_NEAR, _ONE_BY_ONE = 2, 5  # slices apart that a double is likely a slip, and how many are told
_SATURATED = 0.01
# The largest values of 8, 10, 12, 14 and 16 bit detectors.
_TOPS = (255, 1023, 4095, 16383, 65535)


@dataclass(slots=True)
class SliceWatch:
    """Takes every slice once, in order, and keeps a few numbers of each.

    Slices come without data bar and borders, so that a counter in the bar hides no double
    and a black border counts for nothing.
    """

    _digests: dict[bytes, int] = field(default_factory=dict)
    _doubles: list[tuple[int, int]] = field(default_factory=list)
    _empty: dict[int, float] = field(default_factory=dict)
    _broken: list[int] = field(default_factory=list)
    _numbers: list[tuple[int, float, float]] = field(default_factory=list)
    _ends: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    _num_voxels: int = 0
    _highest: int = 0
    _shifts: ShiftWatch = field(default_factory=ShiftWatch)
    _trend: TrendWatch = field(default_factory=TrendWatch)
    _stripes: StripeWatch = field(default_factory=StripeWatch)
    _masks: MaskWatch = field(default_factory=MaskWatch)

    def add(self, index: int, plane: NDArray[Any]) -> None:
        """Look at slice ``index`` of shape (Y, X)."""
        step = max(1, -(-max(plane.shape) // _EDGE))
        sample = plane[::step, ::step]
        low, high = sample.min(), sample.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            self._broken.append(index)
            return
        if low == high and plane.min() == plane.max():
            self._empty[index] = float(low)
            return
        digest = hashlib.blake2b(np.ascontiguousarray(plane).data, digest_size=16).digest()
        first = self._digests.setdefault(digest, index)
        if first != index:
            self._doubles.append((first, index))
        wide = sample.astype(np.float32)
        self._numbers.append((index, float(wide.mean()), float(wide.std())))
        masked = self._masks.add(index, plane)
        self._count_ends(sample, int(high) if plane.dtype.kind in "iu" else None, masked)
        self._shifts.add(index, plane)
        self._trend.add(plane)
        self._stripes.add(index, plane)

    def _count_ends(self, sample: NDArray[Any], high: int | None, masked: list[float]) -> None:
        """Count voxels at either end of the scale of an integer type, or of its detector.

        An end that masks a slice says nothing about the light there.
        """
        if high is None:
            return
        self._num_voxels += sample.size
        self._highest = max(self._highest, high)
        low = int(np.iinfo(sample.dtype).min)
        is_top = high in _TOPS or high == np.iinfo(sample.dtype).max
        for end in {low, high} if is_top else {low}:
            if end not in masked:
                self._ends[end] += int(np.count_nonzero(sample == end))

    def findings(self, label: Label) -> list[Finding]:
        """All kinds that docs/traps.md lists for single slices."""
        return [
            *self._told_broken(label),
            *self._told_doubles(label),
            *self._told_empty(label),
            *self._told_brightness(label),
            *self._trend.findings(),
            *self._stripes.findings(label),
            *self._shifts.findings(label),
            *self._masks.findings(label),
            *self._told_saturation(),
        ]

    def _told_broken(self, label: Label) -> list[Finding]:
        if not self._broken:
            return []
        names = listed([label(at) for at in self._broken])
        return [
            Finding(
                "non-finite",
                "blocks",
                f"{names} {_hold(self._broken)} NaN or infinite voxels; replace them, for example "
                "by zero.",
                tuple(self._broken),
            )
        ]

    def _told_doubles(self, label: Label) -> list[Finding]:
        """A slice stored twice in a row one by one; copies further away together."""
        near = [pair for pair in self._doubles if pair[1] - pair[0] <= _NEAR]
        far = [pair for pair in self._doubles if pair[1] - pair[0] > _NEAR]
        if len(near) > _ONE_BY_ONE:
            near, far = [], self._doubles
        found = [
            Finding(
                "repeated",
                "warning",
                f"{label(second)} shows exactly the same image as {label(first)}; remove one of "
                "the two, or the stack is one slice too thick.",
                (first, second),
            )
            for first, second in near
        ]
        if far:
            pairs = listed([f"{label(second)} as {label(first)}" for first, second in far], 4)
            found.append(
                Finding(
                    "repeated",
                    "warning",
                    f"{_count(far)} exactly the same image as another one ({pairs}); "
                    "check how the stack was put together.",
                    tuple(sorted({at for pair in far for at in pair})),
                )
            )
        return found

    def _told_empty(self, label: Label) -> list[Finding]:
        if not self._empty:
            return []
        values = sorted(set(self._empty.values()))
        grey = f"grey value {values[0]:g} only" if len(values) == 1 else "one grey value only"
        names = listed([label(at) for at in self._empty])
        return [
            Finding(
                "empty",
                "warning",
                f"{names} {_hold(list(self._empty))} {grey}; crop empty ends off, and replace an "
                "empty slice inside the stack by a neighbour.",
                tuple(self._empty),
            )
        ]

    def _told_brightness(self, label: Label) -> list[Finding]:
        if len(self._numbers) < 2 * _REACH:
            return []
        index, mean, spread = (np.array(column) for column in zip(*self._numbers, strict=True))
        off = np.array([_beyond(mean, k) for k in range(len(mean))])
        usual = max(
            _FAR * 1.4826 * float(np.median(np.abs(np.diff(mean)))),
            _FAR_OF_CONTRAST * float(np.median(spread)),
        )
        found = []
        for word, far in (("brighter", off > usual), ("darker", off < -usual)):
            slices = [int(at) for at in index[far]]
            if slices:
                names = listed([f"{label(at)}" for at in slices])
                by = listed([f"{abs(value):.3g}" for value in off[far]])
                found.append(
                    Finding(
                        "brightness",
                        "warning",
                        f"{names} {'is' if len(slices) == 1 else 'are'} far {word} than the "
                        f"slices around (by {by} grey values); even it out, or leave "
                        f"{'it' if len(slices) == 1 else 'them'} out and say so.",
                        tuple(slices),
                    )
                )
        return found

    def _told_saturation(self) -> list[Finding]:
        found = []
        for value, count in sorted(self._ends.items()):
            share = count / max(self._num_voxels, 1)
            is_low = value <= 0
            end, lost = ("least", "darker") if is_low else ("greatest", "brighter")
            if share <= _SATURATED or not (is_low or value == self._highest):
                continue
            found.append(
                Finding(
                    "saturated",
                    "note",
                    f"{100 * share:.1f} % of the voxels have the {end} grey value that can be "
                    f"stored ({value}); what was {lost} is lost, and no method brings it back.",
                )
            )
        return found


def _count(pairs: list[tuple[int, int]]) -> str:
    return "1 slice shows" if len(pairs) == 1 else f"{len(pairs)} slices show"


def _beyond(mean: NDArray[Any], k: int) -> float:
    """How far slice k lies above or below the slices around it, all but one; 0 if among them.

    At an end of the stack, two of the slices beside it show how it would go on.
    """
    around = np.concatenate([mean[max(0, k - _REACH) : k], mean[k + 1 : k + 1 + _REACH]])
    if k == 0:
        around = np.append(around, 2 * mean[1] - mean[2])
    elif k == len(mean) - 1:
        around = np.append(around, 2 * mean[-2] - mean[-3])
    around.sort()
    above, below = mean[k] - around[-2], mean[k] - around[1]
    return float(above if above > 0 else min(below, 0.0))


def _hold(slices: list[int]) -> str:
    return "holds" if len(slices) == 1 else "hold"
