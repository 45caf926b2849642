"""Reads in a thread; while it reads, only the latest wish is remembered."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_d2r.jobs import CancelToken, Failed
from napari_d2r.widgets._runner import JobKeeper, JobRunner, keeper_of

Tasks = Mapping[Hashable, Callable[[], Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """The outcome of one task; small enough for the screen."""

    key: Any
    value: Any


class Reader(QObject):
    """Does named tasks one after the other, off the GUI thread.

    ``told`` gives a `Read` for each, ``failed`` a sentence, ``idle`` says that all is done. A wish
    that comes while another is served waits, and a newer one takes its place: so a drag through a
    slow volume shows what it can and always ends at the place where it stopped. A task that fails
    holds up no other.
    """

    told = Signal(object)
    failed = Signal(str)
    idle = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._widget = parent
        self._runner: JobRunner | None = None
        self._keeper: JobKeeper | None = None
        self._next: Tasks | None = None
        self._left: dict[Hashable, Callable[[], Any]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether something is being read."""
        return self._runner is not None

    def ask(self, tasks: Tasks) -> None:
        """Do these tasks next, instead of any that wait."""
        self._next = tasks
        if self._runner is None:
            self._begin()

    def forget(self) -> None:
        """Drop what waits, and stop at the next task."""
        self._next = None
        if self._runner is not None:
            self._runner.cancel()

    def _begin(self) -> None:
        tasks, self._next = self._next, None
        self._left = dict(tasks or {})
        if not tasks:
            self.idle.emit()
            return

        def work(token: CancelToken) -> Iterator[Any]:
            for key, task in tasks.items():
                if token:
                    return
                yield Read(key, task())

        self._runner = JobRunner(work)
        self._runner.told.connect(self._on_told)
        self._runner.ended.connect(self._on_ended)
        self._keeper = keeper_of(self._widget)
        self._keeper.keep(self._name, self._runner)
        self._runner.start()

    @property
    def _name(self) -> str:
        return f"compare-{id(self)}"

    def _on_told(self, event: Any) -> None:
        if self._runner is None or self._runner.is_cancelled:
            return
        if isinstance(event, Failed):
            self._left.pop(next(iter(self._left)))  # tasks are done in order
            self._next = self._next or self._left
            self.failed.emit(event.message)
        else:
            self._left.pop(event.key)
            self.told.emit(event)

    def _on_ended(self) -> None:
        if self._runner is not None:
            self._runner.wait(1.0)  # its last act was to say so
        if self._keeper is not None:
            self._keeper.release(self._name)
        self._runner = None
        self._begin()
