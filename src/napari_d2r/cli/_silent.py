"""What the processes beside the first say: nothing, until one of them fails."""

from __future__ import annotations

from collections.abc import Iterable

from napari_d2r.cli._progress import Reporter
from napari_d2r.jobs import Event


class Silent(Reporter):
    """Shows nothing."""

    def __call__(self, event: Event) -> None:
        """Nothing of it."""

    def say(self, line: str) -> None:
        """Nothing."""

    def print(self, lines: Iterable[str]) -> None:
        """Nothing."""
