"""What a piece of work costs: processor time, time by the clock, and memory."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import psutil
import torch

from napari_d2r.jobs import FrozenModel

__all__ = ["Cost", "Meter"]

_LOOK_EVERY_S = 0.1


class Cost(FrozenModel):
    """Of one piece of work, or of several one after the other."""

    processor_s: float = 0.0
    wall_s: float = 0.0
    memory_mb: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            processor_s=self.processor_s + other.processor_s,
            wall_s=self.wall_s + other.wall_s,
            memory_mb=max(self.memory_mb, other.memory_mb),
        )

    def seconds(self, device: torch.device) -> float:
        """Processor time where a processor computes, else time by the clock."""
        return self.processor_s if device.type == "cpu" else self.wall_s


@dataclass
class Meter:
    """``with Meter(device) as meter: ...``, then ``meter.cost``.

    Processor time is that of all threads of this process. Memory is, on a processor, the largest
    resident set of this process, everything that was there before included, looked at ten times a
    second; on cuda, the most that torch held there.
    """

    device: torch.device
    cost: Cost = field(default_factory=Cost)
    _stop: threading.Event = field(default_factory=threading.Event)
    _most: int = 0

    def __enter__(self) -> Self:
        self._began = time.process_time(), time.perf_counter()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._watcher = threading.Thread(target=self._watch, name="d2r-meter", daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._watcher.join()
        if self.device.type == "cuda":
            self._most = torch.cuda.max_memory_allocated(self.device)
        self.cost = Cost(
            processor_s=time.process_time() - self._began[0],
            wall_s=time.perf_counter() - self._began[1],
            memory_mb=self._most / 1e6,
        )

    def _watch(self) -> None:
        process = psutil.Process()
        while True:
            self._most = max(self._most, process.memory_info().rss)
            if self._stop.wait(_LOOK_EVERY_S):
                return
