"""Events to the terminal: one bar with an ETA, or plain lines where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

from tqdm import tqdm

from napari_d2r.jobs import (
    TRAINING_LOSS,
    VALIDATION_GAIN,
    Event,
    Progress,
    Scalars,
    StageStarted,
    Warned,
    Workers,
)

_LINE_EVERY_S = 10.0
_SUMMED_UP = {TRAINING_LOSS, VALIDATION_GAIN}  # shown with the progress, or part by part


class Reporter:
    """Shows a job on stderr and its results on stdout."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._bar: tqdm[None] | None = None
        self._last_line = 0.0
        self._loss = ""
        self._workers: int | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted(title, index, count):
                self.close()
                self._workers = None
                self.say(f"[{index}/{count}] {title}" if count > 1 else title)
            case Warned(message):
                self.say(f"note: {message}")
            case Progress():
                self._show(event)
            case Workers(count):
                self._workers = count
            case Scalars(step, values):
                if TRAINING_LOSS in values:
                    self._loss = f"step {step}, loss {values[TRAINING_LOSS]:.4g}"
                shown = {k: v for k, v in values.items() if k not in _SUMMED_UP}
                if shown:
                    self.say("  " + ", ".join(f"{k} {v:+.2f}" for k, v in shown.items()))
            case _:
                pass

    def say(self, line: str) -> None:
        """One line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def print(self, lines: Iterable[str]) -> None:
        """Results, one line each."""
        sys.stdout.writelines(line + "\n" for line in lines)
        sys.stdout.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, progress: Progress) -> None:
        if self._is_terminal:
            if self._bar is None:
                self._bar = tqdm(total=1.0, bar_format="{l_bar}{bar}| {postfix}", leave=False)
            self._bar.n = progress.done / progress.total
            self._bar.set_postfix_str(self._words(progress))
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_EVERY_S or progress.done >= progress.total:
            self._last_line = now
            self.say(f"  {100 * progress.done / progress.total:.0f} %, {self._words(progress)}")

    def _words(self, progress: Progress) -> str:
        words = []
        if progress.unit != "of the budget":
            words.append(f"{progress.done:g}/{progress.total:g} {progress.unit}")
        elif self._loss:
            words.append(self._loss)
        if self._workers is not None:
            words.append(f"{self._workers} worker{'' if self._workers == 1 else 's'}")
        if progress.eta_s is not None:
            words.append(f"{progress.eta_s:.0f} s left")
        return ", ".join(words)
