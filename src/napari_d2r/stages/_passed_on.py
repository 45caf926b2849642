"""A job within a job: its events go on, its end is handed over."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from napari_d2r.jobs import Event, Finished, Outcome, Started

__all__ = ["passed_on"]


def passed_on(events: Iterator[Event]) -> Generator[Event, None, tuple[Outcome, Any]]:
    """Pass on a job's events but the first and the last; return how it ended and with what."""
    for event in events:
        if isinstance(event, Finished):
            return event.outcome, event.result
        if not isinstance(event, Started):
            yield event
    raise AssertionError("a job ends with Finished")
