"""Every trap of a folder is named, all at once."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
import tifffile

from napari_d2r.errors import InputError
from napari_d2r.inspection import inspect_folder, inspect_stream
from napari_d2r.inspection._names import inspect_names
from napari_d2r.io import open_volume
from napari_d2r.jobs import CancelToken, Finished, Outcome, Progress
from napari_d2r.samples import make_phantom
from napari_d2r.volumes import VoxelSize

TRAPS = {"missing", "repeated", "odd", "data-bar", "border", "pixels", "voxel-size"}


def finished(events):
    last = list(events)[-1]
    assert isinstance(last, Finished)
    return last.result


@pytest.fixture(scope="module")
def tissue():
    return make_phantom((24, 96, 200))


def require_every_trap(inspection, shape):
    """Each trap once, nothing else, in words with names, rows and what to do."""
    found = {one.kind: one for one in inspection.findings}
    assert sorted(one.kind for one in inspection.findings) == sorted(TRAPS)
    assert [one.severity for one in inspection.findings] == ["blocks", *["warning"] * 6]
    rows, columns = shape
    for kind, words in {
        "missing": ("Slice 6 is missing", "slice_0005.tif", "slice_0007.tif"),
        "repeated": ("slice_0012.tif", "slice_0011.tif", "remove one"),
        "odd": (f"slice_0018.tif is {rows} x {columns} uint16", "uint8", "convert"),
        "data-bar": (f"rows {rows - 30} to {rows - 1} at the bottom", "crop"),
        "border": ("grey value 0", "8 rows at the top", "12 columns on the left", "5 columns"),
        "pixels": ("8 nm along y and 7.5 nm along x",),
        "voxel-size": ("do not state the distance between slices", "8 x 7.5 nm"),
    }.items():
        for part in words:
            assert part in found[kind].sentence, found[kind].sentence
    assert found["repeated"].slices == (9, 10)
    assert found["odd"].slices == (16,)
    _, y, x = inspection.suggested_box
    assert (y, x) == (slice(8, rows - 30), slice(12, columns - 5))


def test_every_trap_of_a_small_folder(make_nasty_folder, tissue, tmp_path):
    folder = make_nasty_folder(tmp_path / "Präparat 3 (größer)" / "Ä Ö", tissue)
    require_every_trap(finished(inspect_stream(folder)), (134, 217))
    with pytest.raises(InputError, match=r"slice_0018\.tif is 134 x 217 uint16, but the other 22"):
        open_volume(folder, voxel_size=VoxelSize(50, 8, 7.5))


@pytest.mark.slow
def test_every_trap_of_500_real_slices(make_nasty_folder, data_dir, tmp_path):
    planes = [
        plane
        for sample in (1, 2)
        for plane in tifffile.imread(data_dir / "fib25" / f"fib25_training_sample{sample}.tif")
    ]
    folder = make_nasty_folder(tmp_path / "Präparat 3 (größer)", planes)
    start = perf_counter()
    inspection = finished(inspect_stream(folder))
    assert perf_counter() - start < 60  # 4 s on an idle core
    (seam,) = (one for one in inspection.findings if one.kind == "unlike")
    assert seam.slices == (248, 249)  # where one sample ends and the other begins
    rest = tuple(one for one in inspection.findings if one is not seam)
    require_every_trap(replace(inspection, findings=rest), (288, 267))


def test_traps_inside_the_stack(tissue, tmp_path):
    planes = tissue.copy()
    planes[5] = 0
    planes[11] = np.minimum(planes[11], 90) + 150
    planes[16] = np.roll(planes[16], (17, -21), (0, 1))
    planes[20, :, :8] = 255
    for number, plane in enumerate(planes):
        tifffile.imwrite(tmp_path / f"{number}.tif", plane, metadata=None)
    tifffile.imwrite(tmp_path / "3 copy.tif", planes[3], metadata=None)
    (tmp_path / "7.tif").write_bytes(b"torn")
    found = {one.kind: one for one in inspect_folder(tmp_path)}
    assert found["unreadable"].sentence.startswith("7.tif is not a readable TIFF file")
    assert "3 copy.tif" in found["name"].sentence
    assert found["repeated"].slices == (3, 4)
    assert found["empty"].sentence.startswith("5.tif holds grey value 0 only")
    assert found["brightness"].sentence.startswith("11.tif is far brighter")
    assert "16.tif (by 17 rows and 21 columns) is displaced" in found["shift"].sentence
    assert "saturated" not in found  # eight columns of one slice are far below 1 %


def test_saturation_is_told(tissue, tmp_path):
    planes = np.clip(tissue.astype(int) * 2, 0, 255).astype(np.uint8)
    for number, plane in enumerate(planes):
        tifffile.imwrite(tmp_path / f"{number}.tif", plane, metadata=None)
    (finding,) = (one for one in inspect_folder(tmp_path) if one.kind == "saturated")
    assert finding.severity == "note"
    assert f"{100 * (planes == 255).mean():.1f} % of the voxels" in finding.sentence


@pytest.mark.parametrize(
    ("names", "sentences"),
    [
        ([f"s{n:03d}.tif" for n in range(20)], []),
        ([f"s{n:03d}.tif" for n in range(0, 160, 8)], []),
        ([f"{n // 10}_{n % 10}.tif" for n in range(40)], []),
        ([f"t{n * n}.tif" for n in range(40)], []),
        ([f"s{n}.tif" for n in range(20) if n != 7], ["Slice 7 is missing"]),
        ([f"s{n}_z{n * 8}.tif" for n in range(20) if n not in (7, 8)], ["Slices 56 and 64 are"]),
        (["s1.tif", "s01.tif", *(f"s{n:02d}.tif" for n in range(2, 20))], ["same number"]),
        (
            [*(f"s{n}.tif" for n in range(9)), "s8 new.tif"],
            ["s8 new.tif is not named like the other slices and is read after s8.tif"],
        ),
    ],
)
def test_numbers_in_names(names, sentences):
    found = inspect_names(names)
    assert len(found) == len(sentences)
    for finding, part in zip(found, sentences, strict=True):
        assert part in finding.sentence


def test_a_folder_that_cannot_be_a_stack(tmp_path):
    (finding,) = inspect_folder(tmp_path)
    assert (finding.kind, finding.severity) == ("files", "blocks")


def test_progress_and_cancel(make_nasty_folder, tissue, tmp_path):
    folder = make_nasty_folder(tmp_path / "x", tissue)
    events = list(inspect_stream(folder))
    steps = [event.done for event in events if isinstance(event, Progress)]
    assert steps == sorted(steps)
    assert steps[-1] == 23 + 22  # every header, and every slice that fits
    cancel = CancelToken()
    stream = inspect_stream(folder, cancel=cancel)
    for event in stream:
        if isinstance(event, Progress) and event.done == 30:
            cancel.cancel()
    assert event.outcome is Outcome.CANCELLED
    assert {"missing", "odd", "data-bar"} <= {one.kind for one in event.result.findings}
