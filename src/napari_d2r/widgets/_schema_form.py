"""A form made from the schema of a pydantic model: what a job can say, a form can show."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import yaml
from pydantic import BaseModel
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QGroupBox,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_d2r.errors import InputError
from napari_d2r.widgets._controls import rich, show_row
from napari_d2r.widgets._number_box import ChoiceBox, IntegerBox, NumberBox

_MOST_INTEGER = 2**31 - 1
_MOST_NUMBER = 1e12
_LEAST_STEP = 1e-12  # between an exclusive limit and the first number that is allowed
_AUTOMATIC = "auto"

Schema = Mapping[str, Any]


class Field(Protocol):
    """One control, or a group of them: a widget, and plain values in and out."""

    widget: QWidget

    def get(self) -> Any: ...
    def set(self, value: Any) -> None: ...


class SchemaForm(QWidget):
    """One control for each field of a model, groups for the models inside it.

    The object name of a control is the name of its field, such as
    ``prior.optimizer.batch``: that which ``--set`` takes. ``changed`` comes when the user,
    or `set_values`, changes anything.

    Parameters
    ----------
    model
        Whose titles, descriptions, ranges and choices are shown.
    leave_out
        Fields of the top level that are shown elsewhere.
    """

    changed = Signal()

    def __init__(
        self,
        model: type[BaseModel],
        leave_out: Collection[str] = (),
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        schema = model.model_json_schema()
        self._quiet = False
        builder = _Builder(schema.get("$defs", {}), self._on_change)
        shown = {k: v for k, v in schema["properties"].items() if k not in leave_out}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._fields, self._rows = builder.fields(shown, "")
        column.addLayout(self._rows)

    def values(self) -> dict[str, Any]:
        """Plain values of every field, as a job file would hold them.

        Raises
        ------
        InputError
            Where a text is not what it should be.
        """
        return {name: field.get() for name, field in self._fields.items()}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show these values; fields that are not named stay as they are."""
        self._quiet = True
        for name, field in self._fields.items():
            if name in values:
                field.set(values[name])
        self._quiet = False
        self.changed.emit()

    def show_only(self, names: Collection[str]) -> None:
        """Hide every other field of the top level; `values` has them all the same."""
        for name, field in self._fields.items():
            show_row(self._rows, field.widget, name in names)

    def _on_change(self, *_: object) -> None:
        if not self._quiet:
            self.changed.emit()


class _Builder:
    """Turns schemas into fields."""

    def __init__(self, definitions: Schema, on_change: Any) -> None:
        self._definitions, self._on_change = definitions, on_change

    def fields(self, properties: Schema, prefix: str) -> tuple[dict[str, Field], QFormLayout]:
        """A field for each property, in rows."""
        layout = QFormLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        # Rows that wrap change their height with the width, which folded parts do not follow.
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        fields = {}
        for name, schema in properties.items():
            field = fields[name] = self.field(schema, f"{prefix}{name}")
            if isinstance(field, _Group):
                layout.addRow(field.widget)
            else:
                layout.addRow(schema.get("title", name), field.widget)
        return fields, layout

    def field(self, schema: Schema, path: str) -> Field:
        """The field for one property."""
        options = [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]
        is_optional = len(options) < len(schema.get("anyOf", [schema]))
        inner = {**schema, **self._resolved(options[0])}
        inner |= {key: schema[key] for key in ("title", "description") if key in schema}
        if "properties" in inner:
            return self._group(inner, path, is_optional)
        field = self._control(inner, is_optional)
        self._name(field, inner, path)
        return field

    def _resolved(self, schema: Schema) -> Schema:
        found: Schema = (schema.get("allOf") or [schema])[0]
        if "$ref" in found:
            return self._definitions[found["$ref"].rsplit("/", 1)[-1]]
        return found

    def _group(self, schema: Schema, path: str, is_optional: bool) -> Field:
        fields, layout = self.fields(schema["properties"], f"{path}.")
        box = QGroupBox(schema.get("title", path))
        box.setObjectName(path)
        box.setAccessibleName(schema.get("title", path))
        box.setToolTip(rich(schema.get("description", "")))
        column = QVBoxLayout(box)
        column.setContentsMargins(4, 2, 0, 2)
        column.addLayout(layout)
        if is_optional:
            box.setCheckable(True)
            box.toggled.connect(self._on_change)
        return _Group(box, fields, is_optional)

    def _control(self, schema: Schema, is_optional: bool) -> Field:
        match schema.get("type"):
            case "integer":
                return _Integer(schema, is_optional, self._on_change)
            case "number":
                return _Number(schema, is_optional, self._on_change)
            case kind if is_optional:
                raise TypeError(f"no control for {kind} or None")
            case "boolean":
                return _Tick(self._on_change)
            case "object":
                return _Text(self._on_change, is_yaml=True)
        if "enum" in schema:
            return _Choice(schema["enum"], self._on_change)
        return _Text(self._on_change)

    def _name(self, field: Field, schema: Schema, path: str) -> None:
        title = schema.get("title", path)
        description = schema.get("description", "").replace("None:", f"{_AUTOMATIC}:")
        field.widget.setObjectName(path)
        field.widget.setAccessibleName(title)
        field.widget.setAccessibleDescription(description)
        field.widget.setToolTip(rich(description or f"{title}: {path}"))


