"""A job in a thread: events come out on the GUI thread, one cancel token goes in.

The only place of the plugin that catches every exception. A job that fails ends with
`Failed`, whose message is a sentence; nothing is lost in a thread.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication, QWidget

from napari_d2r.errors import D2RError, explain
from napari_d2r.jobs import CancelToken, Event, Failed

logger = logging.getLogger(__name__)

Work = Callable[[CancelToken], Iterator[Event]]
_KEEPER = "napari-d2r-jobs"
_PATIENCE_S = 2.0  # napari takes its part of the three seconds in which all should be over


class JobRunner(QObject):
    """Runs one job once.

    ``told`` gives every event, and `Failed` where the job raised; ``ended`` comes after
    the last of them. Both arrive on the GUI thread, in order.
    """

    told = Signal(object)
    ended = Signal()
    _passed = Signal(object)

    def __init__(self, work: Work, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._work, self._token = work, CancelToken()
        self._thread = threading.Thread(target=self._run, name="napari-d2r", daemon=True)
        self._passed.connect(self._on_passed)  # queued: the thread is not the GUI's

    @property
    def is_running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.is_alive()

    @property
    def is_cancelled(self) -> bool:
        """Whether a stop was asked for."""
        return bool(self._token)

    def start(self) -> None:
        """Begin; a runner is used once."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask the job to stop at its next boundary."""
        self._token.cancel()

    def wait(self, seconds: float) -> bool:
        """Wait for the thread; whether it ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            for event in self._work(self._token):
                self._tell(event)
        except Exception as error:  # the edge: exceptions become words here
            if not isinstance(error, D2RError):  # those are answers, not faults
                logger.exception("a job failed")
            self._tell(Failed(explain(error), traceback.format_exc()))
        self._tell(None)

    def _tell(self, event: Event | None) -> None:
        try:
            self._passed.emit(event)
        except RuntimeError:  # the window is gone, and nobody listens any more
            self._token.cancel()

    def _on_passed(self, event: Event | None) -> None:
        if event is None:
            self._thread.join()  # it has nothing left to do, and must not outlive this object
            self.ended.emit()
        else:
            self.told.emit(event)


class JobKeeper(QObject):
    """Everything that runs in one window, so that it survives a closed dock.

    When the window closes, all is asked to stop and waited for, two seconds at most: a tile
    that takes longer ends with the process, and its block is made anew when the run is resumed.
    Anything with ``cancel()`` and ``wait(seconds)`` can be kept.
    """

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setObjectName(_KEEPER)
        self.kept: dict[str, Any] = {}
        window.installEventFilter(self)
        self._window = weakref.ref(window)
        application = QApplication.instance()
        assert application is not None
        application.aboutToQuit.connect(self.stop_all)
        # Not the signal destroyed: PyQt crashes when it calls back out of a half-gone object.
        weakref.finalize(self, _stop, self.kept)

    def keep(self, name: str, runner: Any) -> None:
        """Hold on to a runner under a name until it is released."""
        self.kept[name] = runner

    def release(self, name: str) -> None:
        """Let go of a runner that has ended."""
        self.kept.pop(name, None)

    def stop_all(self) -> None:
        """Cancel everything and wait."""
        _stop(self.kept)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Look after the window: once it has closed, stop what runs."""
        if event.type() == QEvent.Type.Close:
            QTimer.singleShot(0, self._after_close)  # napari may ask first, and stay open
        return False

    def _after_close(self) -> None:
        window = self._window()
        if window is None or not window.isVisible():
            self.stop_all()


def keeper_of(widget: QWidget) -> JobKeeper:
    """The keeper of the window that a widget is docked in, floating or not."""
    window = widget
    while (parent := window.parentWidget()) is not None:
        window = parent
    found = window.findChild(QObject, _KEEPER)
    return found if isinstance(found, JobKeeper) else JobKeeper(window)


def _stop(kept: dict[str, Any]) -> None:
    runners = list(kept.values())
    for runner in runners:
        runner.cancel()
    until = time.monotonic() + _PATIENCE_S
    for runner in runners:
        runner.wait(max(0.0, until - time.monotonic()))
    kept.clear()
