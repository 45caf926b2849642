"""From a stream of events to an outcome, and results to stdout and files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_d2r.cli._progress import Reporter
from napari_d2r.jobs import CancelToken, Event, Finished, Outcome


def drain(
    events: Iterator[Event], reporter: Reporter, cancel: CancelToken | None = None
) -> tuple[Outcome, Any]:
    """Show every event; return how the job ended and with what.

    ``cancel`` is for jobs that do not look at it themselves.
    """
    try:
        for event in events:
            reporter(event)
            if isinstance(event, Finished):
                return event.outcome, event.result
            if cancel:
                return Outcome.CANCELLED, None
    finally:
        reporter.close()
    raise AssertionError("a job ends with Finished")


def write_json(target: str | None, report: Any) -> None:
    """Write a report, a string as it is; ``-`` is standard output, None nowhere."""
    if target is None:
        return
    text = report if isinstance(report, str) else json.dumps(report, indent=2)
    if target == "-":
        sys.stdout.write(text + "\n")
    else:
        Path(target).write_text(text + "\n", "utf-8")
