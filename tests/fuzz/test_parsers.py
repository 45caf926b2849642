"""Every parser of ours meets what was found by fuzzing, and fresh damage to valid files."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.targets import TARGETS, fed

CORPUS = Path(__file__).parent / "corpus"
KNOWN = [f"{path.parent.name}/{path.name}" for path in sorted(CORPUS.glob("*/*"))]
_MOST_S, _MOST_BYTES = 1.0, 300 * 2**20


@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_taken(name: str, tmp_path: Path) -> None:
    for blob in TARGETS[name].seeds(tmp_path):
        assert fed(name, blob, tmp_path)


@pytest.mark.parametrize("known", KNOWN)
def test_what_was_found_once(known: str, tmp_path: Path) -> None:
    before, began = _peak_bytes(), time.process_time()
    fed(known.split("/")[0], (CORPUS / known).read_bytes(), tmp_path)
    assert time.process_time() - began < _MOST_S
    assert _peak_bytes() - before < _MOST_BYTES


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    """Bytes that are changed, cut and repeated; whatever rises but an error in words fails."""
    rng = np.random.default_rng(0)
    seeds = TARGETS[name].seeds(tmp_path)
    for number in range(60):
        blob = _damaged(seeds[number % len(seeds)], rng)
        fed(name, blob, tmp_path)


def _damaged(blob: bytes, rng: np.random.Generator) -> bytes:
    values = bytearray(blob)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(values)))
        kind = rng.integers(4)
        if kind == 0:
            values[at] = int(rng.integers(256))
        elif kind == 1:
            values[at : at + 4] = rng.bytes(4)
        elif kind == 2:
            del values[at : at + int(rng.integers(1, 40))]
        else:
            values[at:at] = values[at : at + int(rng.integers(1, 40))]
        if not values:
            return b""
    return bytes(values)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
