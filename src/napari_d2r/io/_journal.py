"""The list of finished shards, as JSON lines beside the store they belong to."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from napari_d2r.errors import InputError
from napari_d2r.io._disk import sync_folder

__all__ = ["Claim", "Journal", "JournalHeader"]


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """What a resumed run must share with the one it continues, and what it should.

    Parameters
    ----------
    identity
        Digest of input, model and settings.
    shape, shard
        Of the output array, per axis.
    dtype
        Name of its type.
    chunk
        Edge of a chunk.
    voxel_size
        In nm, (z, y, x).
    origin
        Where the first voxel stands, in nm, (z, y, x).
    num_channels
        Of a volume that has channels.
    computed_on
        Device and threads, in words; the last bits may hang on them. Empty where nobody said.
    """

    identity: str
    shape: tuple[int, int, int]
    dtype: str
    shard: tuple[int, int, int]
    chunk: int
    voxel_size: tuple[float, ...]
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)
    num_channels: int | None = None
    computed_on: str = field(default="", compare=False)


_HEADER = TypeAdapter(JournalHeader)


@dataclass(frozen=True, slots=True)
class Claim:
    """How the journal of a run begins, by which other processes too know whose a store is."""

    journal: Path
    first_line: bytes

    def require(self) -> None:
        """Stop before touching the store of another run, on another machine say, that began anew.

        Raises
        ------
        InputError
            If the journal is gone, or begins with another header.
        """
        try:
            with self.journal.open("rb") as file:
                first_line = file.readline()
        except FileNotFoundError:
            first_line = b""
        if first_line != self.first_line:
            raise InputError(
                f"{self.journal.name} was begun anew or ended by another program, so this run "
                "stops; let only one run fill an output."
            )


class Journal:
    """One header line, then one line per shard, each on disk before the next shard begins.

    A crash can tear the last line only. It is cut off when the run goes on (`mend`), and its
    shard is done again. Completion is not read off the store: a shard of zeros may lawfully
    be absent, and a torn one present.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_whole = 0
        self._first_line = b""
        self.header: JournalHeader | None = None
        self.sizes: dict[tuple[int, int], int] = {}
        """Finished shards, by level and index: the length of their file in bytes (0: no file)."""

    @classmethod
    def create(cls, path: Path, header: JournalHeader) -> Journal:
        """Begin an empty journal, replacing an older one."""
        journal = cls(path)
        journal.header = header
        path.write_bytes(b"")
        journal._first_line = json.dumps(asdict(header)).encode() + b"\n"
        journal._append(journal._first_line)
        journal._num_whole = path.stat().st_size
        sync_folder(path.parent)
        return journal

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Read a journal, to its end or to the first line that is not whole.

        The file is left as it is, for a run may be writing it. The header is None if not
        even that line, or no file, is there.
        """
        journal = cls(path)
        if not path.is_file():
            return journal
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n") or not journal._accept(line):
                break
            journal._num_whole += len(line)
        return journal

    def mend(self) -> None:
        """Cut off what was not whole when opened, and what was added since; as `require_ours`."""
        self.require_ours()
        os.truncate(self._path, self._num_whole)

    def add(self, level: int, index: int, num_bytes: int) -> None:
        """Record that a shard is finished and on disk; as `require_ours`."""
        self.require_ours()
        entry = {"shard": index, "bytes": num_bytes, "level": level}
        self._append(json.dumps(entry).encode() + b"\n")
        self.sizes[level, index] = num_bytes

    @property
    def claim(self) -> Claim:
        """By which workers know that the store is still that of this journal."""
        return Claim(self._path.resolve(), self._first_line)

    def require_ours(self) -> None:
        """As `Claim.require`."""
        self.claim.require()

    def _append(self, line: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _accept(self, line: bytes) -> bool:
        """Take in one line; False if it is no journal line."""
        try:
            if self.header is None:
                self.header = _HEADER.validate_json(line)
                self._first_line = line
            else:
                entry = json.loads(line)
                self.sizes[int(entry["level"]), int(entry["shard"])] = int(entry["bytes"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return False
        return True
