"""TIFF dialects, written by tifffile or byte by byte, and their voxel sizes."""

from __future__ import annotations

import importlib.util
import pickle

import numpy as np
import pytest
import tifffile

from napari_d2r.errors import InputError
from napari_d2r.io import open_volume, probe
from napari_d2r.volumes import VoxelSize

STACK = np.random.default_rng(0).integers(0, 60000, (6, 20, 24)).astype(np.uint16)
ANY = VoxelSize(8, 8, 8)


def imagej(path, unit, spacing=40.0, pixels=(1, 4), data=STACK, **metadata):
    axes = metadata.pop("axes", "ZYX")
    given = {"axes": axes, "unit": unit, "spacing": spacing, **metadata}
    given = {key: value for key, value in given.items() if value is not None}
    tifffile.imwrite(path, data, imagej=True, resolution=(pixels, pixels), metadata=given)
    return path


@pytest.mark.parametrize(
    ("unit", "nanometres"),
    [
        ("nm", 1), ("um", 1e3), ("micron", 1e3), ("\\u00B5m", 1e3), ("mm", 1e6),
        ("millimeter", 1e6), ("inch", 25.4e6), ("cm", 1e7), ("Angstrom", 0.1),
    ],
)  # fmt: skip
def test_imagej_units(tmp_path, unit, nanometres):
    volume = open_volume(imagej(tmp_path / "a.tif", unit))
    expected = (40 * nanometres, 4 * nanometres, 4 * nanometres)
    assert tuple(volume.voxel_size) == pytest.approx(expected)
    np.testing.assert_array_equal(volume.read(), STACK)


@pytest.mark.parametrize("unit", ["pixel", "", None, "furlong"])
def test_imagej_without_a_unit_of_length(tmp_path, unit):
    with pytest.raises(InputError, match=r"a\.tif has no voxel size; pass --voxel-size Z,Y,X"):
        open_volume(imagej(tmp_path / "a.tif", unit))


def test_only_z_is_missing(tmp_path):
    path = imagej(tmp_path / "a.tif", "nm", spacing=None)
    with pytest.raises(
        InputError, match=r"no axial voxel size \(y and x are 4 and 4 nm\); pass --voxel-size Z,4,4"
    ):
        open_volume(path)
    assert open_volume(path, voxel_size=ANY).voxel_size == ANY


def test_voxel_size_given_overrides_the_file(tmp_path):
    assert open_volume(imagej(tmp_path / "a.tif", "nm"), voxel_size=ANY).voxel_size == ANY


def test_centimetre_tags_of_a_plain_tiff(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, STACK, metadata=None, resolution=(2_500_000, 1_250_000), resolutionunit="CENTIMETER"
    )
    with pytest.raises(InputError, match=r"\(y and x are 8 and 4 nm\)"):
        open_volume(path)


def test_printer_resolution_is_not_a_voxel_size(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, metadata=None, resolution=(72, 72), resolutionunit="INCH")
    with pytest.raises(InputError, match="has no voxel size"):
        open_volume(path)
    assert any("meant for printing" in note for note in probe(path).notes)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("unit", "factor"), [(None, 1e3), ("nm", 1), ("Å", 0.1)])
def test_ome_tiff(tmp_path, compression, unit, factor):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "ZYX", "PhysicalSizeX": 4.5, "PhysicalSizeY": 5.0, "PhysicalSizeZ": 40.0}
    if unit:
        metadata.update({f"PhysicalSize{letter}Unit": unit for letter in "XYZ"})
    tifffile.imwrite(path, STACK, metadata=metadata, compression=compression)
    volume = open_volume(path)
    assert tuple(volume.voxel_size) == pytest.approx((40 * factor, 5 * factor, 4.5 * factor))
    np.testing.assert_array_equal(volume.read(slice(2, 5)), STACK[2:5])


def ome_of_two_files(path, second):
    """An OME-TIFF that holds the first plane and names the file of the second."""
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{z}"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate((path.name, second))
    )
    about = 'DimensionOrder="XYZCT" Type="uint16" SizeX="24" SizeY="20" SizeZ="2" SizeC="1"'
    text = (
        f'<OME UUID="urn:uuid:0"><Image><Pixels {about} SizeT="1">{planes}</Pixels></Image></OME>'
    )
    tifffile.imwrite(path, STACK[0], description=text, metadata=None)
    return path


def test_planes_in_files_beside_are_read(tmp_path):
    tifffile.imwrite(tmp_path / "b.tif", STACK[1], metadata=None)
    volume = open_volume(ome_of_two_files(tmp_path / "a.ome.tif", "b.tif"), voxel_size=ANY)
    np.testing.assert_array_equal(volume.read(), STACK[:2])


@pytest.mark.parametrize(
    "name", ["../b.tif", "in/../../b.tif", "/b.tif", r"\\host\b.tif", "C:b.tif"]
)
def test_planes_in_other_folders_are_not_opened(tmp_path, name):
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "b.tif", STACK[1], metadata=None)
    path = ome_of_two_files(tmp_path / "in" / "a.ome.tif", name)
    with pytest.raises(InputError, match="points outside itself"):
        open_volume(path, voxel_size=ANY)


