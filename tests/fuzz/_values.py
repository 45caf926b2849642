"""Damage to values: JSON that stays JSON, so that what follows its parser is reached."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

SPLIT = b"\n=====\n"
"""Between the files of which one input is made."""

_ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 3, 1.5, 2**31, 2**63, 10**40, 1e300, float("nan"), float("inf"), "", "a",
    "0", "..", "/x", "a:b", "nm", "\x00", [], [0], [1, 2, 3], [1.0] * 6, {}, {"a": 1},
)  # fmt: skip
_LENGTH_BYTES = 8  # before the header of safetensors


def with_other_values(blob: bytes, rng: random.Random) -> bytes | None:
    """The bytes with up to three values of their JSON changed; None where there is none.

    JSON is looked for in whole parts between `SPLIT`, in the header of safetensors and in lines.
    """
    parts = blob.split(SPLIT)
    for at in rng.sample(range(len(parts)), len(parts)):
        changed = _changed(parts[at], rng)
        if changed is not None:
            return SPLIT.join((*parts[:at], changed, *parts[at + 1 :]))
    return None


def _changed(part: bytes, rng: random.Random) -> bytes | None:
    end = _LENGTH_BYTES + int.from_bytes(part[:_LENGTH_BYTES], "little")
    if part[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{" and end <= len(part):
        header = _mutated(part[_LENGTH_BYTES:end], rng)
        if header is not None:
            return len(header).to_bytes(_LENGTH_BYTES, "little") + header + part[end:]
    whole = _mutated(part, rng)
    lines = part.split(b"\n")
    if whole is not None or len(lines) == 1:
        return whole
    at = rng.randrange(len(lines))
    line = _mutated(lines[at], rng)
    return None if line is None else b"\n".join((*lines[:at], line, *lines[at + 1 :]))


def _mutated(text: bytes, rng: random.Random) -> bytes | None:
    try:
        root = [json.loads(text)]
    except (ValueError, RecursionError):
        return None
    for _ in range(rng.randint(1, 3)):
        places = list(_places(root, 0))
        held, key = rng.choice(places)
        match rng.randrange(5):
            case 0 if isinstance(held, dict):
                held[rng.choice(["", "a", str(key) + "s"])] = held.pop(key)
            case 1 if held is not root:
                del held[key]
            case 2 if isinstance(held, list) and held is not root:
                held.insert(key, deepcopy(held[key]))
            case 3:
                other, there = rng.choice(places)
                held[key] = deepcopy(other[there])
            case _:
                held[key] = deepcopy(rng.choice(_ODD))
    return json.dumps(root[0]).encode()


def _places(held: Any, depth: int) -> Iterator[tuple[Any, Any]]:
    """Every value, as what holds it and under which key."""
    for key in list(held) if isinstance(held, dict) else range(len(held)):
        yield held, key
        if isinstance(held[key], dict | list) and depth < 12:
            yield from _places(held[key], depth + 1)
