"""Tables of positions along Z, as people write them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_d2r.errors import InputError
from napari_d2r.io import read_z_table


@pytest.mark.parametrize(
    "text",
    [
        "0\n80\n150.5\n",
        "# from the log\r\n0,\r\n80,\r\n\r\n150.5,\r\n",
        "z\n0\n80\n150.5",
        "z_nm\n0\n8e1\n150.5",
        "\ufeffz (\u00b5m)\n0\n0.08\n0.1505",
        "slice,z [um]\n0,0\n1,0.08\n2,0.1505",
        "Slice;dose;Z_um\n12;x;0.1505\n10;y;0\n11;z;0.08",
        "slice\tz in nm\n0\t0\n1\t80\n2\t150.5",
        "slice z_nm\n0 0\n1  80\n2 150.5",
    ],
)
def test_positions_are_read_in_nm_in_the_order_of_slices(tmp_path, text):
    path = tmp_path / "z.csv"
    path.write_text(text, "utf-8")
    assert read_z_table(path) == pytest.approx((0, 80, 150.5))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("0\n80 nm\n", "one number per line"),
        ("0,80,160\n", "one number per line"),
        ("depth\n0\n80\n", "one column called z"),
        ("z_nm,z_um\n0,0\n", "one column called z"),
        ("z_pixels\n0\n80\n", "'pixels', which is no unit of length"),
        ("slice,z\n0,0\n1\n", "Row 2 of z.csv has 1 columns"),
        ("slice,z\n0,0\n1,?\n", "Row 2 of z.csv holds '\\?', which is no number"),
        ("slice,z\n0,0\n0,80\n", "names a slice twice"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path, text, told):
    path = tmp_path / "z.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=told):
        read_z_table(path)


def test_files_that_are_no_text_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_z_table(tmp_path / "nowhere.csv")
    (tmp_path / "z.xls").write_bytes(b"\xd0\xcf\x11\xe0" * 9)
    with pytest.raises(InputError, match="not a text file"):
        read_z_table(tmp_path / "z.xls")
    with (tmp_path / "z.csv").open("wb") as file:
        file.truncate(2**25)
    with pytest.raises(InputError, match="too large"):
        read_z_table(tmp_path / "z.csv")


def test_a_header_as_numpy_writes_it_is_read(tmp_path):
    np.savetxt(tmp_path / "z.txt", [0, 0.04, 0.1], header="z_um")
    assert read_z_table(tmp_path / "z.txt") == pytest.approx((0, 40, 100))


def test_a_slice_without_a_number_is_refused(tmp_path):
    (tmp_path / "z.csv").write_text("slice,z\nnan,5\n1,10\n", "utf-8")
    with pytest.raises(InputError, match="'nan', which is no number"):
        read_z_table(tmp_path / "z.csv")
