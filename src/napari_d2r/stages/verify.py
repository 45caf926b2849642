"""Whether a result still holds what was written: ``napari-d2r verify out.ome.zarr``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_d2r.io import DamagedShard, forget, unfinished_of, verify_store
from napari_d2r.jobs import CancelToken, Event, Finished, Outcome, Progress, Started

__all__ = ["VerifyReport", "verify_stream"]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found.

    Parameters
    ----------
    path
        The store, or the name of the unfinished one.
    is_finished
        Whether it is published; else its finished shards were looked at.
    num_shards
        How many were read, of all levels.
    damaged
        Those that do not hold what was written.
    is_mended
        Whether damaged shards were deleted, for a resumed run to compute again.
    """

    path: Path
    is_finished: bool
    num_shards: int
    damaged: tuple[DamagedShard, ...]
    is_mended: bool = False

    def lines(self) -> tuple[str, ...]:
        """The report in words."""
        if not self.damaged:
            return (f"{self.path.name}: all {self.num_shards} shards are as they were written.",)
        if self.is_mended:
            advice = "they are deleted, and super-resolve --resume computes them again"
        elif self.is_finished:
            advice = "restore them from a copy, or repeat the run with --overwrite"
        else:
            advice = "verify --mend deletes them, and super-resolve --resume computes them again"
        head = f"{self.path.name}: {len(self.damaged)} of {self.num_shards} shards are damaged"
        return (f"{head}; {advice}.", *(f"{one.file}: {one.reason}" for one in self.damaged))

    def summary(self) -> dict[str, object]:
        """Plain values: ``path``, ``is_finished``, ``num_shards``, ``damaged``, ``is_mended``."""
        return {**asdict(self), "path": str(self.path)}


def verify_stream(
    path: Path, *, mend: bool = False, cancel: CancelToken | None = None
) -> Iterator[Event]:
    """Read every shard once; ends in ``Finished`` with `VerifyReport`.

    Parameters
    ----------
    path
        A store that super-resolve wrote, or the output of a run that was interrupted, or the
        ``.partial`` beside it.
    mend
        Of an unfinished store, delete what is damaged. A published one is never changed.

    Raises
    ------
    InputError
        If there is no such store.
    """
    yield Started("verify", path)
    is_finished, num_shards, damaged = unfinished_of(path) is None, 0, []
    for num_shards, total, found in verify_store(path):
        if found is not None:
            damaged.append(found)
        yield Progress(num_shards, total, "shards")
        if cancel:
            yield Finished(Outcome.CANCELLED)
            return
    is_mended = mend and not is_finished and bool(damaged)
    if is_mended:
        forget(path, damaged)
    report = VerifyReport(path, is_finished, num_shards, tuple(damaged), is_mended)
    yield Finished(Outcome.COMPLETED, report)
