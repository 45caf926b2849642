"""The first ten minutes with a nasty folder: every trap is named before a voxel is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_d2r import _npe2
from napari_d2r.errors import InputError
from napari_d2r.samples import make_phantom

pytestmark = pytest.mark.usefixtures("no_threads_left")
RESOLUTION = {"resolution": (1e7 / 7.5, 1e7 / 8), "resolutionunit": "CENTIMETER"}
TRAPS = (
    *("Slice 6 is missing", "slice_0012.tif", "at the bottom", "8 rows at the top"),
    *("12 columns on the left", "8 nm along y and 7.5 nm along x"),
)


@pytest.fixture(params=["phantom", pytest.param("fib25", marks=pytest.mark.slow)])
def planes(request: pytest.FixtureRequest) -> np.ndarray:
    """24 slices of the phantom, or the 500 of both real samples; 96 x 200 pixels of each."""
    if request.param == "phantom":
        return make_phantom((24, 96, 200))
    folder = request.getfixturevalue("data_dir") / "fib25"
    samples = (folder / f"fib25_training_sample{number}.tif" for number in (1, 2))
    return np.concatenate([tifffile.imread(sample)[:, :96, :200] for sample in samples])


def test_a_nasty_folder(
    viewer: Any,
    open_widget: Callable[[str], Any],
    qtbot: Any,
    make_nasty_folder: Callable[..., Path],
    planes: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(_npe2, "_notify", lambda how, sentence: told.append(sentence))
    folder = make_nasty_folder(tmp_path / "Präparat 3 (größer)" / "Ä Ö", planes)
    with pytest.raises(InputError) as refused:
        viewer.open(str(folder), plugin="napari-d2r")
    for words in (*TRAPS, "slice_0018.tif is", "uint16"):
        assert words in str(refused.value)
    assert not viewer.layers

    odd = folder / "slice_0018.tif"  # she converts it
    grey = (tifffile.imread(odd) // 257).astype(np.uint8)
    tifffile.imwrite(odd, grey, metadata=None, **RESOLUTION)
    (layer,) = viewer.open(str(folder), plugin="napari-d2r")
    assert "Slice 6 is missing" in told[0]
    assert "does not state its voxel size along Z" in told[-1]
    widget = open_widget("Super-resolve")

    def control(name: str) -> Any:
        return widget.findChild(QWidget, name)

    control("model").setCurrentText("Linear interpolation")
    for words in TRAPS:
        qtbot.waitUntil(lambda words=words: words in control("findings").text(), timeout=60000)
    assert not control("run").isEnabled()  # nobody knows the distance of the slices
    assert len(viewer.layers) == 1
    edges = [control(f"voxel_size_{axis}") for axis in "zyx"]
    assert [edge.value() for edge in edges[1:]] == [8, 7.5]  # what the headers do say
    edges[0].setValue(15)
    qtbot.waitUntil(lambda: "finer of the two" in control("plan").text(), timeout=60000)
    control("region").setCurrentText("Without bars and borders")
    shape = (2 * len(planes) - 3, *planes.shape[1:])  # of one slice less
    in_words = " × ".join(map(str, shape))
    qtbot.waitUntil(lambda: in_words in control("plan").text(), timeout=60000)
    qtbot.waitUntil(control("run").isEnabled, timeout=60000)
    qtbot.mouseClick(control("run"), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "Finished" in control("status").text(), timeout=120000)
    result = viewer.layers[-1]
    assert result.data.shape == shape
    assert np.allclose(result.scale, (7.5, 8, 7.5))
    assert np.allclose(result.translate, layer.data_to_world((0, 8, 12)))
    assert np.array_equal(result.data[0], planes[0])
