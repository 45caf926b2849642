"""Slices that are displaced against their neighbours, that jitter or are unlike them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_d2r.inspection._findings import Finding, Label, listed

__all__ = ["ShiftWatch"]

_EDGE = 256  # side of the square that is compared
_MIN_EDGE = 48
_MIN_STEP = 4.0  # of its pixels; less is common between honest slices
# By which the correlation must rise once the shift is undone, and what it must then be:
# sections 50 nm apart rise by 0.2 where nothing but the tissue runs askew.
_GAIN, _ALIKE = 0.25, 0.35
_RETURN = 2.5  # how exactly a single displaced slice is followed by the way back
# Of Fisher's z of the correlation, against the gaps around: robust standard deviations, and
# the share of the usual correlation, below both of which two slices are unlike. Honest stacks
# of six kinds stay above at least one of them.
_FAR, _SHARE, _AROUND = 3.0, 0.4, 3
# Pixels by which slices jitter, and how many times more that must be than what two steps miss the
# one over both by. Honest stacks stay below one of them.
_JITTER, _CERTAIN = 0.5, 2.0

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Step:
    """From the slice before to slice ``index``, the image moves by (y, x) pixels."""

    index: int
    y: float
    x: float

    def is_undone_by(self, other: _Step) -> bool:
        """Whether the next step leads back, so that one slice alone is out of place."""
        return max(abs(self.y + other.y), abs(self.x + other.x)) <= _RETURN


@dataclass(slots=True)
class ShiftWatch:
    """Takes slices one after another and keeps the large, certain displacements.

    The middle of each slice is thinned to at most 256 x 256 pixels. A step counts only if
    undoing it makes the two slices much more alike.
    """

    _last: tuple[int, Image, NDArray[np.complex64]] | None = None
    _over: NDArray[np.complex64] | None = None  # the one before the last
    _moves: list[tuple[float, float]] = field(default_factory=list)
    _errors: list[tuple[float, float]] = field(default_factory=list)
    _factor: int = 1
    _steps: list[_Step] = field(default_factory=list)
    _likeness: list[tuple[int, int, float]] = field(default_factory=list)

    def add(self, index: int, plane: NDArray[Any]) -> None:
        """Look at slice ``index`` of shape (Y, X), without bar and borders."""
        small, factor = _middle(plane)
        if min(small.shape) < _MIN_EDGE:
            return
        spectrum = fft.rfft2(small * _window(small.shape)).astype(np.complex64)
        if self._last is not None and self._last[1].shape == small.shape:
            before, known = self._last[1:]
            self._note_move(known, spectrum, small.shape)
            y, x = np.rint(self._moves[-1])
            self._over, self._factor = known, factor
            undone = _correlation(before, small, y, x)
            as_it_is = _correlation(before, small, 0, 0)
            self._likeness.append((self._last[0], index, as_it_is))
            gain = undone - as_it_is
            certain = max(abs(y), abs(x)) >= _MIN_STEP and gain >= _GAIN and undone >= _ALIKE
            if certain:
                self._steps.append(_Step(index, y * factor, x * factor))
        self._last = index, small, spectrum

    def _note_move(
        self, last: NDArray[np.complex64], here: NDArray[np.complex64], shape: tuple[int, ...]
    ) -> None:
        """Keep the step from the last slice, and what it and the one before miss the sum by."""
        move = _displacement(last, here, shape)
        if self._over is not None and self._over.shape == here.shape:
            both = _displacement(self._over, here, shape)
            self._errors.append(
                (both[0] - move[0] - self._moves[-1][0], both[1] - move[1] - self._moves[-1][1])
            )
        self._moves.append(move)

    def findings(self, label: Label) -> list[Finding]:
        """Kinds ``shift`` (displaced slices, then steps that stay), ``jitter`` and ``unlike``."""
        single, lasting = [], []
        steps = list(self._steps)
        while steps:
            step = steps.pop(0)
            following = steps[0] if steps and steps[0].index == step.index + 1 else None
            if following is not None and step.is_undone_by(following):
                single.append(step)
                steps.pop(0)
            else:
                lasting.append(step)
        found = []
        if single:
            found.append(
                Finding(
                    "shift",
                    "warning",
                    f"{_described(single, label)} {'is' if len(single) == 1 else 'are'} displaced "
                    "against both neighbours; align the stack first, or the gaps around are "
                    "blurred.",
                    tuple(step.index for step in single),
                )
            )
        if lasting:
            found.append(
                Finding(
                    "shift",
                    "warning",
                    f"From {_described(lasting, label)} on, the image is displaced against the "
                    "slices before; align the stack first, or the gap there is blurred.",
                    tuple(step.index for step in lasting),
                )
            )
        return [*found, *self._jitter(), *self._unlike(label)]

    def _jitter(self) -> list[Finding]:
        """Whether slices stand beside where their two neighbours say, as a rule."""
        if len(self._errors) < 2 * _AROUND:
            return []
        beside = np.median(np.abs(np.diff(self._moves, axis=0)), axis=0) / 2
        errors = np.median(np.abs(self._errors), axis=0)
        if not (certain := (beside > _JITTER) & (beside > _CERTAIN * errors)).any():
            return []
        y, x = beside * certain * self._factor
        return [
            Finding(
                "jitter",
                "warning",
                f"Slices jitter: each stands about {y:.1f} rows and {x:.1f} columns beside the "
                "mean of its neighbours; align the stack first, or edges are ragged along Z.",
            )
        ]

    def _unlike(self, label: Label) -> list[Finding]:
        """One for every two neighbours that are far less alike than those around."""
        if len(self._likeness) < 2 * _AROUND:
            return []
        found, z = [], np.arctanh(np.clip([one[2] for one in self._likeness], -0.999, 0.999))
        usual = np.array(
            [
                np.median(np.concatenate([z[max(0, k - _AROUND) : k], z[k + 1 : k + 1 + _AROUND]]))
                for k in range(len(z))
            ]
        )
        spread = 1.4826 * np.median(np.abs(z - usual))
        for (before, here, correlation), own, around in zip(self._likeness, z, usual, strict=True):
            if own < around - _FAR * spread and correlation < _SHARE * np.tanh(around):
                found.append(
                    Finding(
                        "unlike",
                        "warning",
                        f"{label(before)} and {label(here)} are far less alike than the slices "
                        f"around (correlation {correlation:.2f} instead of "
                        f"{np.tanh(around):.2f}); one is damaged, or slices are missing between "
                        "them.",
                        (before, here),
                    )
                )
        return found


def _described(steps: list[_Step], label: Label) -> str:
    return listed(
        [f"{label(s.index)} (by {abs(s.y):.0f} rows and {abs(s.x):.0f} columns)" for s in steps]
    )


def _middle(plane: NDArray[Any]) -> tuple[Image, int]:
    """The middle square, averaged over blocks of ``factor`` pixels, of mean 0."""
    factor = max(1, min(plane.shape) // (_EDGE + _EDGE // 4))
    edge = [min(_EDGE, length // factor) * factor for length in plane.shape]
    y, x = ((length - size) // 2 for length, size in zip(plane.shape, edge, strict=True))
    part = plane[y : y + edge[0], x : x + edge[1]].astype(np.float32)
    blocks = part.reshape(edge[0] // factor, factor, edge[1] // factor, factor)
    small: Image = blocks.mean((1, 3), dtype=np.float32)
    return small - small.mean(dtype=np.float32), factor


def _window(shape: tuple[int, ...]) -> Image:
    y, x = (np.hanning(length).astype(np.float32) for length in shape)
    window: Image = y[:, None] * x
    return window


def _displacement(
    before: NDArray[np.complex64], here: NDArray[np.complex64], shape: tuple[int, ...]
) -> tuple[float, float]:
    """Peak of the phase correlation, low frequencies only, as (y, x)."""
    cross = here * before.conj()
    cross /= np.abs(cross) + np.float32(1e-6)
    y = fft.fftfreq(shape[0])[:, None].astype(np.float32)
    x = fft.rfftfreq(shape[1]).astype(np.float32)
    peak = fft.irfft2(cross * np.exp(-(y**2 + x**2) / np.float32(2 * 0.1**2)), shape)
    where = np.unravel_index(int(peak.argmax()), peak.shape)
    lines = peak[:, where[1]], peak[where[0]]
    y, x = (_top(line, int(at)) for line, at in zip(lines, where, strict=True))
    return y, x


def _top(line: Image, at: int) -> float:
    """Where the parabola through the greatest of a line and its neighbours has its top.

    A place in the second half counts from the end, as a negative number.
    """
    before, here, after = (float(line[k % len(line)]) for k in (at - 1, at, at + 1))
    bend = before - 2 * here + after
    top = at + (before - after) / (2 * bend) if bend else float(at)
    return top - len(line) if top > len(line) / 2 else top


def _correlation(before: Image, here: Image, y: float, x: float) -> float:
    """Pearson correlation of the overlap, once ``here`` is moved back by (y, x)."""
    dy, dx = int(y), int(x)
    height, width = before.shape
    a = before[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    b = here[max(0, dy) : height - max(0, -dy), max(0, dx) : width - max(0, -dx)]
    if min(a.shape) < _MIN_EDGE // 2:
        return -1.0
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
