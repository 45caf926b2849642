"""YAML that anybody may have written: short enough to be read at once, or refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from napari_d2r.errors import InputError

LONGEST = 2**15  # bytes; however they are nested, it takes less than a second to parse them


def read_yaml(path: Path) -> str:
    """The text of a file of settings.

    Raises
    ------
    InputError
        Where it is no text, or too long for what people write.
    OSError
        Where it cannot be read.
    """
    with path.open("rb") as file:
        found = file.read(LONGEST + 1)
    _require_short(len(found), str(path))
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file; settings are written in YAML.") from error


def parse_yaml(text: str, origin: str) -> Any:
    """Plain values.

    Raises
    ------
    InputError
        For text that is too long, or is not YAML.
    """
    _require_short(len(text), origin)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # also dates and deep nesting
        raise InputError(f"{origin} is not valid YAML: {' '.join(str(error).split())}.") from error


def _require_short(length: int, origin: str) -> None:
    if length > LONGEST:
        raise InputError(f"{origin} is longer than {LONGEST // 1024} KiB; name a file of settings.")
