"""A training in a process of its own: its events come out, a request to stop goes in.

Napari stays fluid whatever the child computes, and a child whose napari has gone reads the
end of its stdin, saves its state and ends.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil
from qtpy.QtCore import QObject, QProcess, QProcessEnvironment, Signal

from napari_d2r.errors import InputError
from napari_d2r.jobs import Event, Failed, Finished, Outcome, decode

logger = logging.getLogger(__name__)

_STDERR_LINES = 60
_KILLED_WAIT_MS = 500
_NICER, _NICEST = 10, 19


class JobChild(QObject):
    """Runs one command of ``napari-d2r`` with ``--events``.

    ``told`` gives every event; where the child ends without a last one, a `Failed` that says
    so. ``ended`` comes after the last of them, once.

    Parameters
    ----------
    arguments
        Of the command line, without the name of the program.
    threads
        That its networks may use.
    environment
        Variables to set beside those of this process.
    """

    told = Signal(object)
    ended = Signal()

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        threads: int,
        environment: Mapping[str, str] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._process = QProcess(self)
        self._process.setProgram(sys.executable)
        self._process.setArguments(["-m", "napari_d2r", *arguments, "--events"])
        variables = QProcessEnvironment.systemEnvironment()
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            variables.insert(name, str(threads))
        for name, value in ({"PYTHONIOENCODING": "utf-8"} | dict(environment or {})).items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        self._process.started.connect(self._on_started)
        self._process.readyReadStandardOutput.connect(self._read)
        self._process.readyReadStandardError.connect(self._read_errors)
        self._process.finished.connect(self._on_finished)
        self._process.errorOccurred.connect(self._on_error)
        self._pending = b""
        self._errors: deque[str] = deque(maxlen=_STDERR_LINES)
        self._has_last_event = self._has_ended = False

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return bool(self._process.state() != QProcess.ProcessState.NotRunning)

    @property
    def process_id(self) -> int:
        """Of the operating system; 0 when it does not run."""
        return int(self._process.processId())

    def start(self) -> None:
        """Begin; a child is used once."""
        self._process.start()

    def cancel(self) -> None:
        """Ask the job to stop at its next boundary, with its state saved."""
        if self.is_running:
            self._process.write(b"cancel\n")
            self._process.closeWriteChannel()  # after what was written

    def wait(self, seconds: float) -> bool:
        """For a window that closes: wait, kill what does not stop, and tell nothing more."""
        self.blockSignals(True)
        if self.is_running and not self._process.waitForFinished(int(1000 * seconds)):
            self._process.kill()
            self._process.waitForFinished(_KILLED_WAIT_MS)
        return not self.is_running

    def _on_started(self) -> None:
        with suppress(psutil.Error, OSError):  # a courtesy to napari, not a need
            child = psutil.Process(self.process_id)
            if sys.platform == "win32":
                child.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
            else:
                child.nice(min(_NICEST, child.nice() + _NICER))

    def _read(self) -> None:
        *lines, self._pending = (
            self._pending + bytes(self._process.readAllStandardOutput())
        ).split(b"\n")
        for line in lines:
            try:
                event = decode(line.decode("utf-8", "replace"))
            except InputError as error:  # torn by a crash; how it ended is told below
                logger.warning("%s", error)
                continue
            self._tell(event)

    def _read_errors(self) -> None:
        text = bytes(self._process.readAllStandardError()).decode("utf-8", "replace")
        self._errors.extend(line for line in text.splitlines() if line.strip())

    def _tell(self, event: Event) -> None:
        self._has_last_event |= isinstance(event, (Finished, Failed))
        self.told.emit(event)
        if isinstance(event, Finished) and event.outcome is Outcome.CANCELLED:
            self._process.kill()  # its state is saved; unloading itself would take a second

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        self._read_errors()
        if not self._has_last_event:
            how = f"stopped with code {code}"
            if status == QProcess.ExitStatus.CrashExit:
                how = "was ended from outside, or for want of memory"
            self._tell(Failed(f"The training process {how}.", "\n".join(self._errors)))
        self._end()

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._tell(Failed(f"The training could not be started: {sys.executable} does not run."))
            self._end()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self.ended.emit()
