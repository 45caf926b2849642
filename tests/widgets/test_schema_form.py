"""The generated form says exactly what a job says, and takes what a user types."""

from __future__ import annotations

from typing import Any

import pytest

from napari_d2r.errors import InputError
from napari_d2r.jobs import DegradationSettings, TrainJob, load_preset, preset_names

pytest.importorskip("qtpy.QtWidgets")
pytest.importorskip("pytestqt")

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QGroupBox, QLineEdit, QSpinBox, QWidget

from napari_d2r.widgets._schema_form import SchemaForm


@pytest.fixture
def form(qtbot: Any) -> SchemaForm:
    widget = SchemaForm(TrainJob, leave_out=("factor", "start_from", "reference"))
    qtbot.addWidget(widget)
    return widget


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_survives_the_form(form: SchemaForm, name: str) -> None:
    job = load_preset(name)
    form.set_values(job.model_dump(mode="json"))
    assert TrainJob.checked(form.values()) == job


def test_odd_jobs_survive_the_form(form: SchemaForm, tiny_job: TrainJob) -> None:
    odd = TrainJob.checked(
        tiny_job.model_dump(mode="json")
        | {"student": None, "seed": 2**31 - 1, "max_minutes": 0.25}
        | {"targets": {"kind": "none", "factor": 3, "max_voxels": 134_217_728}}
    )
    for job in (tiny_job, odd, load_preset("paper")):  # in both directions
        form.set_values(job.model_dump(mode="json"))
        assert TrainJob.checked(form.values()) == job


def test_controls_carry_titles_ranges_and_choices_of_the_schema(form: SchemaForm) -> None:
    batch = form.findChild(QSpinBox, "prior.optimizer.batch")
    assert batch.minimum() == 1 and batch.accessibleName() == "Batch"
    assert "Crops per step" in batch.toolTip()
    decay = form.findChild(QDoubleSpinBox, "prior.optimizer.ema_decay")
    assert decay.minimum() == 0 and 0.999999 < decay.maximum() < 1
    steps = form.findChild(QSpinBox, "student.optimizer.max_steps")
    form.set_values(load_preset("quick").model_dump(mode="json"))
    assert steps.text() == "auto"
    steps.setValue(1)
    assert form.values()["student"]["optimizer"]["max_steps"] == 1
    solver = form.findChild(QComboBox, "targets.sampler.solver")
    assert [solver.itemText(i) for i in range(solver.count())][-1] == "dpm++"
    assert form.findChild(QGroupBox, "student").title() == "Stage III"
    kind = form.findChild(QComboBox, "degradation.kind")
    assert [kind.itemText(k) for k in range(kind.count())] == ["slice", "block", "gaussian"]
    assert form.findChild(QWidget, "factor") is None
    named = [w for w in form.findChildren(QWidget) if w.focusPolicy() & Qt.FocusPolicy.TabFocus]
    visible = [w for w in named if w.objectName() and not w.objectName().startswith("qt_")]
    assert len(visible) > 40 and all(w.accessibleName() for w in visible)


def test_typing_changes_the_job_and_tells_so(form: SchemaForm, qtbot: Any) -> None:
    form.set_values(load_preset("quick").model_dump(mode="json"))
    rate = form.findChild(QDoubleSpinBox, "student.optimizer.learning_rate")
    rate.selectAll()
    with qtbot.waitSignal(form.changed):
        qtbot.keyClicks(rate, "4e-5")
        qtbot.keyClick(rate, Qt.Key.Key_Return)
    assert form.values()["student"]["optimizer"]["learning_rate"] == 4e-5
    form.findChild(QComboBox, "degradation.kind").setCurrentText("gaussian")
    form.findChild(QDoubleSpinBox, "degradation.sigma").setValue(2.5)
    form.findChild(QDoubleSpinBox, "degradation.spread").setValue(2)
    blurred = DegradationSettings(kind="gaussian", sigma=2.5, spread=2)
    assert TrainJob.checked(form.values()).degradation == blurred
    options = form.findChild(QLineEdit, "prior.network.options")
    qtbot.keyClicks(options, "{widths: [8, 16]}")
    assert form.values()["prior"]["network"]["options"] == {"widths": [8, 16]}
    options.setText("widths 8")
    with pytest.raises(InputError, match="write it like"):
        form.values()


def test_a_passing_wheel_changes_nothing(form: SchemaForm, qtbot: Any) -> None:
    from qtpy.QtCore import QPoint, QPointF
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    form.set_values(load_preset("quick").model_dump(mode="json"))
    before = form.values()
    for name in ("prior.optimizer.batch", "prior.columns", "targets.kind", "device"):
        at = QPointF(3, 3)
        turn = QWheelEvent(
            at,
            at,
            QPoint(0, 0),
            QPoint(0, 120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(form.findChild(QWidget, name), turn)
    assert form.values() == before
