"""A folder of slices with every trap that a microscopist brings along."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw

TOP, LEFT, RIGHT, BAR = 8, 12, 5, 30
"""Rows and columns of black border, and rows of data bar, around every slice."""


def framed(plane: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """A slice as some microscopes export it: black borders, and a data bar with a counter."""
    image = np.pad(plane, ((TOP, 0), (LEFT, RIGHT)))
    bar = Image.new("L", (image.shape[1], BAR), 20)
    pen = ImageDraw.Draw(bar)
    pen.text((4, 8), "HV 2.0 kV  WD 5 mm", fill=240)
    pen.text((image.shape[1] - 30, 8), f"{number:04d}", fill=240)
    return np.vstack([image, np.asarray(bar)])


MakeFolder = Callable[[Path, Iterable[NDArray[np.uint8]]], Path]


@pytest.fixture(scope="session")
def make_nasty_folder() -> MakeFolder:
    """Write slices framed, as ``slice_0001.tif`` and so on, with these traps.

    Slice 6 is missing, slice 12 shows the image of slice 11, slice 18 is 16-bit, and pixels
    measure 8 nm along y and 7.5 nm along x.
    """

    def make(folder: Path, planes: Iterable[NDArray[np.uint8]]) -> Path:
        folder.mkdir(parents=True)
        before = None
        for number, plane in enumerate(planes, start=1):
            shown = before if number == 12 and before is not None else plane
            values: NDArray[np.generic] = framed(shown, number)
            if number == 18:
                values = values.astype(np.uint16) * 257
            if number != 6:
                tifffile.imwrite(
                    folder / f"slice_{number:04d}.tif",
                    values,
                    resolution=(1e7 / 7.5, 1e7 / 8),
                    resolutionunit="CENTIMETER",
                    metadata=None,
                )
            before = plane
        return folder

    return make