class _Group:
    """Fields of a model inside the model; unticked means none."""

    def __init__(self, box: QGroupBox, fields: Mapping[str, Field], is_optional: bool) -> None:
        self.widget: QGroupBox = box
        self._fields, self._is_optional = fields, is_optional

    def get(self) -> Any:
        if self._is_optional and not self.widget.isChecked():
            return None
        return {name: field.get() for name, field in self._fields.items()}

    def set(self, value: Any) -> None:
        if self._is_optional:
            self.widget.setChecked(value is not None)
        for name, field in self._fields.items():
            if value is not None and name in value:
                field.set(value[name])


class _Choice:
    def __init__(self, choices: list[str], on_change: Any) -> None:
        self.widget = ChoiceBox()
        self.widget.addItems([str(choice) for choice in choices])
        self.widget.currentIndexChanged.connect(on_change)

    def get(self) -> str:
        return str(self.widget.currentText())

    def set(self, value: Any) -> None:
        self.widget.setCurrentText(str(value))


class _Tick:
    def __init__(self, on_change: Any) -> None:
        self.widget = QCheckBox()
        self.widget.toggled.connect(on_change)

    def get(self) -> bool:
        return bool(self.widget.isChecked())

    def set(self, value: Any) -> None:
        self.widget.setChecked(bool(value))


class _Integer:
    """A whole number; where it may be left to the program, "auto" stands below the smallest."""

    def __init__(self, schema: Schema, is_optional: bool, on_change: Any) -> None:
        self.widget, self._is_optional = IntegerBox(), is_optional
        low = schema.get("minimum", schema.get("exclusiveMinimum", -_MOST_INTEGER - 1) + 1)
        high = schema.get("maximum", schema.get("exclusiveMaximum", _MOST_INTEGER + 1) - 1)
        self._none = low - 1
        self.widget.setRange(self._none if is_optional else low, high)
        self.widget.setSpecialValueText(_AUTOMATIC if is_optional else "")
        self.widget.valueChanged.connect(on_change)

    def get(self) -> int | None:
        value = int(self.widget.value())
        return None if self._is_optional and value == self._none else value

    def set(self, value: Any) -> None:
        self.widget.setValue(self._none if value is None else value)


class _Number:
    """A number; where it may be left to the program, "auto" stands below the smallest."""

    def __init__(self, schema: Schema, is_optional: bool, on_change: Any) -> None:
        self.widget, self._is_optional = NumberBox(), is_optional
        low = schema.get("minimum", schema.get("exclusiveMinimum", -_MOST_NUMBER) + _LEAST_STEP)
        high = schema.get("maximum", schema.get("exclusiveMaximum", _MOST_NUMBER) - _LEAST_STEP)
        self._none = schema.get("exclusiveMinimum", low - 1)
        self.widget.setRange(self._none if is_optional else low, high)
        self.widget.setSpecialValueText(_AUTOMATIC if is_optional else "")
        self.widget.valueChanged.connect(on_change)

    def get(self) -> float | None:
        value = float(self.widget.value())
        return None if self._is_optional and value == self._none else value

    def set(self, value: Any) -> None:
        self.widget.setValue(self._none if value is None else value)


class _Text:
    """A word, or plain values as YAML in one line."""

    def __init__(self, on_change: Any, *, is_yaml: bool = False) -> None:
        self.widget = QLineEdit()
        self._is_yaml = is_yaml
        self.widget.editingFinished.connect(on_change)
        if is_yaml:
            self.widget.setPlaceholderText("{widths: [24, 48]}")

    def get(self) -> Any:
        text = self.widget.text().strip()
        if not self._is_yaml:
            return text
        try:
            values = yaml.safe_load(text or "{}")
        except yaml.YAMLError:
            values = None
        if not isinstance(values, dict):
            name = self.widget.objectName()
            raise InputError(f"{name}: write it like {{widths: [24, 48]}}, not {text!r}.")
        return values

    def set(self, value: Any) -> None:
        text = json.dumps(value) if self._is_yaml and value else "" if self._is_yaml else str(value)
        self.widget.setText(text)
        self.widget.setCursorPosition(0)
