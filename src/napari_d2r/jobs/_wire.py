"""Events as lines of text, so that one process can watch a job that runs in another.

A line is a JSON object: ``event`` names the type, the other keys are its fields. Paths are
strings, pictures and numbers that JSON cannot hold are objects with one key, ``$picture``
and ``$float``.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from napari_d2r.errors import InputError
from napari_d2r.jobs._events import Event, Preview

_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
_PICTURE, _FLOAT = "$picture", "$float"
_PICTURE_EDGE = 256
# What fields that do not fit may raise.
_MISFITS = (ValidationError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


@runtime_checkable
class HasSummary(Protocol):
    """A result that can be told in a line."""

    def summary(self) -> dict[str, Any]:
        """Its facts as plain values: numbers, strings, paths, lists and mappings."""
        ...


def encode(event: Event) -> str:
    """One line of JSON in ASCII, without its end.

    A result is told by its ``summary()``; one that has none must be a plain value.
    Pictures are stored with 8 bits, at most 256 x 256: a line has at most 90 kB for each.
    """
    fields = {field.name: _plain(getattr(event, field.name)) for field in dataclasses.fields(event)}
    return json.dumps({"event": type(event).__name__, **fields}, allow_nan=False)


def decode(line: str) -> Event:
    """The event of a line; a result comes back as plain values, a summary as a mapping.

    Raises
    ------
    InputError
        For a line that is torn, is not an event, or has fields that do not fit.
    """
    try:
        fields = json.loads(line, object_hook=_special)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise InputError(
            f"A line of the event stream is torn or not JSON: {_shown(line)}; update both "
            "programs if it happens again."
        ) from error
    name = fields.pop("event", None) if isinstance(fields, dict) else None
    if not isinstance(name, str) or name not in _KINDS:
        raise InputError(
            f"A line of the event stream is no event that is known here: {_shown(line)}; use the "
            "same version of this program on both sides."
        )
    try:
        if _KINDS[name] is Preview:
            return Preview(
                int(fields["step"]), {k: _picture(v) for k, v in fields["images"].items()}
            )
        return _reader(name).validate_python(fields)
    except _MISFITS as error:
        raise InputError(
            f"A line of the event stream does not fit its type {name}: {_shown(line)}; use the "
            "same version of this program on both sides."
        ) from error


@cache
def _reader(name: str) -> TypeAdapter[Event]:
    return TypeAdapter(_KINDS[name])


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if not math.isfinite(value):
            return {_FLOAT: str(value)}
        case float():
            return value
        case Path():
            return str(value)
        case Enum():
            return value.value
        case np.generic():
            return _plain(value.item())
        case np.ndarray():
            return {_PICTURE: _packed(value)}
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case HasSummary():
            return _plain(value.summary())
    raise TypeError(f"{type(value).__name__} cannot be told in a line; give it a summary()")


def _special(fields: dict[str, Any]) -> Any:
    return float(fields[_FLOAT]) if fields.keys() == {_FLOAT} else fields


def _packed(image: NDArray[Any]) -> dict[str, Any]:
    cropped = np.nan_to_num(image[:_PICTURE_EDGE, :_PICTURE_EDGE])
    grey = np.rint(cropped.clip(0, 1) * 255).astype(np.uint8)
    text = base64.b64encode(grey.tobytes()).decode("ascii")
    return {"shape": list(grey.shape), "grey": text}


def _picture(fields: Mapping[str, Any]) -> NDArray[np.float32]:
    packed = fields[_PICTURE]
    grey = np.frombuffer(base64.b64decode(packed["grey"], validate=True), np.uint8)
    height, width = packed["shape"]
    return grey.reshape(height, width).astype(np.float32) / np.float32(255)


def _shown(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:77] + "...")
