"""Numbers in file names: gaps, doubles and names out of line. No file is opened."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from napari_d2r.inspection._findings import Finding, listed

__all__ = ["inspect_names"]

_DIGITS = re.compile(r"\d+")
_MIN_FILES = 5  # fewer numbers show no step
_NUM_TOLD = 6
_REGULAR = 0.9  # share of equal steps below which the numbers are no count of slices


@dataclass(frozen=True, slots=True)
class _Name:
    index: int
    text: str
    numbers: tuple[int, ...]


def inspect_names(names: Sequence[str]) -> list[Finding]:
    """Look for gaps in the numbering of slices, numbers that occur twice and strange names.

    Parameters
    ----------
    names
        File names in the order in which they are read.

    Returns
    -------
    list of Finding
        Kinds ``missing``, ``number-twice`` and ``name``. Numbers that are no count, such as
        times, are not judged.
    """
    templates = Counter(_template(name) for name in names)
    usual, count = templates.most_common(1)[0]
    if count < _MIN_FILES or count < 0.8 * len(names):
        return []
    strange = [(at, name) for at, name in enumerate(names) if _template(name) != usual]
    numbered = [
        _Name(at, name, tuple(map(int, _DIGITS.findall(_stem(name)))))
        for at, name in enumerate(names)
        if _template(name) == usual
    ]
    findings = _strange(strange, names)
    counter = _counter(numbered)
    return findings if counter is None else findings + _gaps(numbered, counter)


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _template(name: str) -> str:
    """The name with every number replaced, so that names of one series are equal."""
    return _DIGITS.sub("#", _stem(name)).casefold()


def _counter(names: Sequence[_Name]) -> int | None:
    """Which number of the name counts the slices: the last that rises in regular steps."""
    for position in reversed(range(len(names[0].numbers))):
        steps = [b.numbers[position] - a.numbers[position] for a, b in pairwise(names)]
        rising = [step for step in steps if step > 0]
        usual, times = Counter(steps).most_common(1)[0]
        if (
            usual > 0
            and times >= min(_REGULAR * len(steps), len(steps) - 1)
            and len(rising) >= len(steps) - 2
        ):
            return position
    return None


def _gaps(names: Sequence[_Name], position: int) -> list[Finding]:
    steps = [b.numbers[position] - a.numbers[position] for a, b in pairwise(names)]
    usual = Counter(steps).most_common(1)[0][0]
    findings = []
    for (before, after), step in zip(pairwise(names), steps, strict=True):
        if step == 0:
            findings.append(
                Finding(
                    "number-twice",
                    "warning",
                    f"{before.text} and {after.text} bear the same number; keep the right one and "
                    "move the other out of the folder.",
                    (before.index, after.index),
                )
            )
        elif step > usual:
            findings.append(_missing(before, after, position, usual))
    return findings


def _missing(before: _Name, after: _Name, position: int, usual: int) -> Finding:
    first, stop = before.numbers[position] + usual, after.numbers[position]
    count = -((first - stop) // usual)  # which may be any, where one file is numbered otherwise
    absent = [str(first + k * usual) for k in range(min(count, _NUM_TOLD))]
    many, names = count > 1, listed(absent, _NUM_TOLD, count)
    return Finding(
        "missing",
        "warning",
        f"Slice{'s' * many} {names} {'are' if many else 'is'} missing: {before.text} is "
        f"followed by {after.text}. Copy {'them' if many else 'it'} from the microscope, or every "
        "slice above lies too low and the gap is restored too thin.",
        (before.index, after.index),
    )


def _strange(strange: Sequence[tuple[int, str]], names: Sequence[str]) -> list[Finding]:
    findings = []
    for at, name in strange:
        neighbour = f"after {names[at - 1]}" if at else "as the first slice"
        findings.append(
            Finding(
                "name",
                "warning",
                f"{name} is not named like the other slices and is read {neighbour}; move it out "
                "of the folder if it is a copy or does not belong to the stack.",
                (at,),
            )
        )
    return findings
