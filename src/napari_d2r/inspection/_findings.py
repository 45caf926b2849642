"""What an inspection tells: findings in words, and the part of the stack worth keeping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Box", "Finding", "Inspection", "Label", "Severity", "listed"]

Severity = Literal["blocks", "warning", "note"]
Box = tuple[slice, slice, slice]
Label = Callable[[int], str]
"""Name of slice k for people: a file name, or its number."""

_ORDER = {"blocks": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One trap, or one fact worth knowing.

    Parameters
    ----------
    kind
        A stable name for programs, such as ``data-bar``; docs/traps.md lists them all.
    severity
        ``blocks``: the stack cannot be used as it is. ``warning``: it can, but the result
        suffers unless something is done. ``note``: true, and good to know.
    sentence
        What was found and what to do, for people.
    slices
        Which slices, counted from 0 in the order in which they are read; empty where it
        is about the whole stack.
    """

    kind: str
    severity: Severity
    sentence: str
    slices: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.sentence

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON takes it."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "sentence": self.sentence,
            "slices": list(self.slices),
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """All findings, the gravest first, and what to crop to.

    Parameters
    ----------
    findings
        In the order blocks, warning, note.
    suggested_box
        Part of the stack (z, y, x) without data bar and borders, in voxels; None where
        there is nothing to cut off.
    """

    findings: tuple[Finding, ...] = ()
    suggested_box: Box | None = None

    @classmethod
    def of(cls, findings: Sequence[Finding], box: Box | None = None) -> Inspection:
        """Sort the findings; those of one severity stay in the order given."""
        return cls(tuple(sorted(findings, key=lambda one: _ORDER[one.severity])), box)

    @property
    def blocks(self) -> bool:
        """Whether the stack cannot be used as it is."""
        return any(finding.severity == "blocks" for finding in self.findings)


def listed(names: Sequence[str], most: int = 6, total: int | None = None) -> str:
    """Names in a sentence: ``a, b and c``, or ``a, b, c, d, e and 12 more``.

    Of ``total`` names that are too many to be made, the first ``most`` will do.
    """
    count = len(names) if total is None else total
    shown = list(names) if count <= most else [*names[: most - 1], f"{count - most + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