@pytest.mark.parametrize("ome", [False, True])
def test_hyperstack_needs_channel_and_time(tmp_path, ome):
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    data = np.arange(2 * 5 * 3 * 8 * 9, dtype=np.uint16).reshape(2, 5, 3, 8, 9)
    options = {"ome": True, "compression": "zlib"} if ome else {"imagej": True}
    tifffile.imwrite(path, data, metadata={"axes": "TZCYX"}, **options)
    with pytest.raises(InputError, match="--time N"):
        open_volume(path, voxel_size=ANY)
    with pytest.raises(InputError, match="--channel N"):
        open_volume(path, voxel_size=ANY, time=1)
    with pytest.raises(InputError, match="no time 2; --time takes 0 to 1"):
        open_volume(path, voxel_size=ANY, time=2, channel=0)
    volume = open_volume(path, voxel_size=ANY, time=1, channel=2)
    np.testing.assert_array_equal(volume.read(), data[1, :, 2])


def test_rgb_stack_needs_channel(tmp_path):
    path = tmp_path / "a.tif"
    data = np.arange(5 * 8 * 9 * 3, dtype=np.uint8).reshape(5, 8, 9, 3)
    tifffile.imwrite(path, data, photometric="rgb", metadata=None)
    with pytest.raises(InputError, match=r"channel axis of 3; choose one with --channel N"):
        open_volume(path, voxel_size=ANY)
    np.testing.assert_array_equal(open_volume(path, voxel_size=ANY, channel=1).read(), data[..., 1])


def test_frames_without_slices_are_explained(tmp_path):
    path = imagej(tmp_path / "a.tif", "nm", axes="TYX")
    with pytest.raises(InputError, match=r"time series of single images.*no Z axis"):
        open_volume(path)


@pytest.mark.parametrize("shape", [(20, 24), (1, 20, 24)])
def test_a_single_image_is_refused(tmp_path, shape):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match="single 2D image"):
        open_volume(path, voxel_size=ANY)


@pytest.mark.parametrize("options", [{"compression": "zlib"}, {"tile": (16, 16)}, {}])
def test_plain_pages_written_one_by_one(tmp_path, options):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for values in STACK:
            writer.write(values, contiguous=False, metadata=None, **options)
    volume = open_volume(path, voxel_size=ANY)
    np.testing.assert_array_equal(volume.read(), STACK)
    again = pickle.loads(pickle.dumps(volume.data))
    np.testing.assert_array_equal(again[4, 3:7, ::2], STACK[4, 3:7, ::2])
    assert len(pickle.dumps(volume.data)) < 2000


def test_big_endian_values_come_in_native_order(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, byteorder=">", metadata={"axes": "ZYX"})
    values = open_volume(path, voxel_size=ANY).read()
    assert values.dtype.isnative
    np.testing.assert_array_equal(values, STACK)


def test_pages_of_different_size_are_named(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for shape in [(8, 8), (8, 8), (8, 9)]:
            writer.write(np.zeros(shape, np.uint8), contiguous=False, metadata=None)
    with pytest.raises(InputError, match=r"mixes slices: page 1 is \(8, 8\) uint8, page 3"):
        open_volume(path, voxel_size=ANY)


def test_unsupported_dtype(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK.astype(np.uint32), metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match="holds uint32 values; convert it"):
        open_volume(path, voxel_size=ANY)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_cut_short(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, imagej=compression is None, compression=compression)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut short|not a readable TIFF"):
        open_volume(path, voxel_size=ANY)


def test_a_damaged_page_is_reported_when_read(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for values in STACK:
            writer.write(values, contiguous=False, compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[4].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)
    volume = open_volume(path, voxel_size=ANY)
    np.testing.assert_array_equal(volume.read(slice(0, 4)), STACK[:4])
    with pytest.raises(InputError, match=r"a\.tif cannot be read to its end"):
        volume.read(slice(4, 5))


def test_a_compression_without_its_package(tmp_path):
    if importlib.util.find_spec("imagecodecs"):
        pytest.skip("imagecodecs decodes LZW here")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for page in tiff.pages:
            page.aspage().tags["Compression"].overwrite(5)
    with pytest.raises(InputError, match=r"compressed by LZW; pip install imagecodecs"):
        open_volume(path, voxel_size=ANY)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0\x08\0\0\0\0\0", b"P5 not a tiff" * 9])
def test_foreign_and_torn_files(tmp_path, content):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tif"):
        open_volume(path)


def test_pixels_that_are_not_square_are_told_even_without_a_unit(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((4, 6, 7), np.uint8), imagej=True, resolution=(1 / 7, 1 / 8)
    )
    notes = probe(tmp_path / "a.tif").notes
    assert any("y is 1.143 times as long as x" in note for note in notes)
