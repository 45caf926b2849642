"""The napari plugin: widgets over the same jobs, plans and events as the command line.

Only this room knows Qt and napari. Leaf widgets emit signals; the owner of a dock acts.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "CompareWidget": "compare",
    "ResolutionWidget": "resolution",
    "SuperResolveWidget": "super_resolve",
    "TrainWidget": "train",
    "copy_methods_paragraph": "methods_text",
}

__all__ = [  # each is imported when first used, so that opening one is quick
    "CompareWidget",
    "ResolutionWidget",
    "SuperResolveWidget",
    "TrainWidget",
    "copy_methods_paragraph",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
