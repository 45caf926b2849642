"""Models by mouse: a file is imported, and a stack is held against the chosen one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("napari")
from qtpy.QtWidgets import QFileDialog

from napari_d2r.checkpoints import export_model

pytestmark = pytest.mark.usefixtures("no_threads_left")


@pytest.fixture
def widget(open_widget: Any, add_stack: Any) -> Any:
    """Super-resolve on the small phantom."""
    add_stack()
    return open_widget("Super-resolve")


@pytest.fixture
def import_file(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Choose the last entry of the list, and a file in its dialog."""

    def choose(widget: Any, path: Path) -> None:
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
        box = widget.form.model
        box.setCurrentText("Import a model file…")

    return choose


def test_an_imported_model_is_chosen_and_stays_in_the_list(
    widget: Any, import_file: Any, tiny_model: Path, tmp_path: Path, own_folders: Path, qtbot: Any
) -> None:
    export_model(tiny_model, tmp_path / "my model.zip")
    import_file(widget, tmp_path / "my model.zip")
    box = widget.form.model
    qtbot.waitUntil(lambda: box.title == "my model", timeout=15000)
    assert box.currentText() == "my model"
    assert box.fields == {"model": own_folders / "models" / "my model"}
    qtbot.waitUntil(lambda: "Learned from" in box.note.text(), timeout=15000)
    qtbot.waitUntil(lambda: "my model" in widget.view.plan.text(), timeout=15000)
    assert [box.itemText(i) for i in range(box.count())].count("my model") == 1


def test_a_file_that_is_no_model_changes_nothing(
    widget: Any, import_file: Any, tmp_path: Path, own_folders: Path, qtbot: Any
) -> None:
    (tmp_path / "holiday.zip").write_text("sun")
    import_file(widget, tmp_path / "holiday.zip")
    box = widget.form.model
    qtbot.waitUntil(lambda: "not a sound zip file" in box.note.text(), timeout=15000)
    assert box.note.isVisible()
    assert box.fields == {}
    assert not list((own_folders / "models").iterdir())


def test_what_is_unlike_stands_among_the_findings(
    widget: Any, tiny_model: Path, qtbot: Any
) -> None:
    widget.form.model.choose_folder(tiny_model)
    findings, plan = widget.view.findings, widget.view.plan
    qtbot.waitUntil(lambda: "Result:" in plan.text(), timeout=15000)
    assert "unlike" not in findings.text()
    for edge, nm in (("z", 4000), ("y", 1000), ("x", 1000)):
        widget.form.voxel_size.edges[edge].setValue(nm)
    qtbot.waitUntil(lambda: "This stack is unlike" in findings.text(), timeout=15000)
    assert "Warning: Pixels are 1000 nm wide" in findings.text()
    assert findings.isVisible()
    assert "1000 nm wide" not in plan.text()  # said once
    qtbot.waitUntil(widget.view.run.isEnabled, timeout=5000)
    box = widget.form.model
    box.setCurrentText("Linear interpolation")
    qtbot.waitUntil(lambda: "unlike" not in findings.text(), timeout=15000)
