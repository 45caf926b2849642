"""One correlation curve, and where it falls below a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Threshold = float | Literal["half-bit"]


@dataclass(frozen=True, slots=True, eq=False)
class FSCCurve:
    """Correlation over spatial frequency.

    Parameters
    ----------
    frequency_per_nm
        (S,) centres of the shells, in 1/nm; the first is 0.
    correlation
        (S,) in [-1, 1]. Shell 0 holds the mean, which is removed: 1 by definition.
    num_voxels
        (S,) voxels of the full spectrum in each shell.
    """

    frequency_per_nm: NDArray[np.float64]
    correlation: NDArray[np.float64]
    num_voxels: NDArray[np.int64]

    @property
    def half_bit(self) -> NDArray[np.float64]:
        """(S,) threshold above which a voxel of the spectrum carries half a bit.

        It is high where a shell has few voxels, since those agree by chance. Shell 0,
        which is 1 by definition, is never below it.

        References
        ----------
        van Heel, Schatz, "Fourier shell correlation threshold criteria", J. Struct.
        Biol. 151 (2005), equation 17.
        """
        chance = 1 / np.sqrt(self.num_voxels)
        threshold = (0.2071 + 1.9102 * chance) / (1.2071 + 0.9102 * chance)
        threshold[0] = 0
        return np.asarray(threshold)

    def resolution_at(self, threshold: Threshold) -> float | None:
        """Period in nm at which the curve first falls below a threshold.

        The frequency is interpolated linearly between the two shells around the
        crossing. None when the curve stays above up to the Nyquist frequency.
        """
        level = self.half_bit if threshold == "half-bit" else threshold
        above = self.correlation - level
        below = np.flatnonzero(above[1:] < 0)
        if not len(below):
            return None
        after = int(below[0]) + 1
        (c0, c1), (f0, f1) = (
            values[after - 1 : after + 1] for values in (above, self.frequency_per_nm)
        )
        return float(1 / (f0 + c0 / (c0 - c1) * (f1 - f0)))

    def resolution_text(self, threshold: Threshold) -> str:
        """The crossing in words: ``62.4 nm`` or ``not crossed``."""
        resolution = self.resolution_at(threshold)
        return "not crossed" if resolution is None else f"{resolution:.1f} nm"
