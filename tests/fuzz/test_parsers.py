"""Every parser of ours meets what was found by fuzzing, and fresh damage to valid files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.targets import TARGETS, fed

CORPUS = Path(__file__).parent / "corpus"
KNOWN = [f"{path.parent.name}/{path.name}" for path in sorted(CORPUS.glob("*/*"))]


@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_taken(name: str, tmp_path: Path) -> None:
    for blob in TARGETS[name].seeds(tmp_path):
        assert fed(name, blob, tmp_path)


@pytest.mark.parametrize("known", KNOWN)
def test_what_was_found_once(known: str, tmp_path: Path) -> None:
    fed(known.split("/")[0], (CORPUS / known).read_bytes(), tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    """Bytes that are changed, cut and repeated; whatever rises but an error in words fails."""
    rng = np.random.default_rng(0)
    seeds = TARGETS[name].seeds(tmp_path)
    for number in range(60):
        blob = _damaged(seeds[number % len(seeds)] or b"a", rng)
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
