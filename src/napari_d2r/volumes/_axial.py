"""Where output slices stand between input slices, and interpolation between them.

Measured slice ``j`` is centred at axial position ``j``. An output slice ``m`` stands at
``z = m / r``, so that measured slice ``j`` returns at output index ``j * r`` exactly
wherever that is a whole number. Nothing here shifts by half a step, as
``torch.nn.functional.interpolate`` and ``scipy.ndimage.zoom`` do by default. Where slices
are means over an even number of fine ones, their centres lie between two of these: there
the grid begins half a step later, so that its slices are those of the volume again. Where
measured slices stand at uneven distances, a position still counts slices: 2.5 is half way
between slices 2 and 3, however far apart these are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_d2r.errors import InputError
from napari_d2r.volumes._volume import VoxelSize

Interpolation = Literal["nearest", "linear", "cubic"]
Widths = tuple[float, ...]
MIN_FACTOR, MAX_FACTOR = 1.5, 16.0
# Two slices closer than this fraction of a gap are the same slice.
_SAME = 1e-6


@dataclass(frozen=True, slots=True)
class AxialGrid:
    """The output slices of a stack of ``num_slices`` sampled ``factor`` times finer.

    Parameters
    ----------
    offset
        Output steps, 0 up to but not 1, by which output slice 0 stands after measured slice 0.
    copies_measured
        Whether measured slices are point samples, to be copied where the grid meets them;
        blurred ones are restored like all others.
    places
        Where measured slices stand, in output slices from 0 on, rising; None: every
        ``factor`` of them. The factor is their mean distance then.
    """

    num_slices: int
    factor: float
    offset: float = 0.0
    copies_measured: bool = True
    places: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.factor) or self.factor <= 1:
            raise InputError(
                f"The factor must be greater than 1, not {self.factor:g}: it says how many "
                "times finer the output is sampled along Z."
            )

    @property
    def num_output(self) -> int:
        """Output slices: from the first measured slice to at most the last."""
        return math.floor(self._place(self.num_slices - 1) + _SAME) + 1

    @property
    def is_integer(self) -> bool:
        """Whether every measured slice falls on the output grid."""
        if self.places is not None:
            return self.num_copied == self.num_slices
        return abs(self.factor - round(self.factor)) < _SAME and self.offset == 0

    @property
    def num_copied(self) -> int:
        """How many measured slices fall on the output grid."""
        positions = self.positions()
        return int(np.count_nonzero(positions == np.rint(positions)))

    def positions(self, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """Axial positions, in input slices, of output slices ``start`` to ``stop``.

        Positions within rounding error of a measured slice are that whole number.
        """
        m = np.arange(start, self.num_output if stop is None else stop)
        if self.places is None:
            z = (m + self.offset) / self.factor
        else:
            z = np.interp(m, self.places, np.arange(self.num_slices))
        whole = np.rint(z)
        return np.where(np.abs(z - whole) < _SAME, whole, z)

    def index(self, position: float) -> int:
        """The first output slice that does not stand before a position."""
        return math.ceil(self._place(position) - _SAME)

    def is_copied(self, positions: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of these `positions` are measured slices that return as they are."""
        copied: NDArray[np.bool_] = (positions == np.rint(positions)) & self.copies_measured
        return copied

    def gaps(self, positions: NDArray[np.float64]) -> NDArray[np.int_]:
        """The gap that each of these `positions` lies in; the last slice ends the last gap."""
        gaps: NDArray[np.int_] = np.minimum(np.floor(positions).astype(int), self.num_slices - 2)
        return gaps

    def widths(self, gap: float, start: int = 0, stop: int | None = None) -> Widths | None:
        """How wide the gaps between slices ``start`` to ``stop`` are, if their mean is ``gap``.

        None where all are alike.
        """
        if self.places is None:
            return None
        return tuple((np.diff(self.places[start:stop]) * (gap / self.factor)).tolist())

    @property
    def unevenness(self) -> float:
        """How many times wider than the mean the widest gap is."""
        return max(self.widths(1.0) or (1.0,))

    def _place(self, position: float) -> float:
        """Where a position stands, in output slices."""
        if self.places is None:
            return position * self.factor - self.offset
        return float(np.interp(position, np.arange(self.num_slices), self.places))


