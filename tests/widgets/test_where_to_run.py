"""A run on other processes: the same voxels, told as they come, in words where it cannot be."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("napari")
pytest.importorskip("distributed")
from napari.settings import get_plugin_settings
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_d2r import SuperResolveJob, open_volume, super_resolve
from napari_d2r._npe2 import METADATA
from napari_d2r.io import save_tiff
from napari_d2r.samples import phantom_sample
from napari_d2r.volumes import VoxelSize
from napari_d2r.widgets import _super_resolve_form

pytestmark = [
    pytest.mark.usefixtures("no_threads_left"),
    # dask opens sockets and files that it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A stack on disk whose result has nine blocks."""
    values = phantom_sample((33, 160, 160), factor=4)[0].read()
    path, size = tmp_path / "stack.tif", VoxelSize(40, 10, 10)
    return save_tiff(path, values, shape=values.shape, dtype=values.dtype, voxel_size=size)


@pytest.fixture
def elsewhere(viewer: Any, file: Path, open_widget: Any, control: Any, choose_model: Any) -> Any:
    """Super-resolve by linear interpolation on the stack as the plugin opens it."""
    viewer.open(file, plugin="napari-d2r")
    widget = open_widget("Super-resolve")
    choose_model(widget, "Linear")
    control(widget, "where_to_run").expand(animate=False)
    return widget


def voxels_in(store: Path) -> dict[Path, bytes]:
    """The files of the finest level."""
    level = store / "0"
    files = (path for path in level.rglob("*") if path.is_file())
    return {path.relative_to(level): path.read_bytes() for path in files}


@pytest.mark.slow
def test_two_workers_are_cancelled_and_resumed_and_make_what_one_process_makes(
    elsewhere: Any, control: Any, ready: Any, result: Any, file: Path, tmp_path: Path, qtbot: Any,
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(_super_resolve_form, "SHARD_SECONDS", 1e-9)
    elsewhere.form.model.choose_folder(tiny_model)
    control(elsewhere, "engine").setCurrentText("torch")
    control(elsewhere, "where").setCurrentText("Worker processes")
    control(elsewhere, "workers").setValue(2)
    ready(elsewhere)
    assert "in blocks by 2 worker processes" in elsewhere.view.plan.text()

    def click() -> None:
        qtbot.mouseClick(elsewhere.view.run, Qt.MouseButton.LeftButton)

    def wait() -> str:
        qtbot.waitUntil(lambda: not elsewhere._run.is_running, timeout=90_000)
        ready(elsewhere)
        return str(elsewhere.view.status.text())

    click()
    click()
    assert elsewhere.view.run.text() == "Cancelling…"
    assert wait().startswith("Cancelled; 0 of ")
    assert elsewhere.view.run.text() == "Resume"

    told: list[str] = []
    click()
    elsewhere._run.changed.connect(lambda: told.append(elsewhere.view.eta.text()))
    assert "Finished" in wait()
    blocks = re.search(r"Super-resolve, (\d+) of \1 blocks, [12] worker", "\n".join(told))
    assert blocks is not None and int(blocks[1]) > 1, told
    assert not [child for child in psutil.Process().children() if "spawn" in str(child.cmdline())]
    job = SuperResolveJob(model=tiny_model, engine="torch", shard_seconds=1e-8)
    expected = super_resolve(open_volume(file), tmp_path / "one.ome.zarr", job=job)
    assert voxels_in(Path(result().metadata[METADATA]["path"])) == voxels_in(expected.path)


def test_the_copied_text_says_where(elsewhere: Any, control: Any, tmp_path: Path) -> None:
    def copied(where: str) -> str:
        control(elsewhere, "where").setCurrentText(where)
        elsewhere.view.copy_command.trigger()
        return QApplication.clipboard().text()

    assert "--workers" not in copied("This computer")
    assert copied("Worker processes").endswith("--workers 2\n")
    control(elsewhere, "workers").setValue(3)
    assert copied("Worker processes").endswith("--workers 3\n")
    control(elsewhere, "site").setText(str(tmp_path / "site.yaml"))
    assert f"--cluster slurm --site {tmp_path}/site.yaml --workers 3" in copied("SLURM")
    elsewhere.view.copy_python.trigger()
    python = QApplication.clipboard().text()
    compile(python, "copied", "exec")
    assert 'if __name__ == "__main__":\n    stack = open_volume(' in python
    assert "cluster={'kind': 'slurm', 'workers': 3" in python
    control(elsewhere, "scheduler").setText("tcp://node:8786")
    assert copied("A dask scheduler").endswith("--scheduler tcp://node:8786\n")


def test_what_stands_in_the_way_is_one_sentence(
    elsewhere: Any, control: Any, run: Any, ready: Any, qtbot: Any, add_stack: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from napari_d2r.stages import _cluster

    monkeypatch.setattr(_cluster, "_ANSWER_S", 1)
    where, plan = control(elsewhere, "where"), elsewhere.view.plan
    where.setCurrentText("A dask scheduler")
    qtbot.waitUntil(lambda: "Enter the address of the scheduler" in plan.text(), timeout=5_000)
    assert not elsewhere.view.run.isEnabled()
    control(elsewhere, "scheduler").setText("tcp://127.0.0.1:9")
    control(elsewhere, "scheduler").editingFinished.emit()
    assert "No dask scheduler answers at tcp://127.0.0.1:9" in run(elsewhere)
    monkeypatch.setitem(sys.modules, "napari_d2r.stages._cluster", None)
    assert "pip install 'napari-d2r[cluster]'" in run(elsewhere)

    layer = add_stack(name="made here")
    elsewhere.form.layer.setCurrentText(layer.name)
    qtbot.waitUntil(lambda: "made here is in memory" in plan.text(), timeout=15_000)
    where.setCurrentText("This computer")
    ready(elsewhere)


def test_it_is_folded_away_and_filled_from_the_preferences(
    viewer: Any, open_widget: Any, control: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = get_plugin_settings("napari-d2r").cluster
    monkeypatch.setattr(page, "scheduler", "tcp://head:8786")
    monkeypatch.setattr(page, "workers", 6)
    widget = open_widget("Super-resolve")
    where, fold = control(widget, "where"), control(widget, "where_to_run")
    qtbot.waitUntil(fold.isVisible, timeout=10_000)
    assert not where.isVisible()  # nor does Tab stop there
    fold.toggleButton().click()
    assert where.isVisible()
    assert not control(widget, "scheduler").isVisible()
    where.setCurrentText("A dask scheduler")
    qtbot.waitUntil(
        lambda: not control(widget, "scheduler").visibleRegion().isEmpty(), timeout=5_000
    )
    where.setCurrentText("This computer")
    assert control(widget, "scheduler").text() == "tcp://head:8786"
    assert control(widget, "workers").value() == 6
    assert widget.form.where.settings is None  # all the same
