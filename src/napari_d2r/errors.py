"""What can go wrong, in words for the person at the microscope.

Every message is one sentence that names what was wrong and what to do. Each
class carries the exit code that the command line returns for it.
"""

from __future__ import annotations

import errno

__all__ = [
    "D2RError",
    "DamagedError",
    "DiskFullError",
    "InputError",
    "ModelFileError",
    "NotFiniteError",
    "TrainingError",
    "explain",
    "is_out_of_memory",
]

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class D2RError(Exception):
    """A failure that the reader can understand and act upon."""

    exit_code = 1


class InputError(D2RError, ValueError):
    """A file, an array or a setting that cannot be used as it is."""

    exit_code = 2


class ModelFileError(InputError):
    """A model folder that is corrupt, foreign or does not fit the volume."""


class TrainingError(D2RError):
    """A training that cannot go on, for example because its loss is not finite."""


class DamagedError(D2RError):
    """A result that does not hold any more what was written."""


class NotFiniteError(D2RError):
    """A network that computes NaN or infinite values; nothing of them is written."""


class DiskFullError(D2RError):
    """The output disk ran out of room; finished shards are kept."""

    exit_code = 4


def explain(error: BaseException) -> str:
    """One sentence for the reader about any exception that reached an edge."""
    if isinstance(error, D2RError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full; what is finished is kept, so free some space and go on."
    if is_out_of_memory(error):
        return (
            "There is not enough memory; close other programs, lower the memory budget, or choose "
            "a smaller region."
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}." if error.filename else f"{error.strerror}."
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
    return f"Something unexpected went wrong ({type(error).__name__}: {first_line})."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of numpy or of torch, which raises a RuntimeError."""
    return isinstance(error, MemoryError) or any(w in str(error).lower() for w in _OUT_OF_MEMORY)
