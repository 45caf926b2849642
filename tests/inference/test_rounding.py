"""Rounding on the device gives the bits that rounding in the processor's memory gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_d2r.inference._rounding import as_stored, to_stored
from napari_d2r.volumes import IntensityRange
from napari_d2r.volumes._volume import SUPPORTED_DTYPES

RANGES = {
    "uint8": IntensityRange(3.7, 251.2),
    "int8": IntensityRange(-101.3, 99.9),
    "uint16": IntensityRange(17.0, 60017.3),
    "int16": IntensityRange(-30000.7, 30000.1),
    "float16": IntensityRange(-1.3, 900.7),
    "float32": IntensityRange(0.1, 0.3),
    "float64": IntensityRange(-1e-5, 4e5),
}


@pytest.mark.parametrize("name", SUPPORTED_DTYPES)
def test_rounding_on_the_device_is_rounding_in_memory(name: str) -> None:
    """From far below the range to far above it, ties among them."""
    dtype, intensity = np.dtype(name), RANGES[name]
    unit = np.random.default_rng(0).uniform(-0.4, 1.4, (20, 30, 40)).astype(np.float32)
    wanted = intensity.from_unit(unit, dtype)
    travelling = to_stored(torch.from_numpy(unit), intensity, dtype)
    found = as_stored(travelling, dtype)
    assert found.dtype == dtype
    assert travelling.element_size() == min(dtype.itemsize, 4)
    assert np.array_equal(found, wanted)
    if dtype.kind in "iu":
        assert {found.min(), found.max()} == {np.iinfo(dtype).min, np.iinfo(dtype).max}


@pytest.mark.parametrize("name", ["uint8", "int8", "uint16", "int16"])
def test_halves_go_to_the_even_neighbour(name: str) -> None:
    halves = torch.arange(0, 100) + 0.5
    found = as_stored(to_stored(halves, IntensityRange(0, 1), np.dtype(name)), np.dtype(name))
    assert np.array_equal(found, np.rint(halves.numpy()))
