"""A request to stop, honoured at the next tile or training step."""

from __future__ import annotations

import threading


class CancelToken:
    """Set from any thread (a button, Ctrl-C, a signal); read by the running job."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the job to stop at its next boundary."""
        self._event.set()

    def __bool__(self) -> bool:
        """Whether someone asked to stop."""
        return self._event.is_set()
