"""White noise that belongs to a place, not to a tile.

Tiles overlap, and a sampler that drew fresh noise for each would disagree with itself
where they do. Here a voxel of a slice has its noise, whoever asks for it: the result
depends neither on the batch nor on the order of the tiles nor on the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Noise is made in cells of this edge, on a grid fixed to the slice.
_CELL = 64
_WORD = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class NoiseField:
    """Standard normal noise as a function of seed, step, slice and position.

    Each cell of 64 x 64 pixels is one stream of a counter-based generator (Philox, Salmon
    et al. 2011) whose counter is (step, slice, cell).

    Parameters
    ----------
    seed
        Restorations along X and along Y want different seeds.
    shared
        Whether every slice gets the same field, which lessens flicker between neighbouring
        slices.
    """

    seed: int
    shared: bool

    def draw(
        self,
        step: int,
        slice_indices: Sequence[int],
        row0: int,
        col0: int,
        height: int,
        width: int,
    ) -> Tensor:
        """The noise of a window of some slices.

        Parameters
        ----------
        step
            Of the sampler; 0 is the start.
        slice_indices
            B absolute slice numbers.
        row0, col0
            Absolute position of the window's first pixel; may be negative (padding).
        height, width
            Of the window, in pixels.

        Returns
        -------
        Tensor
            (B, 1, height, width) float32; windows agree exactly where they overlap.
        """
        slices = [0] if self.shared else list(slice_indices)
        field = np.empty((len(slices), height, width), np.float32)
        for index, slice_index in enumerate(slices):
            self._fill(field[index], step, slice_index, row0, col0)
        noise = torch.from_numpy(field)[:, None]
        return noise.repeat(len(slice_indices), 1, 1, 1) if self.shared else noise

    def _fill(
        self, window: NDArray[np.float32], step: int, slice_index: int, row0: int, col0: int
    ) -> None:
        height, width = window.shape
        for cell_row in range(row0 // _CELL, (row0 + height - 1) // _CELL + 1):
            for cell_col in range(col0 // _CELL, (col0 + width - 1) // _CELL + 1):
                top, left = cell_row * _CELL - row0, cell_col * _CELL - col0
                rows = slice(max(top, 0), min(top + _CELL, height))
                cols = slice(max(left, 0), min(left + _CELL, width))
                cell = self._cell(step, slice_index, cell_row, cell_col)
                window[rows, cols] = cell[
                    rows.start - top : rows.stop - top, cols.start - left : cols.stop - left
                ]

    def _cell(
        self, step: int, slice_index: int, cell_row: int, cell_col: int
    ) -> NDArray[np.float32]:
        place = ((cell_row & 0xFFFF_FFFF) << 32) | (cell_col & 0xFFFF_FFFF)
        # The lowest word counts the draws within the cell.
        counter = np.array([0, place, slice_index & _WORD, step & _WORD], np.uint64)
        key = np.array([self.seed & _WORD, 0], np.uint64)
        generator = np.random.Generator(np.random.Philox(counter=counter, key=key))
        return generator.standard_normal((_CELL, _CELL), dtype=np.float32)
