"""What can go wrong, in words for the person at the microscope.

Every message is one sentence that names what was wrong and what to do. Each
class carries the exit code that the command line returns for it.
"""

from __future__ import annotations

__all__ = ["D2RError", "DiskFullError", "InputError", "ModelFileError", "TrainingError"]


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


class DiskFullError(D2RError):
    """The output disk ran out of room; finished shards are kept."""

    exit_code = 4
