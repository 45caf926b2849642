"""Arrays on disk must index as numpy does, within what they promise."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_d2r.errors import InputError
from napari_d2r.io._lazy import (
    AxesView,
    LazyArray,
    MemmapArray,
    PlaneStack,
    channels_first,
    channels_last,
)
from napari_d2r.io._units import length_in_nm

VALUES = np.arange(3 * 4 * 5 * 6, dtype=np.int16).reshape(3, 4, 5, 6)


class Planes(PlaneStack):
    """Slices from memory, counting how often one is decoded."""

    def __init__(self):
        super().__init__((3, 4), (5, 6), np.int16, "planes")
        self.decoded = []

    def _decode(self, index):
        self.decoded.append(index)
        return VALUES.reshape(12, 5, 6)[index]


def parts(length):
    edge = st.one_of(st.none(), st.integers(-length - 2, length + 2))
    step = st.one_of(st.none(), st.integers(1, 3))
    return st.one_of(st.integers(-length, length - 1), st.builds(slice, edge, edge, step))


keys = st.one_of(
    st.tuples(*(parts(length) for length in VALUES.shape)),
    st.tuples(parts(3), parts(4)),
    st.tuples(parts(3), st.just(Ellipsis), parts(6)),
    st.tuples(st.just(Ellipsis)),
    parts(3),
)


@given(key=keys)
def test_plane_stack_indexes_like_numpy(key):
    found = Planes()[key]
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, VALUES[key], strict=True)


@given(key=keys, order=st.permutations(range(4)))
def test_axes_view_indexes_like_a_transposed_array(key, order):
    shape_back = VALUES.transpose(np.argsort(order))
    view = AxesView(shape_back, fixed={}, order=tuple(order), name="view")
    np.testing.assert_array_equal(view[key], VALUES[key], strict=True)


def test_axes_view_over_a_lazy_array_with_fixed_axes():
    view = AxesView(Planes(), fixed={1: 2}, order=(3, 0, 2), name="view")
    expected = VALUES[:, 2].transpose(2, 0, 1)
    assert view.shape == expected.shape == (6, 3, 5)
    np.testing.assert_array_equal(view[1:5, 2], expected[1:5, 2])
    np.testing.assert_array_equal(view[4, :, 1], expected[4, :, 1])
    np.testing.assert_array_equal(np.asarray(view), expected)


@pytest.mark.parametrize("data", [VALUES, Planes()])
def test_channels_change_their_place_and_nothing_is_read(data):
    first, last = channels_first(data, "colours"), channels_last(data, "colours")
    assert (first.shape, last.shape) == ((6, 3, 4, 5), (4, 5, 6, 3))
    assert not getattr(data, "decoded", [])
    np.testing.assert_array_equal(first[1:3, :, 2], np.moveaxis(VALUES, -1, 0)[1:3, :, 2])
    np.testing.assert_array_equal(last[2, ..., 1:], np.moveaxis(VALUES, 0, -1)[2, ..., 1:])


@pytest.mark.parametrize("order", ["C", "F"])
def test_memmap(tmp_path, order):
    path = tmp_path / "raw.bin"
    path.write_bytes(b"header" + VALUES.astype(">i2").tobytes(order))
    array = MemmapArray(path, VALUES.shape, np.dtype(">i2"), offset=6, order=order)
    np.testing.assert_array_equal(array[1, :, 2:4, ::2], VALUES[1, :, 2:4, ::2])
    assert array.dtype.isnative
    assert type(array[0]) is np.ndarray  # a copy, not a window on the file
    with pytest.raises(InputError, match="cut short"):
        MemmapArray(path, VALUES.shape, np.dtype(">i2"), offset=7)


@pytest.mark.parametrize("key", [3, -4, (0, 0, 0, 0, 0), (slice(None, None, -1),), (..., ...)])
def test_what_is_out_of_range_or_backwards_is_an_index_error(key):
    with pytest.raises(IndexError):
        Planes()[key]


def test_fancy_indexing_is_refused():
    with pytest.raises(IndexError, match="integers and slices only"):
        Planes()[[0, 1]]


def test_a_plane_is_decoded_once_and_the_oldest_is_dropped():
    planes = Planes()
    planes._num_kept = 2
    for index in (0, 1, 0, 2, 0, 1):
        planes[0, index]
    assert planes.decoded == [0, 1, 2, 1]


def test_threads_share_what_is_decoded():
    planes = Planes()
    results = []
    threads = [threading.Thread(target=lambda: results.append(planes[...])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((result == VALUES).all() for result in results)
    assert sorted(planes.decoded) == list(range(12))


class Damaged(LazyArray):
    def _read(self, box):
        raise RuntimeError("checksum mismatch")


def test_a_decoder_error_names_the_file():
    with pytest.raises(InputError, match=r"cells\.tif cannot be read to its end \(checksum"):
        Damaged((2, 2, 2), np.uint8, "cells.tif")[0]


def test_a_huge_compressed_slice_is_refused():
    class Huge(Planes):
        def __init__(self):
            PlaneStack.__init__(self, (3,), (2**16, 2**16), np.uint8, "huge.tif")

    with pytest.raises(InputError, match=r"huge\.tif holds compressed slices of 4\.0 GiB"):
        Huge()


@pytest.mark.parametrize(
    ("unit", "nanometres"),
    [
        ("nm", 1), (" NM ", 1), ("nanometre", 1), ("nanometers", 1), ("\u00b5m", 1e3),
        ("\u03bcm", 1e3), (r"\u00B5m", 1e3), ("microns", 1e3), ("\u00c5", 0.1), ("\u212b", 0.1),
        ("picometer", 1e-3), ("inch", 25.4e6), ("Meter", 1e9), ("yottameter", 1e33),
        ("pixel", None), ("", None), ("second", None), ("reference frame", None),
    ],
)  # fmt: skip
def test_units(unit, nanometres):
    assert length_in_nm(unit) == (nanometres if nanometres is None else pytest.approx(nanometres))
