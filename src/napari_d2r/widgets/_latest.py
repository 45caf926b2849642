"""Questions answered in a thread, of which only the latest counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_d2r.jobs import CancelToken, Event, Failed, Finished
from napari_d2r.widgets._runner import JobRunner, keeper_of

Answer = Callable[[Any, CancelToken], Iterator[Event]]


class Latest(QObject):
    """Waits until questions cease for ``delay_ms``, then answers the last one.

    ``answered`` gives the question and the result of its ``Finished`` event, ``failed`` the
    question and a sentence, ``told`` every other event. What belongs to an older question is
    cancelled and dropped.
    """

    answered = Signal(object, object)
    failed = Signal(object, str)
    told = Signal(object)

    def __init__(self, name: str, answer: Answer, owner: QWidget, *, delay_ms: int = 0) -> None:
        super().__init__(owner)
        self._name, self._answer, self._owner = name, answer, owner
        self._question: Any = None
        self._runner: JobRunner | None = None
        self._running_question: Any = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(delay_ms)
        self._timer.timeout.connect(self._begin)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._timer.isActive() or self._runner is not None

    def ask(self, question: Any) -> None:
        """Put a new question; None drops the old one and asks nothing."""
        self._question = question
        if self._runner is not None:
            self._runner.cancel()
        if question is None:
            self._timer.stop()
        else:
            self._timer.start()

    def _begin(self) -> None:
        if self._runner is not None or self._question is None:
            return  # the running one is cancelled, and its end begins this one
        self._running_question = question = self._question
        runner = JobRunner(partial(self._answer, question))
        start_kept(runner, self._name, self._owner)
        runner.told.connect(self._on_told)
        runner.ended.connect(self._on_ended)
        self._runner = runner

    def _on_told(self, event: Event) -> None:
        question = self._running_question
        if question is not self._question:
            return
        if isinstance(event, Finished):
            self.answered.emit(question, event.result)
        elif isinstance(event, Failed):
            self.failed.emit(question, event.message)
        else:
            self.told.emit(event)

    def _on_ended(self) -> None:
        self._runner = None
        is_stale = self._running_question is not self._question
        self._running_question = None
        if is_stale and not self._timer.isActive():
            self._begin()


def start_kept(runner: JobRunner, name: str, owner: QWidget) -> None:
    """Start a runner that ends with the window of ``owner``, whatever becomes of ``owner``."""
    keeper = keeper_of(owner)
    key = f"{name} {id(runner)}"
    keeper.keep(key, runner)
    runner.ended.connect(partial(keeper.release, key))
    runner.start()
