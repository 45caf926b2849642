"""Every parser of ours meets what was found by fuzzing, and fresh damage to valid files."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz._values import SPLIT, with_other_values
from tests.fuzz.parsers import ALL, PARSERS, SOURCE, functions_in
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
    """Bytes that are changed, cut and repeated, and values of JSON that are others.

    Whatever rises but an error in words fails.
    """
    rng, values_rng = np.random.default_rng(0), random.Random(0)
    seeds = TARGETS[name].seeds(tmp_path)
    for number in range(40):
        sound = seeds[number % len(seeds)] or b"a"
        other = with_other_values(sound, values_rng) if number % 2 else None
        fed(name, _damaged(sound, rng) if other is None else other, tmp_path)


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


@pytest.mark.parametrize("file", PARSERS)
def test_the_code_that_counts_is_there(file: str) -> None:
    assert {*PARSERS[file]} - {ALL} <= {*functions_in(SOURCE / file)}


def test_values_change_and_the_form_stays() -> None:
    header = b'{"a": {"shape": [2, 3]}}'
    weights = len(header).to_bytes(8, "little") + header + bytes(24)
    group, array = b'{"attributes": {"ome": 1}}', b'{"shape": [5, 6]}'
    for number in range(2000):  # many, so that no change outlives its input
        changed = with_other_values(weights, random.Random(number)) or b""
        end = 8 + int.from_bytes(changed[:8], "little")
        json.loads(changed[8:end])
        assert changed[end:] == bytes(24)
        both = with_other_values(SPLIT.join((group, array)), random.Random(number)) or b""
        for part in both.split(SPLIT):
            json.loads(part)
        assert both.startswith(group + SPLIT) or both.endswith(SPLIT + array)
    assert with_other_values(b"factor: 3", random.Random(0)) is None


IN_A_FRESH_PROCESS = """
import numpy as np
from tests.fuzz import targets
targets._MOST_BYTES = 20 * 2**20
np.ones(60 * 2**20, np.uint8)
with targets.bounded():
    np.ones(5 * 2**20, np.uint8)
try:
    with targets.bounded():
        np.ones(40 * 2**20, np.uint8)
except AssertionError as error:
    assert "MiB" in str(error), error
else:
    raise SystemExit("not seen")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets what most was in use")
def test_a_greedy_input_is_seen_after_a_greedier_one() -> None:
    """Neither of its own, nor of the process that began it."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