def resolve_factor(voxel_size: VoxelSize, factor: float | None) -> float:
    """The factor asked for, or the one that makes voxels isotropic.

    Raises
    ------
    InputError
        When there is nothing to do, or the factor is outside 1.5 to 16.
    """
    if factor is None:
        factor = voxel_size.anisotropy
        if factor <= 1.01:
            finer = "as fine as" if factor > 0.99 else "finer than"
            raise InputError(
                f"There is nothing to do: along Z the voxels ({voxel_size.z:g} nm) are already "
                f"{finer} laterally ({voxel_size.lateral:g} nm); pass --factor R to insist, or "
                "--voxel-size Z,Y,X if these numbers are wrong."
            )
        if abs(factor - round(factor)) < 1e-3 * factor:  # 40 / 3.333 nm is a factor of 12
            factor = float(round(factor))
    if factor <= 1:
        raise InputError(f"The factor must be greater than 1, not {factor:g}.")
    if not MIN_FACTOR <= factor <= MAX_FACTOR:
        raise InputError(
            f"A factor of {factor:g} is outside {MIN_FACTOR:g} to {MAX_FACTOR:g}; "
            "choose one in that range with --factor R."
        )
    return factor


def resolve_gap(voxel_size: VoxelSize, factor: float) -> float:
    """How many lateral voxels apart the measured slices are.

    That is the anisotropy of the volume, whatever the output sampling; where the voxel
    size shows none but a factor is insisted upon, the factor.
    """
    return voxel_size.anisotropy if voxel_size.anisotropy >= MIN_FACTOR else factor


def interpolate_axial(
    slices: NDArray[Any],
    positions: NDArray[np.float64],
    kind: Interpolation = "linear",
    widths: Widths | None = None,
) -> NDArray[Any]:
    """Interpolate a stack along Z at given positions.

    Parameters
    ----------
    slices
        (Z, ...) in any supported dtype.
    positions
        (M,) in input slices, each in ``[0, Z - 1]``.
    kind
        ``nearest`` (ties go to the lower slice), ``linear``, or ``cubic``
        (Catmull-Rom, Keys 1981, a = -1/2).
    widths
        Of the Z - 1 gaps, in any unit, where they differ; at a slice, a cubic has the slope of
        the parabola through it and its two neighbours (Bessel).

    Returns
    -------
    ndarray
        (M, ...) in the dtype of ``slices``, rounded to nearest for integers. Bit-exact
        copies where a position is a whole number. Linear and cubic reproduce a ramp in z
        exactly, because the slices beyond the ends are extrapolated linearly.
    """
    if kind not in get_args(Interpolation):
        raise InputError(f"Interpolation is one of {get_args(Interpolation)}, not {kind!r}.")
    lower = np.clip(np.floor(positions).astype(int), 0, max(len(slices) - 2, 0))
    fraction = positions - lower
    output = np.empty((len(positions), *slices.shape[1:]), slices.dtype)
    for m, (j, d) in enumerate(zip(lower, fraction, strict=True)):
        if d == 0 or len(slices) == 1:
            output[m] = slices[j]
        elif d == 1:
            output[m] = slices[j + 1]
        elif kind == "nearest":
            output[m] = slices[j] if d <= 0.5 else slices[j + 1]
        else:
            weights = (
                _linear_weights(d) if kind == "linear" else _cubic_weights(d, *_around(widths, j))
            )
            value = sum(w * _extended(slices, j + tap) for tap, w in weights.items() if w != 0)
            output[m] = to_dtype(np.asarray(value), slices.dtype)
    return output


def to_dtype(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert computed values to a stored dtype: round to nearest and clip integers."""
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    converted: NDArray[Any] = values.astype(dtype)
    return converted


def _linear_weights(d: float) -> dict[int, float]:
    return {0: 1 - d, 1: d}


def _around(widths: Widths | None, gap: int) -> tuple[float, float]:
    """How wide the gaps on either side are, over this one; beyond the ends, as this one."""
    if widths is None:
        return 1.0, 1.0
    before, after = widths[max(gap - 1, 0)], widths[min(gap + 1, len(widths) - 1)]
    return before / widths[gap], after / widths[gap]


def _cubic_weights(d: float, before: float, after: float) -> dict[int, float]:
    """Hermite's cubic with Bessel's slopes; Catmull-Rom where all gaps are alike.

    ``before`` and ``after`` are the widths of the neighbouring gaps over that of this one.
    """
    into, out = d - 2 * d**2 + d**3, d**3 - d**2  # what the slopes at either end count
    outer = {-1: into / (before * (before + 1)), 2: out / (after * (after + 1))}
    inner = into * before / (before + 1) + out * after / (after + 1) + 3 * d**2 - 2 * d**3
    return {-1: -outer[-1], 0: 1 - inner + outer[-1], 1: inner - outer[2], 2: outer[2]}


def _extended(slices: NDArray[Any], index: int) -> NDArray[np.float64]:
    """Slice ``index`` in float64; one step beyond either end, the line goes on."""
    last = len(slices) - 1
    inside = min(max(index, 0), last)
    value: NDArray[np.float64] = slices[inside].astype(np.float64)
    if index < 0:
        value = 2 * value - slices[1]
    elif index > last:
        value = 2 * value - slices[last - 1]
    return value
