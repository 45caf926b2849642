"""``--events``: a job that another process starts, watches and stops, by lines of text."""

from __future__ import annotations

import io
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

from napari_d2r.cli._progress import Reporter
from napari_d2r.jobs import CancelToken, Event, Failed, encode


class WireReporter(Reporter):
    """Writes each event to stdout as one line, and nothing else.

    Where nobody reads any more, the job is asked to stop, so that it ends with its state
    saved rather than with a broken pipe.
    """

    def __init__(self, stream: TextIO, cancel: CancelToken) -> None:
        super().__init__()
        self._stream, self._cancel = stream, cancel

    def __call__(self, event: Event) -> None:
        if self._stream.closed:
            return
        try:
            self._stream.write(encode(event) + "\n")
            self._stream.flush()
        except OSError:  # the reader is gone
            self._cancel.cancel()
            with suppress(OSError):
                self._stream.close()

    def print(self, lines: Iterable[str]) -> None:
        """Nothing: what the lines say is in the last event."""

    def say(self, line: str) -> None:
        """A line on stderr, which may be gone too."""
        with suppress(OSError):
            super().say(line)

    def fail(self, message: str) -> None:
        """The exception that is being handled, as the last event."""
        self(Failed(message, traceback.format_exc()))


@contextmanager
def wire(cancel: CancelToken) -> Iterator[WireReporter]:
    """Events to stdout, requests from stdin; what others print goes to stderr meanwhile."""
    listen(cancel)
    stream = sys.stdout
    with redirect_stdout(sys.stderr):
        yield WireReporter(stream, cancel)


def listen(cancel: CancelToken) -> None:
    """Cancel on a line ``cancel``, and at the end of stdin: whoever started us is gone.

    Read in a thread and without a buffer, because the lock of a buffer that a daemon
    thread waits in cannot be taken when the interpreter shuts down.
    """
    try:
        handle = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError, io.UnsupportedOperation):
        return  # started without a stdin: there is nobody to listen to
    threading.Thread(target=_listen, args=(handle, cancel), daemon=True, name="requests").start()


def _listen(handle: int, cancel: CancelToken) -> None:
    pending = b""
    with suppress(OSError):  # closed under us: the same as its end
        while not cancel and (part := os.read(handle, 4096)):
            *lines, pending = (pending + part).split(b"\n")
            if any(line.strip() == b"cancel" for line in lines):
                break
    cancel.cancel()
