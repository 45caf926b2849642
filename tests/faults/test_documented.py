"""Behind every row of the table of faults stands a test."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_fault_names_a_test_that_exists() -> None:
    rows = [
        line
        for line in (REPOSITORY / "docs" / "faults.md").read_text("utf-8").splitlines()
        if line.count("|") == 6 and not line.startswith(("|---", "| Fault"))
    ]
    assert len(rows) > 20
    for row in rows:
        named = re.search(r"`(tests/\S+\.py)::(\w+)` \|$", row)
        assert named, row
        assert f"def {named[2]}(" in (REPOSITORY / named[1]).read_text("utf-8"), row
