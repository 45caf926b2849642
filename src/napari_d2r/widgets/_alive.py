"""Slots that fall silent with their widget."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from qtpy.compat import isalive

Slot = TypeVar("Slot", bound=Callable[..., Any])


def while_alive(slot: Slot) -> Slot:
    """Guard a slot that hears the viewer, or the list of models, which outlive its dock.

    Qt deletes the widgets of a closed dock at once; Python lets go of them when it likes,
    and until then their slots are still called.
    """

    @wraps(slot)
    def guarded(self: Any, *arguments: Any) -> None:
        if isalive(self):
            slot(self, *arguments)

    return guarded  # type: ignore[return-value]
